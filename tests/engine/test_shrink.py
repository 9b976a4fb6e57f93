"""Shrink: nothing is lost at the true rank, the least below it, and the loss is measured."""

import gc
import json
import weakref
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from safetensors.torch import save_file

from lora_engine import adapter as adapter_files
from lora_engine import measure
from lora_engine.__main__ import main
from lora_engine.config import TrainConfig
from lora_engine.data import Library
from lora_engine.errors import AdapterError
from lora_engine.pairs import pairs_of
from lora_engine.shrink import shrink
from lora_engine.train import train
from tests import tiny
from tests.engine.adapters import CASES, delta_weights, made, make, make_peft


@pytest.mark.parametrize("case", CASES)
def test_shrink_to_the_true_rank_changes_nothing(case: str, tmp_path: Path) -> None:
    """Twice the rank with the same ΔW, then cut back."""
    path = made(case, tmp_path)
    before = adapter_files.read(path)
    wide = tmp_path / "wide"
    doubled = {
        name: torch.cat([t, 0 * t], dim=1 if "lora_B" in name or "embedding_B" in name else 0)
        if ".lora_" in name and "magnitude" not in name
        else t
        for name, t in before.tensors.items()
    }
    rewrite(path, wide, doubled, before)
    out = tmp_path / "cut"
    found = shrink(wide, before.lora.r, out, home=tmp_path, report=lambda _: None)
    assert found.energy_kept == pytest.approx(1)
    assert found.note.startswith("Not measured: the adapter does not say")
    after = adapter_files.read(out)
    assert after.tensors.keys() == before.tensors.keys()
    expected = delta_weights(before)
    for name, delta in delta_weights(after).items():
        torch.testing.assert_close(delta, expected[name], atol=1e-6, rtol=0)
    others = [name for name in before.tensors if ".lora_" not in name or "magnitude" in name]
    assert all(torch.equal(after.tensors[name], before.tensors[name]) for name in others)
    build, _ = CASES[case]
    model = build()
    adapter_files.attach(model, after)  # and it fits the model


def rewrite(source: Path, out: Path, tensors: Any, before: Any) -> None:
    """Write ``tensors`` of twice the rank with a scaling that keeps ΔW."""
    out.mkdir()
    config = json.loads((source / "adapter_config.json").read_text())
    root = 2**0.5 if before.lora.use_rslora else 2
    config["r"] *= 2
    config["lora_alpha"] *= root
    config["rank_pattern"] = {k: 2 * v for k, v in config["rank_pattern"].items()}
    config["alpha_pattern"] = {k: root * v for k, v in config["alpha_pattern"].items()}
    (out / "adapter_config.json").write_text(json.dumps(config))
    named = {f"base_model.model.{name}": tensor.contiguous() for name, tensor in tensors.items()}
    save_file(named, out / "adapter_model.safetensors")


@pytest.mark.filterwarnings("ignore:Setting `save_embedding_layers`")
def test_shrunk_adapter_of_the_reference_loads_there(tmp_path: Path) -> None:
    path = make_peft(tmp_path / "theirs", tiny.untied, target_modules=["embed_tokens", "q_proj"])
    command = ["shrink", "--adapter", str(path), "--r", "2", "--out", str(tmp_path / "cut.zip")]
    assert main([*command, "--no-measure"]) == 0
    out = tmp_path / "cut"
    assert main([*command[:-1], str(out), "--no-measure"]) == 0
    full = delta_weights(adapter_files.read(path))
    for read in (adapter_files.read(out), adapter_files.read(tmp_path / "cut.zip")):
        for name, delta in delta_weights(read).items():
            u, s, v = torch.linalg.svd(full[name])
            best = u[:, :2] * s[:2] @ v[:2]
            torch.testing.assert_close(delta, best, atol=1e-6, rtol=0)
    loaded = peft.PeftModel.from_pretrained(tiny.untied(), out).eval()
    ours = tiny.untied()
    adapter_files.attach(ours, adapter_files.read(out))
    ids = torch.arange(20)[None]
    with torch.no_grad():
        torch.testing.assert_close(ours(ids).logits, loaded(ids).logits, atol=1e-5, rtol=0)


def test_what_the_adapter_is_for_stays(tmp_path: Path) -> None:
    """A classifier keeps its head and its labels."""
    path = make(tmp_path / "a", tiny.bert(), target_modules=["query"])
    said = {"task": "classification", "labels": ["sea", "land"]}
    (path / "task.json").write_text(json.dumps(said))
    shrink(path, 1, tmp_path / "b", home=tmp_path, report=lambda _: None)
    before, after = adapter_files.read(path), adapter_files.read(tmp_path / "b")
    assert (after.settings.task, after.settings.labels) == ("classification", ("sea", "land"))
    head = after.tensors["classifier.weight"]
    assert torch.equal(head, before.tensors["classifier.weight"])


