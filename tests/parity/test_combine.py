"""Weighted sums of adapters against the reference's ``add_weighted_adapter``."""

import json
from pathlib import Path
from typing import Any

import peft
import pytest
import torch

from lora_engine import adapter as adapter_files
from lora_engine.__main__ import main
from lora_engine.combine import WAYS, combine
from lora_engine.errors import AdapterError, SettingsError
from tests import tiny
from tests.engine.adapters import CASES, delta_weights, make, make_peft

PAIRS: dict[str, tuple[Any, dict[str, Any], dict[str, Any]]] = {
    "same shape": (tiny.llama, {}, {"lora_alpha": 3}),
    "other ranks": (tiny.llama, {}, {"r": 2}),
    "other modules": (tiny.llama, {}, {"target_modules": ["v_proj", "up_proj"]}),
    "conv1d": (tiny.gpt2, {"target_modules": ["c_attn"], "fan_in_fan_out": True},
               {"target_modules": ["c_attn"], "fan_in_fan_out": True, "lora_alpha": 1}),
    "embedding": (tiny.untied, {"target_modules": ["embed_tokens", "q_proj"]},
                  {"target_modules": ["embed_tokens", "q_proj"], "lora_alpha": 5}),
    "convolutions": (tiny.convolutional, {"target_modules": ["second", "last"]},
                     {"target_modules": ["second", "last"]}),
}  # fmt: skip
ALIKE = ("same shape", "conv1d", "embedding", "convolutions")


@pytest.mark.parametrize("weights", [(0.7, 0.3), (1.0, -0.5)], ids=str)
@pytest.mark.parametrize(
    ("case", "method"),
    [(case, way) for case in PAIRS for way in WAYS if way != "linear" or case in ALIKE],
)
@pytest.mark.filterwarnings("ignore:Setting `save_embedding_layers`")
def test_as_the_reference_adds(
    case: str, method: Any, weights: tuple[float, float], tmp_path: Path
) -> None:
    build, first, second = PAIRS[case]
    parts = [
        make_peft(tmp_path / name, build, seed, **settings)
        for name, seed, settings in (("one", 1, first), ("two", 2, second))
    ]
    theirs = peft.PeftModel.from_pretrained(build(), parts[0], adapter_name="one")
    theirs.load_adapter(parts[1], "two")
    rank = 3 if method == "svd" else None
    theirs.add_weighted_adapter(["one", "two"], list(weights), "sum", method, svd_rank=rank)
    expected = {
        name.removeprefix("base_model.model."): module.get_delta_weight("sum").detach()
        for name, module in theirs.named_modules()
        if hasattr(module, "get_delta_weight")
    }

    found = combine(parts, weights, tmp_path / "sum", method=method, r=rank)
    assert found.r == {"svd": 3, "cat": sum(r_of(p) for p in parts), "linear": 4}[method]
    assert found.modules == len(expected)
    read = adapter_files.read(tmp_path / "sum")
    for name, delta in delta_weights(read).items():
        turned = case == "conv1d" or name.endswith("embed_tokens")
        theirs_too = expected[name].T if turned else expected[name].flatten(1)
        torch.testing.assert_close(delta.float(), theirs_too, atol=1e-5, rtol=0)
    if method == "cat":
        assert found.energy_kept == pytest.approx(1)
    else:
        assert found.energy_kept < 1 - 1e-6

    loaded = peft.PeftModel.from_pretrained(build(), tmp_path / "sum").eval()
    ours = build()
    adapter_files.attach(ours, read)
    inputs = {"input_ids": torch.arange(20)[None], "labels": torch.arange(20)[None]}
    with torch.no_grad():
        torch.testing.assert_close(
            ours(**inputs).logits, loaded(**inputs).logits, atol=1e-5, rtol=0
        )


def r_of(folder: Path) -> int:
    r: int = json.loads((folder / "adapter_config.json").read_text())["r"]
    return r


