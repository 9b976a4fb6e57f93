"""The optimiser of a run, with its groups of parameters and its schedule."""

import math
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from lora_engine.adapter import trained_tensors
from lora_engine.config import TrainConfig
from lora_engine.galore import GaLoreAdamW

EMBEDDING_LEARNING_RATE = 1e-6
"""LoRA+'s own rate for pairs beside embeddings (the authors' and the reference's default)."""


def make_optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """AdamW, or GaLore's form of it, over what is trained in an injected ``model``."""
    if config.lora.method == "galore":
        return GaLoreAdamW(
            trained_tensors(model).values(),
            lr=config.learning_rate,
            weight_decay=config.weight_decay,
            rank=config.lora.r,
            update_gap=config.lora.galore_update_gap,
            scale=config.lora.galore_scale,
        )
    return torch.optim.AdamW(
        parameter_groups(model, config), lr=config.learning_rate, weight_decay=config.weight_decay
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


def make_scheduler(
    optimizer: torch.optim.Optimizer, config: TrainConfig, total_steps: int
) -> LambdaLR:
    """The learning rate of each update: up in the warm-up, then as ``config.schedule`` says.

    The same numbers as transformers' ``get_scheduler``, whose module would load the whole Trainer
    (and what it integrates with) into the training process: half a second to two, 100 MB and more.
    """
    warmup = int(config.warmup_ratio * total_steps)

    def factor(step: int) -> float:
        if step < warmup:
            return step / warmup
        gone = min(1.0, (step - warmup) / max(1, total_steps - warmup))
        falls = {"constant": 1.0, "linear": 1 - gone, "cosine": (1 + math.cos(math.pi * gone)) / 2}
        return falls[config.schedule]

    return LambdaLR(optimizer, factor)
