"""8 bits: a scale for each row (Dettmers et al. 2022, https://arxiv.org/abs/2208.07339)."""

import logging
from typing import Any, cast

import torch
from torch import Tensor
from transformers import BitsAndBytesConfig

WEIGHT = "Int8Params"
HOLDS_INPUT = True  # bitsandbytes 0.50: ctx.A


def settings(kept: list[str], dtype: torch.dtype) -> BitsAndBytesConfig:  # noqa: ARG001
    """See ``Kind``."""
    # it tells at every product of every layer that inputs are cast, which would fill the log
    logging.getLogger("bitsandbytes.autograd._functions").setLevel(logging.ERROR)
    return BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=kept)


def dequantized(layer: Any) -> Tensor:
    """See ``Kind``."""
    from bitsandbytes.functional import int8_vectorwise_dequant

    return cast(Tensor, int8_vectorwise_dequant(layer.weight.data, _scale(layer))).float()


def states(layer: Any) -> list[Tensor]:
    """The scale of each row."""
    return [_scale(layer)]


def _scale(layer: Any) -> Tensor:
    """It moves from the weight to the layer's state at the first product."""
    weight = layer.weight
    return cast(Tensor, weight.SCB if weight.SCB is not None else layer.state.SCB)
