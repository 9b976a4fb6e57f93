"""Adapters that the reference started from the base's own weights, as it saves them."""

import json
from pathlib import Path
from typing import Any

import peft
import pytest
import torch

from lora_engine import adapter as adapter_files
from lora_engine.config import LoraConfig
from lora_engine.errors import AdapterError
from lora_engine.lora.inject import merge
from lora_engine.pairs import pairs_of
from lora_engine.ranks import rank_report
from lora_engine.start_from import inject_and_load
from tests import tiny
from tests.engine.adapters import QV, make, shake
from tests.parity.harness import batch, profile_of

pytestmark = pytest.mark.filterwarnings("ignore:.* changes the base weights of the model")


def trained(start: str, folder: Path) -> Any:
    """The reference's model after some change, saved as it is and converted."""
    config = peft.LoraConfig(
        r=4, target_modules=list(QV), task_type="CAUSAL_LM", init_lora_weights=start
    )
    model = peft.get_peft_model(tiny.llama(), config)
    model.peft_config["default"].init_lora_weights = True  # as the reference asks for it
    model.save_pretrained(folder / "initial")
    model.peft_config["default"].init_lora_weights = start
    shake({n: p for n, p in model.named_parameters() if p.requires_grad}, 1, 0.1)
    model.eval().save_pretrained(folder / "as it is")
    model.save_pretrained(
        folder / "converted", path_initial_model_for_weight_conversion=folder / "initial"
    )
    return model


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model(**batch(tiny.llama())).logits
    return found


@pytest.mark.parametrize("form", ["as it is", "converted"])
def test_pissa_in_either_form(form: str, tmp_path: Path) -> None:
    theirs = trained("pissa", tmp_path)
    read = adapter_files.read(tmp_path / form)
    ours = tiny.llama()
    base = logits(ours)
    adapter_files.attach(ours, read)
    torch.testing.assert_close(logits(ours), logits(theirs), atol=1e-4, rtol=0)
    assert (logits(ours) - base).abs().max() > 0.01
    merge(ours)
    torch.testing.assert_close(logits(ours), logits(theirs), atol=1e-4, rtol=0)
    again = tiny.llama()
    lora = LoraConfig.parse({"r": read.lora.r, "lora_alpha": read.lora.lora_alpha})
    inject_and_load(again, read, lora, profile_of(again))
    torch.testing.assert_close(logits(again), logits(theirs), atol=1e-4, rtol=0)
    if form == "converted":
        assert rank_report(tmp_path / form).r == 8
    else:
        with pytest.raises(AdapterError, match="path_initial_model_for_weight_conversion"):
            pairs_of(read)


@pytest.mark.parametrize(
    ("start", "said"),
    [("loftq", "merge the two with PEFT"), ("pissa_niter_4", "drawn anew at each load")],
)
def test_starts_that_no_load_can_bring_back(start: str, said: str, tmp_path: Path) -> None:
    path = make(tmp_path, tiny.llama())
    config = json.loads((path / "adapter_config.json").read_text())
    (path / "adapter_config.json").write_text(json.dumps(config | {"init_lora_weights": start}))
    with pytest.raises(AdapterError, match=said):
        adapter_files.read(path)


def test_other_changes_of_the_base_need_the_converted_form(tmp_path: Path) -> None:
    theirs = trained("olora", tmp_path)
    with pytest.raises(AdapterError, match="init_lora_weights=olora"):
        adapter_files.read(tmp_path / "as it is")
    ours = tiny.llama()
    adapter_files.attach(ours, adapter_files.read(tmp_path / "converted"))
    torch.testing.assert_close(logits(ours), logits(theirs), atol=1e-4, rtol=0)
