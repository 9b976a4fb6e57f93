"""Liger's kernels on a CPU, interpreted by Triton: a script, as Triton must know from the start.

Prints, as JSON, for each family: which way was taken, how far its loss and gradients are from the
plain ones, and what was left in the model and in its family's module after it was undone.
"""

import json
import os
import sys
from typing import Any

os.environ["TRITON_INTERPRET"] = "1"

import numpy as np
import torch
import triton.language as tl
from liger_kernel.ops import geglu, rms_norm
from torch import Tensor, nn
from triton.runtime import interpreter

from lora_engine.fast.choice import first_that_fits
from lora_engine.fast.liger import LigerPath, _is_ligers
from lora_engine.fast.undo import undo
from lora_engine.loss import LossPath, PaddedPath
from tests.engine.test_fast import CPU, rows
from tests.engine.test_varlen import injected, trained


def run_on_a_cpu() -> None:
    """Mend what keeps these kernels from being interpreted: bare floats, and a card's functions."""
    converted = interpreter._implicit_cvt

    def convert(value: Any) -> Any:
        if isinstance(value, float):
            handle = interpreter.TensorHandle(np.array([value], dtype=np.float32), tl.float32)
            return tl.tensor(handle, tl.float32)
        return converted(value)

    interpreter._implicit_cvt = convert
    rms_norm.rsqrt = lambda x: tl.rsqrt(x)
    geglu.tanh = lambda x: 2 * tl.sigmoid(2 * x) - 1


def gradients(way: LossPath, model: Any) -> list[Tensor]:
    loss = way.loss_sum(rows((9, 41, 27))) / 100
    return [loss.detach(), *torch.autograd.grad(loss, trained(model))]


def state(model: nn.Module) -> tuple[Any, ...]:
    """What Liger may replace: functions of the layers, names of the family's module."""
    family = vars(sys.modules[type(model).__module__])
    functions = [
        (path, name, id(value))
        for path, module in model.named_modules()
        for name, value in vars(module).items()
        if callable(value)
    ]
    return functions, {name: id(value) for name, value in family.items()}


def tried(name: str) -> dict[str, Any]:
    model = injected(name)
    before, own = state(model), model.config._attn_implementation
    how = model, 0, 4, CPU, 0.1
    plain = PaddedPath(*how)
    model.train()
    expected = gradients(plain, model)
    path = first_that_fits(plain, model, [lambda: LigerPath(*how)], with_gradients=True)
    model.train()
    found = gradients(path, model)
    kernels = sum(_is_ligers(vars(module).get("forward")) for module in model.modules())
    undo(model, own)
    apart = [float((a - b).norm() / b.norm()) for a, b in zip(found, expected, strict=True)]
    return {
        "path": type(path).__name__,
        "kernels": kernels,
        "apart": max(apart),
        "restored": state(model) == before,
    }


if __name__ == "__main__":
    run_on_a_cpu()
    sys.stdout.write(json.dumps({name: tried(name) for name in sys.argv[1:]}) + "\n")
