"""NEFTune: noise on the embeddings while a model is trained."""

import math
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel


def add_embedding_noise(model: PreTrainedModel, alpha: float) -> None:
    """Add uniform noise of size alpha / √(length · width) to every embedded row in training mode.

    Jain et al. 2023 (https://arxiv.org/abs/2310.05914), algorithm 1; length is that of the padded
    batch, as in the reference implementation.
    """

    def hook(module: torch.nn.Module, _args: Any, out: Tensor) -> Tensor:
        if not module.training:
            return out
        size = alpha / math.sqrt(out.shape[-2] * out.shape[-1])
        return out + torch.empty_like(out).uniform_(-size, size)

    words = model.get_input_embeddings().weight
    for module in model.modules():  # encoder-decoders have one for each side, with one weight
        if isinstance(module, torch.nn.Embedding) and module.weight is words:
            module.register_forward_hook(hook)
