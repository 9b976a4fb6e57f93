"""The catalog: names of models, checked folders, remembered models, profiles made in a child."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from lora_engine import catalog
from lora_engine.config import LoraConfig
from lora_engine.counts import count_parameters
from lora_engine.errors import ModelError
from lora_engine.hub import Hub
from lora_engine.starters import STARTERS
from tests.conftest import STARTER
from tests.model_files import safetensors, write_model

EVERY_LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@pytest.fixture
def no_network(tmp_path: Path) -> Hub:
    """A hub that nobody answers for, with an empty cache."""
    return Hub(endpoint="http://127.0.0.1:9", cache_dir=tmp_path / "cache")


@pytest.mark.parametrize(
    ("targets", "trainable", "total"),
    [(None, 460_800, 134_975_808), (EVERY_LINEAR, 2_442_240, 136_957_248)],
)
def test_starter_counts_are_right_before_anything_is_fetched(
    tmp_path: Path, targets: tuple[str, ...] | None, trainable: int, total: int
) -> None:
    profile = catalog.profile(STARTER, tmp_path)
    count = count_parameters(profile, LoraConfig(r=8, target_modules=targets))
    assert (count.trainable, count.total) == (trainable, total)
    assert list(tmp_path.iterdir()) == []


def test_starters_are_listed_first_and_not_ready_before_they_are_fetched(tmp_path: Path) -> None:
    listed = catalog.list_models(tmp_path)
    assert [model.id for model in listed] == list(STARTERS)
    assert listed[0].parameters == 134_515_008
    assert listed[0].task == "chat"
    assert not listed[0].ready


def test_a_folder_is_found_with_its_profile_and_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, home = write_model(tmp_path / "my model"), tmp_path / "home"
    found = catalog.resolve(str(folder), home)
    assert (found.path, found.published_as, found.revision) == (folder, str(folder), None)

    profile = catalog.profile(str(folder), home)
    assert profile.base_model == str(folder)
    assert profile.default_targets == ("q_proj", "v_proj")
    assert set(profile.linear_names) == set(EVERY_LINEAR)

    monkeypatch.setattr(catalog, "_inspect", None)  # from here on it must come from the cache
    assert catalog.profile(f" {folder} ", home) == profile
    catalog.remember(str(folder), home)
    catalog.remember(str(folder), home)
    used = catalog.list_models(home)[len(STARTERS) :]
    assert [(m.id, m.title, m.ready) for m in used] == [(str(folder), "my model", True)]
    assert used[0].parameters == profile.total_parameters

    (folder / "model.safetensors").unlink()
    assert not catalog.list_models(home)[-1].ready


def test_a_changed_config_is_profiled_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, home = write_model(tmp_path / "model"), tmp_path / "home"
    made = catalog.profile(STARTER, home)
    monkeypatch.setattr(catalog, "_inspect", lambda *_: made)
    catalog.profile(str(folder), home)
    (folder / "config.json").write_text('{"model_type": "llama"}')
    catalog.profile(str(folder), home)
    assert len(list((home / "profiles").iterdir())) == 2


def test_a_broken_list_of_used_models_costs_only_itself(tmp_path: Path) -> None:
    (tmp_path / "models.json").write_text('[{"id": ')
    assert [model.id for model in catalog.list_models(tmp_path)] == list(STARTERS)


def test_code_of_a_repository_is_never_run(tmp_path: Path) -> None:
    folder = write_model(
        tmp_path / "model", model_type="mystery", auto_map={"AutoConfig": "code.Config"}
    )
    (folder / "code.py").write_text(
        f"open({str(tmp_path / 'ran')!r}, 'w').close()\n"
        "from transformers import PretrainedConfig\n"
        "class Config(PretrainedConfig): model_type = 'mystery'\n"
    )
    with pytest.raises(ModelError, match="such code is never run here"):
        catalog.resolve(str(folder), tmp_path / "home")
    assert not (tmp_path / "ran").exists()


def test_a_kind_of_model_that_is_not_known_is_told(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model", model_type="mystery")
    with pytest.raises(ModelError, match=r"model.*config\.json") as caught:
        catalog.profile(str(folder), tmp_path / "home")
    assert "Traceback" not in str(caught.value)
    assert "\n" not in str(caught.value)


def only_pickles(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def no_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def cut_off(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(safetensors()[:-1])


def pointer_file(folder: Path) -> None:
    (folder / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\n" * 3)


def missing_part(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    parts = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": parts}))


def broken_index(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text("[]")


def no_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def adapter(folder: Path) -> None:
    (folder / "config.json").rename(folder / "adapter_config.json")


def broken_config(folder: Path) -> None:
    (folder / "config.json").write_text("[" * 100_000)


def no_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (only_pickles, r"no model\.safetensors but pytorch_model\.bin\. .*must be safetensors"),
        (no_weights, r"no model\.safetensors\. .*must be safetensors"),
        (cut_off, "damaged or not fully downloaded"),
        (pointer_file, "damaged or not fully downloaded"),
        (missing_part, r"00002-of-00002\.safetensors is missing \(1 of 2 files\)"),
        (broken_index, r"index\.json cannot be read"),
        (no_config, r"no config\.json"),
        (adapter, "holds an adapter, not a model"),
        (broken_config, r"config\.json .*is not valid JSON"),
        (no_tokenizer, "no tokenizer"),
    ],
)
def test_a_folder_that_is_no_whole_model_is_refused(
    tmp_path: Path, spoil: Callable[[Path], None], sentence: str
) -> None:
    folder = write_model(tmp_path / "model")
    spoil(folder)
    with pytest.raises(ModelError, match=sentence):
        catalog.resolve(str(folder), tmp_path / "home")


def test_a_model_in_several_files_is_taken(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model")
    missing_part(folder)
    (folder / "model-00002-of-00002.safetensors").write_bytes(safetensors())
    assert catalog.resolve(str(folder), tmp_path / "home").path == folder


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("", "Choose a model"),
        ("   ", "Choose a model"),
        ("a b c", "'a b c' is no model"),
        ("../..", r"no config\.json"),
        ("./nowhere", "There is no folder"),
        ("/nowhere/at/all", "There is no folder"),
        ("~nobody-of-this-name/model", "no folder"),
        ("owner/name/more", "is no model"),
        ("x" * 5000, "…"),
        ("./" + "x" * 5000, "…"),
        ("./" + "x" * 500, "There is no folder"),
        ("bad\0name", "no folder"),
        ("./bad\0name", "There is no folder"),
        ("<script>alert(1)</script>", "is no model"),
        ("名前", "is no model"),
        (__file__, "is a file"),
    ],
)
def test_a_name_that_is_no_model_gets_a_sentence(
    tmp_path: Path, no_network: Hub, name: str, sentence: str
) -> None:
    for use in (catalog.resolve, catalog.config_folder, catalog.profile):
        with pytest.raises(ModelError, match=sentence) as caught:
            use(name, tmp_path, hub=no_network)
        assert len(str(caught.value)) < 600
        assert "\n" not in str(caught.value)
