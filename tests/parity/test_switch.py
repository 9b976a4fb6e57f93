"""Adapters of the reference, swapped in beside their base: each row gets the reference's logits."""

import json
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.models.auto import CONFIG_MAPPING

from lora_engine import adapter as adapter_files
from lora_engine.__main__ import main
from lora_engine.combine import combine
from lora_engine.lora.switch import Switchboard
from lora_engine.start_from import inject_and_load
from tests import tiny
from tests.engine.adapters import make, make_peft
from tests.parity.harness import Case, batch, pair, profile_of
from tests.parity.test_families import COMMON
from tests.parity.test_families import make as family
from tests.parity.test_reference import METHODS


def rows_of(model: Any, inputs: dict[str, torch.Tensor], row: int, copies: int) -> Any:
    with torch.no_grad():
        repeated = {
            name: t[row : row + 1].repeat_interleave(copies, 0) for name, t in inputs.items()
        }
        return model(**repeated).logits


@pytest.mark.parametrize("case", METHODS, ids=str)
@pytest.mark.filterwarnings("ignore:Setting `save_embedding_layers`")
def test_each_row_passes_through_its_own_adapter(case: Case, tmp_path: Path) -> None:
    _, theirs = pair(case)
    theirs.eval().save_pretrained(tmp_path)
    read = adapter_files.read(tmp_path)
    model = case.make()
    inputs = batch(model)
    switchboard = Switchboard(model)
    expected = [rows_of(m, inputs, 0, 1)[0] for m in (case.make(), theirs)]
    routes = [(None, 1.0), (read, 1.0), (read, 0.0), (read, 1.0)]
    for _ in range(2):  # the second time from what is kept
        with switchboard.routed(routes):
            found = rows_of(model, inputs, 0, len(routes))
        for row, which in enumerate((0, 1, 0, 1)):
            torch.testing.assert_close(found[row], expected[which], atol=2e-5, rtol=0)
    torch.testing.assert_close(rows_of(model, inputs, 0, 1)[0], expected[0], atol=0, rtol=0)


@pytest.mark.parametrize("strength", [0.25, 1.0, 1.5])
def test_strength_scales_what_the_adapter_adds(strength: float, tmp_path: Path) -> None:
    """As an adapter whose every ΔW is so many times as large."""
    path = make(tmp_path / "one", tiny.llama())
    doubled = combine([path, path], [strength, 1e-9], tmp_path / "times", method="cat")
    assert doubled.modules == 4
    model = tiny.llama()
    expected = tiny.llama()
    adapter_files.attach(expected, adapter_files.read(tmp_path / "times"))
    inputs = batch(model)
    with Switchboard(model).routed([(adapter_files.read(path), strength)]):
        found = rows_of(model, inputs, 0, 1)
    torch.testing.assert_close(found, rows_of(expected, inputs, 0, 1), atol=1e-5, rtol=0)


def mixture() -> PreTrainedModel:
    """A mixture of experts, whose weights are one tensor for all experts."""
    return family("qwen3_moe")


def router() -> PreTrainedModel:
    """A mixture whose router and experts have biases that are no layer's."""
    torch.manual_seed(0)
    config = CONFIG_MAPPING["gpt_oss"](
        **COMMON, head_dim=16, num_local_experts=4, num_experts_per_tok=2, attention_dropout=0.0
    )
    model: PreTrainedModel = AutoModelForCausalLM.from_config(config).eval()
    return model


WHOLE = {
    "tied head": (tiny.llama, {"method": "full"}),
    "experts": (mixture, {"method": "full"}),
    "last layer": (tiny.llama, {"method": "freeze", "freeze_trainable_layers": 1}),
    "positions": (tiny.bert, {"method": "full"}),
    "relative positions": (tiny.t5, {"method": "full"}),
    "biases of experts": (router, {"bias": "all"}),
    "adapted positions": (tiny.gpt2, {"target_modules": ["wpe", "c_attn"]}),
}


