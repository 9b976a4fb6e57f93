"""The learning rate of every update, and what the training process may cost before it trains."""

import os
import platform
import subprocess
import sys
from typing import Any, get_args

import pytest
import torch
from transformers import get_scheduler

from lora_engine.config import Schedule, TrainConfig
from lora_engine.memory import KERNELS_KEPT
from lora_engine.optimizer import make_scheduler


@pytest.mark.parametrize("schedule", get_args(Schedule))
@pytest.mark.parametrize(("warmup", "steps"), [(0.0, 7), (0.1, 20), (0.3, 10), (0.5, 1)])
def test_the_schedule_is_the_references(schedule: str, warmup: float, steps: int) -> None:
    config = TrainConfig.parse(
        {"base_model": "m", "dataset": "d", "schedule": schedule, "warmup_ratio": warmup}
    )

    def rates(make: Any) -> list[float]:
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
        scheduler = make(optimizer)
        found = []
        for _ in range(steps + 1):
            found.append(scheduler.get_last_lr()[0])
            optimizer.step()
            scheduler.step()
        return found

    name = "constant_with_warmup" if schedule == "constant" else schedule
    expected = rates(lambda o: get_scheduler(name, o, int(warmup * steps), steps))
    assert rates(lambda o: make_scheduler(o, config, steps)) == pytest.approx(expected)


def test_training_loads_neither_the_trainer_nor_what_it_integrates_with() -> None:
    code = (
        "import sys, lora_engine.train; "
        "print([m for m in ('peft', 'bitsandbytes', 'transformers.trainer_utils') "
        "if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


MANY_SHAPES = f"""
import sys, torch
from lora_engine.memory import limit_kernel_cache
if sys.argv[1] == "limited":
    limit_kernel_cache()
elif sys.argv[1] == "alike":
    limit_kernel_cache(updates_alike=True)
weight = torch.ones(128, 128, dtype=torch.bfloat16)
for _ in range(2):
    for n in range(8, {KERNELS_KEPT * 3 // 2 + 8}):  # a few rows may be multiplied without a kernel
        torch.ones(n, 128, dtype=torch.bfloat16) @ weight
"""


def kernels_made(how: str, **environment: str) -> int:
    """oneDNN's count of kernels in a process that meets 1.5 · KERNELS_KEPT shapes twice."""
    ours = {k: v for k, v in os.environ.items() if "_CACHE_CAPACITY" not in k}
    run = subprocess.run(
        [sys.executable, "-c", MANY_SHAPES, how],
        env={**ours, "ONEDNN_VERBOSE": "profile_create", **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return run.stdout.count("create:cache_miss")


def test_kernels_of_many_shapes_are_let_go() -> None:
    """The second time round they are made again, unless the person says how many are kept."""
    made = kernels_made("free")
    if not made:
        pytest.skip("this machine's bf16 products make no kernels")
    assert made > KERNELS_KEPT
    assert kernels_made("limited") == 2 * made
    assert kernels_made("alike") == made
    own_setting = {"ONEDNN_PRIMITIVE_CACHE_CAPACITY": "1024"}
    assert kernels_made("limited", **own_setting) == made


MANY_LENGTHS = """
import ctypes, sys, torch
from lora_engine.memory import limit_kernel_cache
if sys.argv[1] == "limited":
    limit_kernel_cache()

class Heap(ctypes.Structure):  # glibc's mallinfo2
    _fields_ = [(name, ctypes.c_size_t) for name in
                "arena ordblks smblks hblks mapped usmblks fsmblks used fordblks keepcost".split()]

info = ctypes.CDLL(None).mallinfo2
info.restype = Heap
torch.set_num_threads(1)
weight = torch.ones(1536, 384, dtype=torch.bfloat16)
for lengths in (range(200, 300), range(300, 400)):
    before = info().used + info().mapped
    for n in lengths:
        torch.ones(n, 384, dtype=torch.bfloat16) @ weight.T
print(info().used + info().mapped - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="reads glibc's own count")
def test_what_belongs_to_products_of_many_lengths_is_let_go() -> None:
    """A hundred new lengths need no more memory than a hundred others before them."""

    def growth(how: str) -> float:
        ours = {k: v for k, v in os.environ.items() if "_CACHE_CAPACITY" not in k}
        run = subprocess.run(
            [sys.executable, "-c", MANY_LENGTHS, how],
            env=ours,
            capture_output=True,
            text=True,
            check=True,
        )
        return int(run.stdout) / 1e6

    free = growth("free")
    if free < 10:
        pytest.skip("this machine's bf16 products keep nothing")
    assert growth("limited") < free / 5
