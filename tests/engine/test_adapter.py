"""Adapter files that are damaged, foreign or do not fit are refused in one sentence."""

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from lora_engine import adapter, adapter_config
from lora_engine.config import LoraConfig
from lora_engine.errors import AdapterError
from lora_engine.inspection import profile_model
from lora_engine.lora.inject import inject
from tests import tiny
from tests.engine.adapters import make_peft


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    model = tiny.llama()
    lora = LoraConfig(r=2, target_modules=("q_proj",))
    profile = profile_model(model, "x")
    inject(model, lora, profile)
    adapter.save(model, tmp_path / "a", lora, profile, base_model="x")
    return tmp_path / "a"


def change(folder: Path, **values: Any) -> None:
    path = folder / adapter_config.CONFIG
    changed = json.loads(path.read_text()) | values
    path.write_text(
        json.dumps({name: value for name, value in changed.items() if value is not None})
    )


def test_zip_and_folder_read_the_same(folder: Path, tmp_path: Path) -> None:
    adapter.pack(folder, tmp_path / "a.zip")
    with zipfile.ZipFile(tmp_path / "nested.zip", "w") as zipped:
        for file in folder.iterdir():
            zipped.write(file, f"my-adapter/{file.name}")
    found = [adapter.read(p) for p in (folder, tmp_path / "a.zip", tmp_path / "nested.zip")]
    assert found[0].lora == LoraConfig(r=2, target_modules=("q_proj",))
    for other in found[1:]:
        assert other.lora == found[0].lora
        assert other.tensors.keys() == found[0].tensors.keys()
        assert all(torch.equal(other.tensors[k], t) for k, t in found[0].tensors.items())
    assert not (tmp_path / "a.zip.part").exists()


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"peft_type": "IA3"}, "no LoRA adapter"),
        ({"r": 0}, "r must be at least 1"),
        ({"r": None}, "it has no 'r'"),
        ({"lora_bias": True}, "lora_bias"),
        ({"target_modules": "q("}, "regular expression"),
    ],
)
def test_foreign_config_is_refused(folder: Path, values: dict[str, Any], sentence: str) -> None:
    change(folder, **values)
    with pytest.raises(AdapterError, match=sentence):
        adapter.read(folder)


def test_damage_is_refused(folder: Path, tmp_path: Path) -> None:
    (folder / adapter_config.WEIGHTS).write_bytes(b"not safetensors")
    with pytest.raises(AdapterError, match="unreadable"):
        adapter.read(folder)
    (folder / adapter_config.CONFIG).write_text("[" * 100_000)
    with pytest.raises(AdapterError, match="broken"):
        adapter.read(folder)
    (tmp_path / "x.zip").write_bytes(b"PK\x03\x04 no zip")
    with pytest.raises(AdapterError, match="neither a folder nor a zip"):
        adapter.read(tmp_path / "x.zip")
    with pytest.raises(AdapterError, match="no adapter"):
        adapter.read(tmp_path)


@pytest.mark.parametrize("damage", ["encrypted", "unknown compression", "broken stream"])
def test_a_zip_that_cannot_be_unpacked_is_refused(
    folder: Path, tmp_path: Path, damage: str
) -> None:
    adapter.pack(folder, tmp_path / "a.zip")
    data = bytearray((tmp_path / "a.zip").read_bytes())
    entry = data.index(b"PK\x01\x02")
    local = data.index(b"PK\x03\x04")
    if damage == "encrypted":
        data[entry + 8] |= 1
        data[local + 6] |= 1
    elif damage == "unknown compression":
        data[entry + 10] = data[local + 8] = 99
    else:
        start = local + 30 + data[local + 26] + data[local + 28]
        data[start : start + 20] = b"\xff" * 20
    (tmp_path / "a.zip").write_bytes(data)
    with pytest.raises(AdapterError, match="neither a folder nor a zip"):
        adapter.read(tmp_path / "a.zip")


def test_every_wrong_tensor_is_named_at_once(folder: Path) -> None:
    read = adapter.read(folder)
    first, second = list(read.tensors)[:2]
    read.tensors["stray.lora_A.weight"] = torch.zeros(2, 2)
    read.tensors[second] = torch.zeros(3, 3)
    del read.tensors[first]
    with pytest.raises(AdapterError) as refusal:
        adapter.attach(tiny.llama(), read)
    assert f"{first} (2×64) is missing" in str(refusal.value)
    assert "stray.lora_A.weight (2×2) has no place" in str(refusal.value)
    assert f"{second} is 3×3" in str(refusal.value)


def test_tensors_come_in_the_order_of_their_names(folder: Path) -> None:
    """A file answers in an order of its own each time it is opened."""
    names = list(adapter.read(folder).tensors)
    assert len(names) > 3
    assert names == sorted(names)


def test_a_base_whose_vocabulary_was_resized_is_told(tmp_path: Path) -> None:
    """PEFT saves the whole embedding where tokens were added to it."""
    path = make_peft(tmp_path, tiny.resized)
    read = adapter.read(path)
    read.tensors["model.embed_tokens.weight"] = tiny.resized().get_input_embeddings().weight
    with pytest.raises(AdapterError, match="is 328×64, but the base model's is 320×64"):
        adapter.attach(tiny.untied(), read)
    adapter.attach(tiny.resized(), read)


@pytest.mark.parametrize(
    "said",
    [
        [],
        {"task": "poetry"},
        {"task": ["chat"]},
        {"task": "classification", "labels": "yes no"},
        {"task": "classification", "labels": ["yes", "yes"]},
        {"task": "classification", "labels": ["yes"]},
    ],
)
def test_what_others_write_of_the_task_is_checked(said: Any, folder: Path) -> None:
    (folder / "task.json").write_text(json.dumps(said))
    with pytest.raises(AdapterError, match=r"a has an unusable task\.json"):
        adapter_config.read_settings(folder)


def test_settings_of_a_run_elsewhere_need_not_be_numbers(folder: Path) -> None:
    training = {"seed": "many", "max_length": [512], "task": "poetry"}
    (folder / "train_config.json").write_text(json.dumps(training))
    read = adapter_config.read_settings(folder)
    assert (read.trained_with("seed", 0), read.trained_with("max_length", 512)) == (0, 512)
    assert read.task == "chat"
    (folder / "train_config.json").write_text(json.dumps({"seed": 7, "max_length": 64}))
    read = adapter_config.read_settings(folder)
    assert (read.trained_with("seed", 0), read.trained_with("max_length", 512)) == (7, 64)
