"""Training that goes on from a finished adapter, made here or by the reference."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from lora_engine import adapter as adapter_files
from lora_engine.config import TrainConfig
from lora_engine.errors import AdapterError, SettingsError
from lora_engine.inspection import profile_model
from lora_engine.lora.inject import inject
from lora_engine.start_from import inject_and_load
from lora_engine.train import TrainResult, train
from tests import tiny
from tests.engine.adapters import make_peft
from tests.parity.harness import Case, batch, pair, profile_of, saved
from tests.parity.test_reference import METHODS


def run(out: Path, home: Path, model: Path, data: Path, **settings: Any) -> TrainResult:
    lora = {"r": 4, "target_modules": ["q_proj", "v_proj"], "lora_dropout": 0}
    values = {"base_model": str(model), "dataset": str(data), "lora": lora, "precision": "fp32"}
    values |= {"max_steps": 4, "learning_rate": 0.02, "validation_share": 0.3, **settings}
    config = TrainConfig.parse(values)
    return train(config, out, lambda _: None, lambda: False, home=home, device="cpu")


@pytest.mark.parametrize("packed", [False, True])
def test_a_run_begins_where_the_adapter_ended(
    packed: bool, model_folder: Path, data_file: Path, home: Path, tmp_path: Path
) -> None:
    first = run(tmp_path / "1", home, model_folder, data_file)
    start = tmp_path / "1" / ("adapter.zip" if packed else "adapter")
    second = run(tmp_path / "2", home, model_folder, data_file, start_from=str(start))
    ended = first.metrics["eval_loss_after"]
    assert second.metrics["eval_loss_before"] == pytest.approx(ended, rel=1e-5)
    assert second.metrics["loss_last"] < first.metrics["loss_last"]
    said = json.loads((tmp_path / "2" / "adapter" / "train_config.json").read_text())
    assert said["start_from"] == str(start)
    readme = (tmp_path / "2" / "adapter" / "README.md").read_text(encoding="utf-8")
    assert f"went on from the adapter `{start.name}`" in readme


def test_an_adapter_of_the_reference(
    model_folder: Path, data_file: Path, home: Path, tmp_path: Path
) -> None:
    path = make_peft(tmp_path / "theirs", tiny.llama)
    lora = {"r": 4, "lora_alpha": 8, "target_modules": r".*(q_proj|v_proj)", "lora_dropout": 0.1}
    result = run(
        tmp_path / "out", home, model_folder, data_file, start_from=str(path), lora=lora
    )  # its own dropout; the same modules and scaling in other words
    model = tiny.llama()
    adapter_files.attach(model, adapter_files.read(path))
    assert result.metrics["eval_loss_before"] != pytest.approx(
        run(tmp_path / "new", home, model_folder, data_file).metrics["eval_loss_before"], rel=1e-3
    )
    after = adapter_files.read(tmp_path / "out" / "adapter").tensors
    before = adapter_files.read(path).tensors
    assert after.keys() == before.keys()
    moved = [float((after[n] - t).abs().max()) for n, t in before.items()]
    assert all(0 < distance < 0.5 for distance in moved), "near where it began"


@pytest.mark.parametrize("case", METHODS, ids=str)
@pytest.mark.filterwarnings("ignore:Setting `save_embedding_layers`")
def test_every_method_of_the_reference_is_a_start(case: Case, tmp_path: Path) -> None:
    _, theirs = pair(case)
    theirs.save_pretrained(tmp_path / "theirs")
    model = case.make()
    inject_and_load(
        model, adapter_files.read(tmp_path / "theirs"), case.lora, profile_of(case.make())
    )
    inputs = batch(model)
    with torch.no_grad():
        found, expected = model.eval()(**inputs).logits, theirs.eval()(**inputs).logits
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    assert {n for n, p in model.named_parameters() if p.requires_grad}


@pytest.mark.parametrize("method", ["freeze", "full"])
def test_weights_trained_in_place_are_a_start(method: str, tmp_path: Path) -> None:
    case = Case(method, tiny.llama, {"method": method, "freeze_trainable_layers": 1})
    model = case.make()
    inject(model, case.lora, profile_of(model))
    with torch.no_grad():
        for tensor in adapter_files.trained_tensors(model).values():
            tensor.add_(0.01)
    folder = saved(model, case, tmp_path)
    training = {"base_model": "x", "lora": case.lora.to_json()}
    (folder / "train_config.json").write_text(json.dumps(training))
    again = case.make()
    inject_and_load(again, adapter_files.read(folder), case.lora, profile_of(again))
    for name, tensor in adapter_files.trained_tensors(model).items():
        assert torch.equal(again.get_parameter(name), tensor)
    two = Case("two", tiny.llama, {"method": "freeze", "freeze_trainable_layers": 2})
    with pytest.raises(SettingsError, match="freeze_trainable_layers=1"):
        inject_and_load(case.make(), adapter_files.read(folder), two.lora, profile_of(again))


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"r": 8}, "made with r=4:"),
        ({"target_modules": ["q_proj"]}, "made with target_modules=['q_proj', 'v_proj']"),
        ({"lora_alpha": 4, "use_dora": True}, "made with lora_alpha=8.0, use_dora=False"),
        ({"bias": "all"}, "bias='none'"),
        ({"rank_pattern": {"q_proj": 3}}, "rank_pattern={}"),
        ({"layers_to_transform": [0]}, "layers_to_transform=None"),
        ({"method": "full"}, "method='lora'"),
    ],
)
def test_a_run_that_asks_for_something_else_is_told_what_the_adapter_is(
    asked: dict[str, Any], said: str, tmp_path: Path
) -> None:
    start = adapter_files.read(make_peft(tmp_path, tiny.llama))
    same = {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj"]}
    model = tiny.llama()
    lora = Case("", tiny.llama, same | asked).lora
    with pytest.raises(SettingsError) as refusal:
        inject_and_load(model, start, lora, profile_model(model, "x"))
    assert said in str(refusal.value)
    assert refusal.value.field == "start_from"
    inject_and_load(model, start, Case("", tiny.llama, same).lora, profile_model(model, "x"))


def test_wrong_tensors_of_the_reference_are_listed_at_once(tmp_path: Path) -> None:
    start = adapter_files.read(make_peft(tmp_path, tiny.llama, modules_to_save=["norm"]))
    del start.tensors["model.layers.0.self_attn.q_proj.lora_A.weight"]
    start.tensors["model.norm.weight"] = torch.ones(3)
    start.tensors["stray"] = torch.ones(1)
    model = tiny.llama()
    settings = {"lora_alpha": 8, "target_modules": ["q_proj", "v_proj"]}
    lora = Case("", tiny.llama, {**settings, "modules_to_save": ["norm"]}).lora
    for load in (
        lambda: inject_and_load(model, start, lora, profile_model(tiny.llama(), "x")),
        lambda: adapter_files.attach(tiny.llama(), start),
    ):
        with pytest.raises(AdapterError) as refusal:
            load()
        assert "layers.0.self_attn.q_proj.lora_A.weight (4×64) is missing" in str(refusal.value)
        assert "model.norm.weight is 3, not 64" in str(refusal.value)
        assert "stray (1) has no place" in str(refusal.value)


def test_labels_in_another_order_are_refused(tmp_path: Path) -> None:
    path = make_peft(tmp_path, tiny.bert, target_modules=["query"], task_type="SEQ_CLS")
    (path / "task.json").write_text(
        json.dumps({"task": "classification", "labels": ["land", "sea"]})
    )
    start = adapter_files.read(path)
    model = tiny.bert()
    lora = Case("", tiny.bert, {"lora_alpha": 8, "target_modules": ["query"]}).lora
    with pytest.raises(SettingsError, match="knows the labels land, sea, in this order"):
        inject_and_load(model, start, lora, profile_of(model), ["sea", "land"])
    inject_and_load(model, start, lora, profile_of(model), ["land", "sea"])


def test_there_is_one_start_only() -> None:
    values = {"base_model": "x", "dataset": "y", "start_from": "z"}
    with pytest.raises(SettingsError, match="An adapter to start from is the start"):
        TrainConfig.parse(values | {"lora": {"init_lora_weights": "pissa"}})