def test_svd_at_the_sum_of_the_ranks_is_exact(tmp_path: Path) -> None:
    """Also where layers and scalings differ, which names alone cannot tell."""
    one = make(tmp_path / "one", tiny.llama(), seed=1, use_rslora=True, layers_to_transform=[1])
    two = make(tmp_path / "two", tiny.llama(), seed=2, target_modules=r".*layers\.0.*[qk]_proj")
    found = combine([one, two], [0.5, 2], tmp_path / "sum", r=8)
    assert found.energy_kept == pytest.approx(1)
    parts = [delta_weights(adapter_files.read(path)) for path in (one, two)]
    summed = delta_weights(adapter_files.read(tmp_path / "sum"))
    assert summed.keys() == parts[0].keys() | parts[1].keys()
    for name, delta in summed.items():
        exact = 0.5 * parts[0].get(name, torch.zeros(1)) + 2 * parts[1].get(name, torch.zeros(1))
        torch.testing.assert_close(delta, exact, atol=1e-6, rtol=0)
    adapter_files.attach(tiny.llama(), adapter_files.read(tmp_path / "sum"))


def test_command_line(tmp_path: Path, capsys: Any) -> None:
    one = make(tmp_path / "one", tiny.llama(), "some/base", seed=1)
    two = make(tmp_path / "two", tiny.llama(), "other/base", seed=2)
    command = ["combine", "--adapters", str(one), str(two), "--weights", "0.7", "0.3"]
    command += ["--method", "svd", "--r", "8", "--out", str(tmp_path / "sum.zip"), "--json"]
    assert main(command) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["method"], found["r"], found["modules"]) == ("svd", 8, 4)
    assert found["sentence"] == "0.7 × one + 0.3 × two, 4 modules, rank 8: all of the sum is kept."
    assert found["notes"] == ["The adapters name different base models: other/base, some/base."]
    read = adapter_files.read(tmp_path / "sum.zip")
    assert read.settings.base_model_name(tmp_path) == "some/base"
    assert read.training is not None
    assert read.training["parts"] == [
        {"adapter": "one", "weight": 0.7}, {"adapter": "two", "weight": 0.3}
    ]  # fmt: skip
    assert main(command) == 1
    assert "is there already" in capsys.readouterr().err


def test_refusals(tmp_path: Path) -> None:
    one = make(tmp_path / "one", tiny.llama(), seed=1)
    wide = make(tmp_path / "wide", tiny.llama(hidden_size=128), seed=2)
    lower = make(tmp_path / "lower", tiny.llama(), r=2)
    with pytest.raises(AdapterError) as refusal:
        combine([one, wide], [1, 1], tmp_path / "x")
    assert "layers.0.self_attn.q_proj is 128×128 in wide, 64×64 in one" in str(refusal.value)
    assert "layers.1.self_attn.v_proj is" in str(refusal.value)
    with pytest.raises(AdapterError, match="differ in ranks or modules, which linear"):
        combine([one, lower], [1, 1], tmp_path / "x", method="linear")
    for case in ("dora, biases, saved",):
        build, settings = CASES[case]
        more = make(tmp_path / case, build(), **settings)
        with pytest.raises(AdapterError, match="holds more than low-rank pairs"):
            combine([more, more], [1, 1], tmp_path / "x")
    for weights, said in (([1.0], "1 weights"), ([0, 0], "not 0"), ([1, float("nan")], "numbers")):
        with pytest.raises(SettingsError, match=said):
            combine([one, lower], weights, tmp_path / "x")
    with pytest.raises(SettingsError, match="at least two"):
        combine([one], [1], tmp_path / "x")
    with pytest.raises(SettingsError, match="would have rank 1028; use svd"):
        combine([one] * 257, [1] * 257, tmp_path / "x", method="cat")
    with pytest.raises(SettingsError, match="with svd, and only there"):
        combine([one, lower], [1, 1], tmp_path / "x", method="cat", r=3)