def test_refusals(tmp_path: Path) -> None:
    path = make(tmp_path / "a", tiny.llama(), r=4)
    for r in (0, 4, 9):
        with pytest.raises(AdapterError, match="has rank 4; choose a smaller one, from 1 to 3"):
            shrink(path, r, tmp_path / "x", home=tmp_path, report=lambda _: None)
    with pytest.raises(AdapterError, match="not empty"):
        shrink(path, 2, path, home=tmp_path, report=lambda _: None)
    read = adapter_files.read(path)
    del read.tensors["model.layers.0.self_attn.q_proj.lora_A.weight"]
    read.tensors["model.layers.1.self_attn.v_proj.lora_B.weight"] = torch.zeros(32, 3)
    with pytest.raises(AdapterError) as refusal:
        pairs_of(read)
    assert "layers.0.self_attn.q_proj has only its lora_B" in str(refusal.value)
    assert "layers.1.self_attn.v_proj has rank 4 and 3, not 4" in str(refusal.value)


def test_shrink_measures_on_the_rows_that_were_held_out(
    model_folder: Path, data_file: Path, home: Path, tmp_path: Path, capsys: Any
) -> None:
    settings = {"base_model": str(model_folder), "dataset": str(data_file), "max_steps": 5}
    settings |= {"learning_rate": 0.05, "precision": "fp32", "validation_share": 0.3}
    config = TrainConfig.parse(settings)
    result = train(config, tmp_path, lambda _: None, lambda: False, home=home, device="cpu")
    command = ["shrink", "--adapter", str(tmp_path / "adapter"), "--data-dir", str(home)]
    assert main([*command, "--r", "1", "--out", str(tmp_path / "one"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["eval_loss_before"] == pytest.approx(result.metrics["eval_loss_after"], rel=1e-4)
    assert found["eval_loss"] != pytest.approx(found["eval_loss_before"], rel=1e-5)
    assert found["mb"] == pytest.approx(found["mb_before"] / 8)
    assert json.loads((tmp_path / "one" / "shrink.json").read_text()) == found
    again = adapter_files.read(tmp_path / "one")
    assert again.training == adapter_files.read(tmp_path / "adapter").training
    for kept in Library(home).list():
        Library(home).remove(kept.dataset_id)
    again.training["dataset"] = str(tmp_path / "gone.jsonl")  # type: ignore[index]
    (tmp_path / "one" / "train_config.json").write_text(json.dumps(again.training))
    # its rank is 1 now, so the data's absence is told for the run's own adapter
    (tmp_path / "adapter" / "train_config.json").write_text(json.dumps(again.training))
    assert main([*command, "--r", "2", "--out", str(tmp_path / "two"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["eval_loss"] is None
    assert found["note"].startswith("Not measured: ")
    assert "gone.jsonl" in found["sentence"]


def test_without_held_out_rows_the_test_data_are_measured_on(
    model_folder: Path, data_file: Path, home: Path, tmp_path: Path
) -> None:
    settings = {"base_model": str(model_folder), "dataset": str(data_file), "max_steps": 3}
    settings |= {"learning_rate": 0.05, "precision": "fp32", "validation_share": 0}
    losses = {}
    for name, more in (("none", {}), ("tested", {"test_dataset": str(data_file)})):
        config = TrainConfig.parse(settings | more)
        result = train(config, tmp_path / name, lambda _: None, lambda: False, home=home)
        assert result.adapter is not None
        found = shrink(
            result.adapter, 1, tmp_path / f"{name}.zip", home=home, report=lambda _: None
        )
        losses[name] = found.eval_loss_before, result.metrics.get("test")
    assert losses["none"] == (None, None)
    before, tested = losses["tested"]
    assert before == pytest.approx(tested["loss"], rel=1e-4)


def test_the_two_models_that_are_measured_are_not_in_memory_together(
    model_folder: Path, data_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make(tmp_path / "made", tiny.llama(), base_model=str(model_folder))
    config = TrainConfig(base_model=str(model_folder), dataset=str(data_file))
    attached: list[weakref.ref[Any]] = []
    before: list[Any] = []

    def attach(model: Any, adapter: Any) -> None:
        before.append([each() for each in attached])
        attached.append(weakref.ref(model))
        adapter_files.attach(model, adapter)

    monkeypatch.setattr(measure, "attach", attach)
    gc.disable()
    try:
        adapters = [adapter_files.read(path)] * 2
        how = {"home": tmp_path, "report": lambda _: None, "device": "cpu"}
        losses = measure.unseen_losses(adapters, config, **how)
    finally:
        gc.enable()
    assert before == [[], [None]]
    assert losses[0] == losses[1]