@pytest.mark.parametrize("case", WHOLE)
def test_what_is_computed_once_for_all_rows_has_a_batch_of_its_own(
    case: str, tmp_path: Path
) -> None:
    make_model, settings = WHOLE[case]
    path = make(tmp_path / "a", make_model(), **settings)
    read, plain = adapter_files.read(path), make_model().requires_grad_(False)
    trained = make_model()
    adapter_files.attach(trained, read)
    inputs = batch(plain)
    expected = [rows_of(m, inputs, 0, 1)[0] for m in (plain, trained)]
    assert (expected[0] - expected[1]).abs().max() > 0.01
    model = make_model().requires_grad_(False)
    switchboard = Switchboard(model)
    assert switchboard.shares([None, read, None, read]) == [[0, 2], [1], [3]]
    for routes, which in (([(None, 1.0)] * 2, 0), ([(read, 1.0)], 1), ([(read, 0.0)], 0)):
        with torch.inference_mode(), switchboard.routed(routes):
            found = rows_of(model, inputs, 0, len(routes))
        for row in found:
            torch.testing.assert_close(row, expected[which], atol=2e-5, rtol=0)
    with switchboard.routed([(read, 0.5)]):
        half = rows_of(model, inputs, 0, 1)[0]
    assert min(float((half - logits).abs().max()) for logits in expected) > 1e-3
    torch.testing.assert_close(rows_of(model, inputs, 0, 1)[0], expected[0], atol=0, rtol=0)


def test_compare_takes_a_zip_of_the_reference(tmp_path: Path, capsys: Any) -> None:
    model_folder = tiny.save_model_folder(tmp_path / "model")
    path = make_peft(tmp_path / "theirs", tiny.llama, seed=3, lora_alpha=64)
    adapter_files.pack(path, tmp_path / "theirs.zip")
    command = ["compare", "--adapter", str(tmp_path / "theirs.zip"), "--prompt", "what is the sea"]
    command += ["--max-new-tokens", "12", "--data-dir", str(tmp_path), "--json"]
    assert main(command) == 1
    assert "names no base model" in capsys.readouterr().err
    answers = []
    for strength in ("0", "0.5", "1.5"):
        more = ["--base-model", str(model_folder), "--strength", strength]
        assert main([*command, *more]) == 0
        answers.append(json.loads(capsys.readouterr().out))
    assert answers[0]["adapted"] == answers[0]["base"] == answers[1]["base"]
    assert answers[2]["adapted"] != answers[2]["base"]
    assert answers[0]["divergence"] == pytest.approx(0, abs=1e-6)
    assert 1e-5 < answers[1]["divergence"] < answers[2]["divergence"]


@pytest.mark.parametrize("order", [(None, 0, 1, 2), (0, None, 1, 0), (1,)], ids=str)
def test_rows_in_one_product_are_rows_by_themselves(
    order: tuple[int | None, ...], tmp_path: Path
) -> None:
    """Adapters of other ranks, scalings, modules and strengths; one brings a DoRA."""
    kinds: list[dict[str, Any]] = [
        {"r": 4}, {"r": 2, "lora_alpha": 7, "target_modules": ["q_proj", "up_proj"]},
        {"use_dora": True, "target_modules": ["v_proj"]},
    ]  # fmt: skip
    read = [
        adapter_files.read(make(tmp_path / str(seed), tiny.llama(), seed=seed, **kind))
        for seed, kind in enumerate(kinds)
    ]
    model = tiny.llama()
    inputs = batch(model)
    routes = [
        (None if which is None else read[which], 0.5 + place) for place, which in enumerate(order)
    ]
    found = []
    for grouping in (True, False):
        with Switchboard(model, grouping=grouping).routed(routes):
            found.append(rows_of(model, inputs, 0, len(order)))
    torch.testing.assert_close(found[0], found[1], atol=1e-5, rtol=0)
    assert order[0] is None or not torch.allclose(found[0][0], rows_of(model, inputs, 0, 1)[0])


def test_target_names_that_match_nothing_are_passed_over(tmp_path: Path) -> None:
    """As the reference does: people name the modules of several families at once."""
    path = make_peft(tmp_path / "theirs", tiny.llama, target_modules=["q_proj", "c_attn", "wq"])
    read = adapter_files.read(path)
    model = tiny.llama()
    theirs = peft.PeftModel.from_pretrained(tiny.llama(), path).eval()
    inputs = batch(model)
    with Switchboard(model).routed([(read, 1.0)]):
        found = rows_of(model, inputs, 0, 1)
    torch.testing.assert_close(found, rows_of(theirs, inputs, 0, 1), atol=1e-5, rtol=0)
    again = tiny.llama()
    lora = read.lora.model_copy(update={"target_modules": ("q_proj",)})
    inject_and_load(again, read, lora, profile_of(tiny.llama()))
