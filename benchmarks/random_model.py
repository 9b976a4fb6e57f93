"""A model of a known shape with random weights, and the rate of the device: a child.

What a kernel costs does not depend on the weights' values, so speed and memory need no download.
"""

import shutil
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM

from benchmarks import children
from lora_engine.catalog import DEFAULT_HOME, resolve
from lora_engine.model import choose_device

SIDES = {"cuda": 8192, "cpu": 2048}
"""Rows of the square matrices whose product is timed."""


def main() -> None:
    """Write the model into ``folder``; tell the weights in its products, and the matrix rate."""
    job = children.job()
    folder = Path(job["folder"])
    device = choose_device()
    torch.manual_seed(0)
    config = AutoConfig.for_model(**job["shape"])
    with device:
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model.save_pretrained(folder)
    words = Path(job["words"] or resolve("smollm2-135m-instruct", DEFAULT_HOME).path)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        if (words / name).exists():
            shutil.copy(words / name, folder / name)
    head = model.get_output_embeddings()
    layers = sum(
        part.weight.numel()
        for part in model.modules()
        if isinstance(part, nn.Linear) and part is not head
    )
    children.answer(
        {
            "layers": layers,
            "head": head.weight.numel(),
            "tflops": matrix_rate(device) / 1e12,
            "card": _name(device),
        }
    )


def matrix_rate(device: torch.device, products: int = 10) -> float:
    """Operations a second of one square product in bf16 on random data, the best of ``products``;
    a multiplication and an addition are two."""
    side = SIDES.get(device.type, SIDES["cpu"])
    left, right = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in range(2))
    seconds = []
    for _ in range(products + 3):
        began = time.perf_counter()
        (left @ right)[0, 0].item()  # waits for the device
        seconds.append(time.perf_counter() - began)
    return float(2 * side**3 / min(seconds[3:]))


def _name(device: torch.device) -> str:
    found: Any = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return str(found)


if __name__ == "__main__":
    main()
