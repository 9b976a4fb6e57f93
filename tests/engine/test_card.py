"""Whole runs on a stand-in for a GPU: nothing mixes its tensors with the processor's, and an
update waits for it once.

What a card computes is compared where there is one (``test_varlen.py``); here it computes nothing.
"""

import json
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from lora_engine import model
from lora_engine.compare import compare
from lora_engine.config import TrainConfig
from lora_engine.fast import varlen
from lora_engine.generate import Decoding
from lora_engine.train import train
from tests import tiny
from tests.card import CARD, Card, MixedDevicesError, card
from tests.engine.classification.texts import rows_of, write
from tests.engine.runs import Runs

CHAT: dict[str, dict[str, Any]] = {
    "plain": {},
    "padded": {"fast": False},
    "float32": {"precision": "fp32"},
    "every layer": {"target_modules": "all-linear", "bias": "all"},
    "dora": {"use_dora": True},
    "pissa": {"init_lora_weights": "pissa_niter_2"},
    "orthogonal": {"init_lora_weights": "orthogonal"},
    "embedding": {"target_modules": ["embed_tokens", "q_proj"]},
    "tied head": {"target_modules": ["lm_head", "q_proj"]},
    "whole module": {"modules_to_save": ["embed_tokens"]},
    "upper layer": {"layers_to_transform": [1]},
    "LoRA+": {"loraplus_lr_ratio": 4.0},
    "freeze": {"method": "freeze", "freeze_trainable_layers": 1},
    "full": {"method": "full"},
    "galore": {"method": "galore"},
    "noise": {"neftune_noise_alpha": 5.0, "label_smoothing": 0.1},
    "twice": {"gradient_checkpointing": "on"},
    "best": {"load_best_model_at_end": True, "sample_answers": 1, "validation_share": 0.2},
    "gpt2": {"target_modules": ["c_attn", "wte"]},
    "t5": {},
}
OF_THE_RUN = TrainConfig.model_fields.keys()
READS = {"padded": 2, "tied head": 2, "noise": 2, "t5": 3}
"""An update reads its loss; transformers asks each padded mask whether it says anything."""


@pytest.fixture
def on_a_card(monkeypatch: pytest.MonkeyPatch) -> None:
    """What torch would refuse of meta tensors only because they are none of a card."""
    adam = import_module("torch.optim.adam")
    monkeypatch.setattr(adam, "_device_dtype_check_for_fused", lambda *_, **__: None)
    monkeypatch.setattr(varlen, "has_kernel", lambda states: states.dtype is torch.bfloat16)


def started(folder: Path, settings: dict[str, Any], epochs: int) -> tuple[Card, Path]:
    """A run of three updates an epoch, without checkpoints."""
    lora = {name: value for name, value in settings.items() if name not in OF_THE_RUN}
    rest = {name: value for name, value in settings.items() if name in OF_THE_RUN}
    basis = {"precision": "bf16", "gradient_checkpointing": "off", "validation_share": 0}
    basis |= {"batch_size": 3, "max_length": 96, "epochs": epochs, "lora": {"r": 4} | lora}
    with card() as watched:
        result = train(
            TrainConfig.parse(basis | rest), folder / "out", lambda _: None, lambda: False,
            home=folder / "home", device=str(CARD), checkpoint_seconds=1e9,
        )  # fmt: skip
    assert result.adapter is not None
    assert result.metrics["steps"] == result.metrics["total_steps"]
    return watched, result.adapter


def reads_an_update(folder: Path, settings: dict[str, Any]) -> float:
    few, many = (started(folder, settings, epochs)[0].reads for epochs in (1, 3))
    assert few["copy"] == many["copy"], "nothing is copied from the card in an update"
    return (many["item"] - few["item"]) / 6


@pytest.mark.usefixtures("on_a_card")
@pytest.mark.parametrize("name", CHAT)
def test_a_run_keeps_to_its_device_and_waits_once_an_update(name: str, tmp_path: Path) -> None:
    make = {"gpt2": tiny.gpt2, "t5": tiny.t5}.get(name, tiny.llama)
    rows = [{"prompt": f"say {n}", "completion": f"it is {n} the sea"} for n in range(9)]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    base = tiny.save_model_folder(tmp_path / "model", make())
    settings = CHAT[name] | {"base_model": str(base), "dataset": str(tmp_path / "rows.json")}
    if name == "best":
        started(tmp_path, settings, 2)
    else:
        assert reads_an_update(tmp_path, settings) == READS.get(name, 1)
    if name in ("plain", "t5"):
        decoding = Decoding(max_new_tokens=4, temperature=0)
        path = tmp_path / "out" / "adapter.zip"
        with card():
            found = compare(path, "say 3", decoding, home=tmp_path / "home", device=str(CARD))
        assert found["quantization"] == "none"


@pytest.mark.usefixtures("on_a_card")
def test_a_classifier_keeps_to_its_device(tmp_path: Path) -> None:
    base = tiny.save_model_folder(tmp_path / "model", tiny.bert().base_model, tiny.pair_tokenizer())
    data = write(tmp_path / "rows.csv", rows_of()[:9])
    settings = {"base_model": str(base), "dataset": str(data), "class_weights": True}
    assert reads_an_update(tmp_path, settings) == 2
    path = tmp_path / "out" / "adapter.zip"
    with card():
        found = compare(path, "the sea", Decoding(), home=tmp_path / "home", device=str(CARD))
    assert set(found["base"]) == {"calm", "loud"}


def test_a_card_that_cannot_be_used_is_told(
    run: Runs, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Found:
        device = CARD  # which refuses to tell a number, as an old card refuses a new kernel

    monkeypatch.setattr(model, "Accelerator", Found)
    assert model.choose_device("auto") == torch.device("cpu")
    assert "meta cannot be used" in caplog.text
    run.device = "card"
    assert run("out", epochs=1).metrics["card_unused"]
    assert any("cannot use the graphics card" in report.message for report in run.reports)
    run.device = "auto"
    assert not run("other", epochs=1).metrics["card_unused"]


def test_the_stand_in_is_as_strict_as_a_card() -> None:
    there, here = torch.zeros(3, 4, device=CARD), torch.zeros(4, 3)
    with card() as watched:
        for mixed in (lambda: there @ here, lambda: there.index_select(0, torch.tensor([0]))):
            with pytest.raises(MixedDevicesError):
                mixed()
        assert not watched.reads
        number: Tensor = (there * torch.tensor(2.0)).sum()
        assert number.item() == 1 and there.tolist() == [[1.0] * 4] * 3
        assert bool((there > 0).all()) is True
    assert watched.reads == {"item": 2, "copy": 1}
