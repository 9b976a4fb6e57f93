"""From settings to a run in the queue."""

from pathlib import Path

import pytest

from app.services import Services
from app.starting import check_here, goes_on, start_training
from app.train_form import form_values, make_config
from lora_engine import adapter as adapter_files
from lora_engine.config import LoraConfig, TrainConfig
from lora_engine.errors import SettingsError
from lora_engine.inspection import profile_model
from lora_engine.start_from import inject_and_load
from tests import tiny
from tests.app.conftest import make_table
from tests.app.handlers.steps import STARTER, labelled
from tests.engine.adapters import make


def test_training_goes_on_from_what_a_start_of_its_own_has_made(tmp_path: Path) -> None:
    asked = {"r": 4, "lora_alpha": 8, "lora_dropout": 0.2, "init_lora_weights": "pissa"}
    path = make(tmp_path, tiny.llama(), **asked)
    lora = goes_on(LoraConfig.parse(asked), path)
    assert (lora.r, lora.lora_alpha, lora.lora_dropout) == (8, 16, 0.2)
    assert lora.init_lora_weights == "kaiming"
    model = tiny.llama()
    inject_and_load(model, adapter_files.read(path), lora, profile_model(tiny.llama(), "x"))
    plain = LoraConfig(r=4)
    assert goes_on(plain, tmp_path) is plain


def test_only_a_classifiers_best_goes_by_accuracy(services: Services, tmp_path: Path) -> None:
    chat = services.library.add(make_table(tmp_path / "numbers.csv")).dataset_id
    moods = labelled(services, tmp_path)

    def asked(dataset: str, **changes: object) -> TrainConfig:
        settings = {"metric_for_best_model": "accuracy", "load_best_model_at_end": True}
        return TrainConfig.parse({"base_model": STARTER, "dataset": dataset, **settings, **changes})

    for config in (asked(chat), asked(moods, task="text")):
        with pytest.raises(SettingsError, match="needs the task classification") as refusal:
            start_training(services, config)
        assert refusal.value.field == "metric_for_best_model"
    assert services.store.list() == []
    assert start_training(services, asked(moods)).config.metric_for_best_model == "accuracy"


@pytest.mark.parametrize("method", ["lora", "freeze", "full"])
def test_an_adapter_to_start_from_is_checked_before_the_run_waits(
    method: str, services: Services, tmp_path: Path
) -> None:
    profile = profile_model(tiny.llama(), "x")
    lora = {"method": method, "r": 4, "freeze_trainable_layers": 1}
    path = make(tmp_path / "a", tiny.llama(), **lora)
    targets = {} if method != "lora" else {"target_modules": ["q_proj", "v_proj"]}

    def asked(**changes: object) -> TrainConfig:
        settings = {"base_model": "x", "dataset": "d", "start_from": str(path)}
        return TrainConfig.parse({**settings, "lora": {**lora, **targets, **changes}})

    same = asked()
    assert make_config(form_values(same), "x", "d").start_from == str(path), "the form keeps it"
    check_here(services, same, profile)
    check_here(services, asked(r=8), None)  # a model that was not looked at yet
    other = asked(r=8) if method == "lora" else asked(method="lora", **targets)
    with pytest.raises(SettingsError, match="was made with") as refusal:
        check_here(services, other, profile)
    assert refusal.value.field == "start_from"
    (path / "adapter_config.json").unlink(missing_ok=True)
    (path / "train_config.json").unlink(missing_ok=True)
    with pytest.raises(SettingsError) as refusal:
        check_here(services, same, profile)
    assert refusal.value.field == "start_from"
