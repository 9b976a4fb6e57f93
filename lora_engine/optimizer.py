"""The optimiser of a run and its schedule."""

import math

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from lora_engine.config import TrainConfig
from lora_engine.registry import METHODS, code_of


def make_optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """The optimiser of the run, over what is trained in an injected ``model``."""
    name = METHODS[config.lora.method].optimizer or config.optim
    made: torch.optim.Optimizer = code_of("optimizers", name).make(model, config)
    return made


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
