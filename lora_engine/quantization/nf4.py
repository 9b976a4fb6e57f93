"""4 bits: NF4, with double quantisation (Dettmers et al. 2023, sections 3 and 4)."""

from typing import Any

import torch
from torch import Tensor
from transformers import BitsAndBytesConfig

WEIGHT = "Params4bit"
HOLDS_INPUT = False


def settings(kept: list[str], dtype: torch.dtype) -> BitsAndBytesConfig:
    """See ``Kind``."""
    return BitsAndBytesConfig(
        load_in_4bit=True,
        llm_int8_skip_modules=kept,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )


def dequantized(layer: Any) -> Tensor:
    """See ``Kind``."""
    from bitsandbytes.functional import dequantize_4bit

    return dequantize_4bit(layer.weight.data, layer.weight.quant_state).float()


def states(layer: Any) -> list[Tensor]:
    """The 8-bit scale of each block of 64 weights, and the 32-bit scale of 256 of those."""
    state = layer.weight.quant_state
    scales, scales_of_scales = state.absmax, state.state2.absmax
    return [scales, state.code, state.offset, scales_of_scales, state.state2.code]
