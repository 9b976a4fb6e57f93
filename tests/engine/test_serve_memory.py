"""The generation child keeps few adapters in memory: each may be a whole model."""

import gc
import io
import os
import shutil
import weakref
from pathlib import Path

import pytest

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
