"""Models of the hub, against a small stand-in of it on this machine."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from lora_engine import catalog
from lora_engine.errors import ModelError
from lora_engine.hub import Hub
from lora_engine.progress import Progress
from lora_engine.starters import STARTERS
from tests.hub_stand_in import COMMIT, StandIn
from tests.model_files import model_files, safetensors

REPOS = {
    "small/whole": model_files()
    | {
        "pytorch_model.bin": b"pickle",
        "modeling_small.py": b"raise SystemExit",
        "onnx/model.safetensors": safetensors(),
        "README.md": b"# Small",
    },
    "small/pickles": {"config.json": b"{}", "tokenizer.json": b"{}", "pytorch_model.bin": b"p"},
    "small/gated": model_files(),
    "small/empty": {"README.md": b"nothing"},
}


@pytest.fixture(scope="module")
def stand_in() -> Iterator[StandIn]:
    with StandIn(REPOS, gated=frozenset({"small/gated"})).running() as running:
        yield running


@pytest.fixture
def hub(stand_in: StandIn, tmp_path: Path) -> Hub:
    stand_in.fetched.clear()
    return Hub(endpoint=stand_in.endpoint, cache_dir=tmp_path / "cache")


def test_a_hub_model_is_fetched_without_pickles_and_code_and_then_works_offline(
    stand_in: StandIn, hub: Hub, tmp_path: Path
) -> None:
    reports: list[Progress] = []
    found = catalog.resolve("small/whole", tmp_path, reports.append, hub)
    wanted = {"config.json", "model.safetensors", "tokenizer.json"}
    assert {file.name for file in found.path.iterdir()} == wanted
    assert set(stand_in.fetched) == wanted
    assert (found.published_as, found.revision) == ("small/whole", COMMIT)
    assert {report.phase for report in reports} == {"fetching"}
    assert reports[0].message == "Fetching small/whole"
    assert reports[-1].message.endswith(" MB")

    offline = Hub(endpoint="http://127.0.0.1:9", cache_dir=hub.cache_dir)
    assert catalog.resolve("small/whole", tmp_path, hub=offline) == found


def test_only_the_config_is_fetched_for_a_profile(
    stand_in: StandIn, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = catalog.profile(next(iter(STARTERS)), tmp_path)
    monkeypatch.setattr(catalog, "_inspect", lambda *_: made)
    catalog.remember("small/whole", tmp_path, hub)
    assert stand_in.fetched == ["config.json"]
    listed = catalog.list_models(tmp_path, hub)[-1]
    assert (listed.id, listed.title, listed.ready) == ("small/whole", "small/whole", False)

    catalog.resolve("small/whole", tmp_path, hub=hub)
    assert catalog.list_models(tmp_path, hub)[-1].ready


@pytest.mark.parametrize(
    ("repo", "sentence"),
    [
        ("small/nowhere", "hub has no model small/nowhere"),
        ("small/gated", "small/gated is a gated model"),
        ("small/pickles", "model in small/pickles has no model.safetensors.*must be safetensors"),
        ("small/empty", "small/empty.*no config.json"),
    ],
)
def test_what_cannot_be_had_is_told(hub: Hub, tmp_path: Path, repo: str, sentence: str) -> None:
    with pytest.raises(ModelError, match=sentence):
        catalog.resolve(repo, tmp_path, hub=hub)


@pytest.mark.parametrize(
    ("repo", "sentence"),
    [
        ("small/nowhere", "hub has no model small/nowhere"),
        ("small/gated", "small/gated is a gated model"),
        ("small/empty", "small/empty holds no model: it has no config.json"),
    ],
)
def test_a_profile_that_cannot_be_had_is_told(
    hub: Hub, tmp_path: Path, repo: str, sentence: str
) -> None:
    with pytest.raises(ModelError, match=sentence):
        catalog.profile(repo, tmp_path, hub)


def test_no_network_is_told(tmp_path: Path) -> None:
    hub = Hub(endpoint="http://127.0.0.1:9", cache_dir=tmp_path / "cache")
    for use in (catalog.resolve, catalog.profile):
        with pytest.raises(ModelError, match="the model hub cannot be reached"):
            use("small/whole", tmp_path, hub=hub)
