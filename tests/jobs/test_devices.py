"""Devices, with a driver's program that is not there, or says what a test wants."""

import sys

import psutil
import pytest

from jobs import devices
from jobs.devices import Device, detect

DRIVER_SAYS = """GPU 0: NVIDIA H100 (UUID: GPU-1)
  MIG 1g.10gb     Device  0: (UUID: MIG-1)
GPU 1: NVIDIA H100 (UUID: GPU-2)
"""


@pytest.fixture
def driver(tmp_path, monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))

    def install(says, code=0):
        program = tmp_path / "nvidia-smi"
        program.write_text(
            f"#!{sys.executable}\nimport sys\nsys.stdout.write({says!r})\nsys.exit({code})\n"
        )
        program.chmod(0o755)

    return install


@pytest.mark.usefixtures("driver")
def test_a_machine_without_a_driver():
    assert detect() == [Device("cpu", "auto")]


@pytest.mark.skipif(sys.platform == "win32", reason="the driver's program is a script")
def test_every_cuda_device_is_a_place_of_its_own(driver):
    driver(DRIVER_SAYS)
    assert [device.name for device in detect()] == ["cuda:0", "cuda:1"]
    assert detect()[1].engine_device == "card", "which the engine says where it cannot use it"
    assert detect()[1].environment["CUDA_VISIBLE_DEVICES"] == "1"


@pytest.mark.skipif(sys.platform == "win32", reason="the driver's program is a script")
def test_a_driver_that_fails_counts_as_none(driver):
    driver("GPU 0: made up", code=9)
    assert [device.name for device in detect()] == ["cpu"]


@pytest.mark.skipif(sys.platform == "win32", reason="the driver's program is a script")
def test_answers_take_the_last_of_several_cards(driver, monkeypatch):
    driver(DRIVER_SAYS)
    assert devices.for_answers()["CUDA_VISIBLE_DEVICES"] == "1"
    assert devices.for_answers()["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID", "the driver's numbers"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,3")
    assert devices.for_answers() == {"CUDA_VISIBLE_DEVICES": "3"}, "numbers in the person's order"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert devices.for_answers() == {}


@pytest.mark.usefixtures("driver")
def test_a_mac_computes_in_float32(monkeypatch):
    monkeypatch.setattr(devices, "_processor_flags", set)
    monkeypatch.setattr(devices.sys, "platform", "darwin")
    devices.machine.cache_clear()
    assert not devices.machine().fast_bf16
    devices.machine.cache_clear()


@pytest.mark.parametrize(
    ("visible", "names"), [("", ["cpu"]), ("-1", ["cpu"]), ("2, 3", ["cuda:2", "cuda:3"])]
)
def test_what_the_person_hides_stays_hidden(driver, monkeypatch, visible, names):
    driver(DRIVER_SAYS)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert [device.name for device in detect()] == names


def test_one_named_device():
    assert [device.name for device in detect("cuda:1")] == ["cuda:1"]
    assert detect("cpu") == [Device("cpu", "cpu")]


@pytest.mark.skipif(sys.platform == "win32", reason="the driver's program is a script")
def test_the_memory_of_the_largest_card_counts(driver, monkeypatch):
    def looked_at():
        devices.machine.cache_clear()
        return devices.machine()

    driver(DRIVER_SAYS + "0, 15360, 7.5\n1, 81559, 9.0\n")
    assert looked_at() == devices.Machine(81559 << 20, fast_bf16=True)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert looked_at() == devices.Machine(15360 << 20, fast_bf16=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert looked_at().memory == psutil.virtual_memory().total
    devices.machine.cache_clear()


@pytest.mark.usefixtures("driver")
def test_what_the_processor_can_do_is_read(monkeypatch):
    for flags, fast in (({"avx2"}, False), ({"avx2", "amx_bf16"}, True), (set(), True)):
        monkeypatch.setattr(devices, "_processor_flags", lambda flags=flags: flags)
        devices.machine.cache_clear()
        assert devices.machine().fast_bf16 is fast
    devices.machine.cache_clear()
