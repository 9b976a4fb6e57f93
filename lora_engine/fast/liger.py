"""Norms and gates as one kernel each, on GPUs, where the package liger-kernel is installed.

Reason: torch reads and writes the hidden states several times for an RMSNorm or a SwiGLU, and keeps
what is between for the backward pass; Liger's kernels do so once (Hsu et al. 2024,
https://arxiv.org/abs/2410.10989). Head and loss stay this project's own (``head_loss``), which
works in the same way; rotations stay torch's, as Liger would replace them for all models.
"""

import sys
from importlib.util import find_spec
from typing import Any

from torch import nn

from lora_engine.fast.varlen import VarlenPath

PACKAGE = "liger_kernel"
LEFT = {"rope": False, "cross_entropy": False, "fused_linear_cross_entropy": False}
"""What is not taken from Liger, as its functions call it."""


class LigerPath(VarlenPath):
    """The packed rows of ``VarlenPath`` through a model with Liger's norms and gates."""

    def __init__(self, model: Any, *how: Any) -> None:
        """As ``VarlenPath``; from here on the model's layers call Liger's kernels.

        Raises:
            NotImplementedError: Liger has none for this family.
        """
        fuse(model)
        super().__init__(model, *how)


def is_installed() -> bool:
    """Whether the optional package is there; it is not imported for that."""
    return find_spec(PACKAGE) is not None


def fuse(model: Any) -> None:
    """Let the norms and gates of ``model``, and of no other one, be Liger's.

    Raises:
        NotImplementedError: Liger has none for this family.
    """
    from liger_kernel.transformers import monkey_patch  # type: ignore[import-untyped]

    if model.config.model_type not in monkey_patch.MODEL_TYPE_TO_APPLY_LIGER_FN:
        raise NotImplementedError(f"Liger has no kernels for {model.config.model_type}")
    # Beside the model's own layers it replaces the family's classes, for models that come later.
    family = vars(sys.modules[type(model).__module__])
    before = dict(family)
    try:
        monkey_patch._apply_liger_kernel_to_instance(model, **LEFT)
    finally:
        family.update(before)


def unfuse(model: nn.Module) -> None:
    """Take Liger's functions from the layers of ``model`` again; the numbers that it left beside
    them nobody else reads."""
    for module in model.modules():
        own = vars(module)
        for name in [name for name, value in own.items() if _is_ligers(value)]:
            del own[name]


def _is_ligers(value: Any) -> bool:
    function = getattr(value, "__func__", None)  # of a method that is bound to one layer
    return getattr(function, "__module__", "").partition(".")[0] == PACKAGE
