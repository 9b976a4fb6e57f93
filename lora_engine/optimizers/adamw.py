"""AdamW, with LoRA+'s groups where they are asked for."""

from typing import Any

import torch
from torch import Tensor, nn

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
    """One group; with LoRA+ one for A, one for B with a higher rate, one for embeddings. Biases
    and the weights of norms do not decay, and stand apart where others do, as in the reference.

    LoRA+ (Hayou et al. 2024, https://arxiv.org/abs/2402.12354): B and one-dimensional parameters
    learn ``loraplus_lr_ratio`` times as fast as A.
    """
    ratio = config.lora.loraplus_lr_ratio
    rates = {"all": config.learning_rate, "A": config.learning_rate}
    rates |= {"embedding": EMBEDDING_LEARNING_RATE, "B": config.learning_rate * (ratio or 1)}
    norms = _norm_weights(model)
    groups: dict[tuple[str, bool], list[Tensor]] = {}
    for name, tensor in trained_tensors(model).items():
        kind = "all" if ratio is None else _kind(name, tensor)
        decays = not (name.endswith("bias") or id(tensor) in norms)
        groups.setdefault((kind, decays or not config.weight_decay), []).append(tensor)
    return [
        {"params": params, "lr": rates[kind], "weight_decay": config.weight_decay if decays else 0}
        for (kind, decays), params in groups.items()
    ]


def _kind(name: str, tensor: Tensor) -> str:
    """The group of LoRA+ that a tensor belongs to."""
    if "lora_embedding_" in name:
        return "embedding"
    return "B" if "lora_B" in name or tensor.ndim == 1 else "A"


def _norm_weights(model: nn.Module) -> set[int]:
    """Identities of the parameters of LayerNorm, LlamaRMSNorm and the like."""
    return {
        id(parameter)
        for module in model.modules()
        if type(module).__name__.endswith("Norm")
        for parameter in module.parameters(recurse=False)
    }
