"""AdamW whose two moments are kept in 8 bits, by bitsandbytes (the extra ``quantized``)."""

from typing import Any

import torch
from torch import nn

from lora_engine.config import TrainConfig
from lora_engine.optimizers.adamw import parameter_groups


def make(model: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """The optimiser over everything that is trained in ``model``.

    Dettmers et al. 2021, https://arxiv.org/abs/2110.02861: each block of 256 values has a scale of
    its own. Word vectors keep moments of 32 bits (section 2.3), as in transformers' Trainer;
    tensors of fewer than 4,096 values do so anyway.
    """
    import bitsandbytes.optim

    theirs: Any = bitsandbytes.optim  # without types
    words = [module.weight for module in model.modules() if isinstance(module, nn.Embedding)]
    manager = theirs.GlobalOptimManager.get_instance()
    for weight in model.parameters():  # one of an earlier model, gone by now, may have had its id
        manager.pid2config.pop(id(weight), None)
    manager.override_config(words, "optim_bits", 32)
    found: torch.optim.Optimizer = theirs.AdamW8bit(
        parameter_groups(model, config),
        lr=config.learning_rate,
        weight_decay=config.weight_decay,
    )
    return found
