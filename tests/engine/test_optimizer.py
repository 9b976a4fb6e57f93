"""The learning rate of every update, and what the training process may cost before it trains."""

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


@pytest.mark.skipif(
    sys.platform == "win32" or not torch.cpu.get_capabilities().get("avx512_bf16"),
    reason="this machine's bf16 products make no kernels",
)
def test_kernels_of_many_shapes_are_let_go() -> None:
    """In a process of its own: products of 400 shapes with and without the limit."""
    code = (
        "import resource, sys, torch\n"
        "from lora_engine.memory import limit_kernel_cache\n"
        "if sys.argv[1] == 'limited': limit_kernel_cache()\n"
        "weight = torch.randn(512, 512, dtype=torch.bfloat16)\n"
        "for n in range(1, 401): torch.randn(n, 512, dtype=torch.bfloat16) @ weight\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\n"
    )

    def peak(how: str) -> int:
        run = subprocess.run(
            [sys.executable, "-c", code, how], capture_output=True, text=True, check=True
        )
        return int(run.stdout)

    assert KERNELS_KEPT < 400
    assert peak("limited") < peak("free")
