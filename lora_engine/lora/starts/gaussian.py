"""A normally distributed A."""

import torch

from lora_engine.lora.layers import LoRALayer


def start(layer: LoRALayer) -> None:
    """A normal with deviation 1/r, B zero."""
    torch.nn.init.normal_(layer.low_rank.lora_A, std=1 / layer.low_rank.r)
    torch.nn.init.zeros_(layer.low_rank.lora_B)
