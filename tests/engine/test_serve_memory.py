"""The generation child keeps few adapters in memory: each may be a whole model."""

import gc
import io
import os
import shutil
import weakref
from pathlib import Path

import pytest
from torch import nn

from lora_engine import adapter as adapter_files
from lora_engine.adapter import Adapter
from lora_engine.lora.switch import MOST_LOADED, Switchboard
from lora_engine.serve import Service
from tests import tiny
from tests.engine.adapters import make


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    """More adapters than are kept ready."""
    first = make(tmp_path / "0", tiny.llama())
    others = [tmp_path / str(number) for number in range(1, MOST_LOADED + 3)]
    return [first, *(Path(shutil.copytree(first, other)) for other in others)]


@pytest.fixture
def service(tmp_path: Path) -> Service:
    return Service(tmp_path, io.StringIO(), "cpu")


def alive(adapters: list[weakref.ref[Adapter]]) -> list[int]:
    gc.collect()
    return [place for place, adapter in enumerate(adapters) if adapter() is not None]


def test_only_the_latest_adapters_are_kept(service: Service, paths: list[Path]) -> None:
    read = [weakref.ref(service._adapter(path)) for path in paths[:MOST_LOADED]]
    service._adapter(paths[0])  # used again, so the second is the oldest now
    read += [weakref.ref(service._adapter(path)) for path in paths[MOST_LOADED:]]
    assert alive(read) == [0, *range(len(paths) - MOST_LOADED + 1, len(paths))]
    assert service._adapter(paths[0]) is read[0]()


def test_only_the_newest_version_of_an_adapter_is_kept(service: Service, paths: list[Path]) -> None:
    versions = []
    for second in (1, 2, 3):
        os.utime(paths[0], (second, second))
        versions.append(weakref.ref(service._adapter(paths[0])))
    assert alive(versions) == [2]


def test_an_adapter_that_was_dropped_is_never_taken_for_another(paths: list[Path]) -> None:
    """The switch knows adapters by ``id``, so it holds each for as long as it knows it."""
    switch = Switchboard(tiny.llama())
    read = []
    for path in paths:
        adapter = adapter_files.read(path)
        read.append(weakref.ref(adapter))
        with switch.routed([(adapter, 1.0)]):
            del adapter
    assert alive(read) == list(range(len(paths) - MOST_LOADED, len(paths)))


def test_the_old_base_makes_room_before_the_new_one_comes(tmp_path: Path) -> None:
    """Its hooks hold it in a circle, which only the collector opens."""
    service = Service(tmp_path, io.StringIO(), "cpu")
    kept: list[weakref.ref[nn.Module]] = []

    def speak(name: str) -> None:
        folder = tiny.save_model_folder(tmp_path / name)
        path = make(tmp_path / f"{name} adapter", tiny.llama())
        row = {"adapter": str(path), "messages": [{"role": "user", "content": "the sea"}]}
        options = {"max_new_tokens": 1}
        service.handle({"id": 1, "base_model": str(folder), "rows": [row], "options": options})
        assert service._loaded is not None
        kept.append(weakref.ref(service._loaded[1].model))

    gc.disable()
    try:
        speak("one")
        assert kept[0]() is not None
        speak("two")
        assert kept[0]() is None
    finally:
        gc.enable()
