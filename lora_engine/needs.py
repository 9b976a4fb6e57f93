"""The memory that a run needs before it has read a row, by plain arithmetic (no torch)."""

from lora_engine.config import TrainConfig
from lora_engine.profile import LINEAR_KINDS, ModelProfile

BITS = {"nf4": 4.127, "int8": 8.0}
"""A weight with its share of the block's scale: NF4 with double quantisation (Dettmers et al. 2023,
section 3), 8 bits with one scale a row, which is next to nothing."""
FLOAT = 4
"""Bytes of a float32 number."""
MOMENTS = {"adamw": 2.0, "adamw_8bit": 0.5}
"""What an optimiser keeps of each trained number, in float32 numbers."""


def memory_needed(
    profile: ModelProfile, trained: int, config: TrainConfig, *, fast_bf16: bool
) -> int:
    """Bytes of the frozen weights, and of what is trained with its gradient and its optimiser's
    moments. The program itself (about half a gigabyte) and what an update's rows take come on top.

    ``trained``: the trainable parameters of ``config`` (``count_parameters``); ``fast_bf16``:
    whether ``precision="auto"`` means bf16 on the machine that trains.
    """
    in_place = config.lora.method != "lora"
    is_bf16 = config.precision == "bf16" or (
        config.precision == "auto" and fast_bf16 and not in_place
    )
    number = 2 if is_bf16 else FLOAT
    linear = sum(
        group.in_features * group.out_features * len(group.paths)
        for group in profile.groups
        if group.kind in LINEAR_KINDS and not group.is_head
    )
    quantised = linear if config.quantization in BITS else 0
    frozen: float = number * (profile.total_parameters - quantised)
    frozen += quantised * BITS.get(config.quantization, 0.0) / 8
    if not in_place:  # a pair is float32, whatever its base is
        return round(frozen + FLOAT * trained * (2 + MOMENTS[config.optim]))
    # GaLore's moments are of a small rank
    moments = 0.0 if config.lora.method == "galore" else MOMENTS[config.optim]
    return round(frozen + number * trained * (1 + moments))
