"""AdamW, with LoRA+'s groups where they are asked for."""

from typing import Any

import torch
from torch import nn

from lora_engine.adapter import trained_tensors
from lora_engine.config import TrainConfig

EMBEDDING_LEARNING_RATE = 1e-6
"""LoRA+'s own rate for pairs beside embeddings (the authors' and the reference's default)."""


def make(model: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """The optimiser over everything that is trained in ``model`` (Loshchilov and Hutter 2017,
    https://arxiv.org/abs/1711.05101)."""
    return torch.optim.AdamW(
        parameter_groups(model, config),
        lr=config.learning_rate,
        weight_decay=config.weight_decay,
        fused=True,  # one operation for all tensors instead of several for each
    )


def parameter_groups(model: nn.Module, config: TrainConfig) -> list[dict[str, Any]]:
    """One group; with LoRA+ one for A, one for B with a higher rate, one for embeddings.

    LoRA+ (Hayou et al. 2024, https://arxiv.org/abs/2402.12354): B and one-dimensional parameters
    learn ``loraplus_lr_ratio`` times as fast as A.
    """
    tensors = trained_tensors(model)
    ratio = config.lora.loraplus_lr_ratio
    if ratio is None:
        return [{"params": list(tensors.values())}]
    groups: dict[str, list[torch.Tensor]] = {"A": [], "embedding": [], "B": []}
    for name, tensor in tensors.items():
        if "lora_embedding_" in name:
            groups["embedding"].append(tensor)
        elif "lora_B" in name or tensor.ndim == 1:
            groups["B"].append(tensor)
        else:
            groups["A"].append(tensor)
    rate = config.learning_rate
    rates = {"A": rate, "embedding": EMBEDDING_LEARNING_RATE, "B": rate * ratio}
    return [
        {"params": params, "lr": rates[name], "name": name}
        for name, params in groups.items()
        if params
    ]
