"""From settings to a run in the queue."""

from pathlib import Path

from app.starting import goes_on
from lora_engine import adapter as adapter_files
from lora_engine.config import LoraConfig
from lora_engine.inspection import profile_model
from lora_engine.start_from import inject_and_load
from tests import tiny
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
