"""How a frozen layer's output and its low-rank path become one: plain LoRA and DoRA."""

from typing import TYPE_CHECKING, ClassVar, Protocol

import torch
from torch import Tensor, nn

from lora_engine.config import LoraConfig

if TYPE_CHECKING:
    from lora_engine.lora.layers import LoRALayer


class Variant(Protocol):
    """One way of combining; adding a way is a class here and a line in ``variant_of``."""

    saved_as: ClassVar[dict[str, str]]
    """Names of a layer's own parameters → their names in an adapter file."""

    def add_parameters(self, layer: "LoRALayer") -> None:
        """Give ``layer`` the parameters that this variant needs beside A and B."""

    def combine(self, layer: "LoRALayer", x: Tensor, out: Tensor) -> Tensor:
        """The layer's output for input ``x`` and base output ``out``."""

    def merged_weight(self, layer: "LoRALayer", weight: Tensor) -> Tensor:
        """The weight (out × in, float32) that alone gives the combined output."""

    def unmerged_weight(self, layer: "LoRALayer", weight: Tensor) -> Tensor:
        """The inverse of ``merged_weight``."""

    def forget(self) -> None:
        """Drop what was kept for evaluation, because parameters or the mode have changed."""


class Plain:
    """``out + scaling · B(A(x))`` (Hu et al. 2021, equation 3)."""

    saved_as: ClassVar[dict[str, str]] = {}

    def add_parameters(self, layer: "LoRALayer") -> None:
        """Nothing beside A and B."""

    def combine(self, layer: "LoRALayer", x: Tensor, out: Tensor) -> Tensor:
        """See ``Variant``."""
        added: Tensor = layer.low_rank(x)
        return out + added.to(out.dtype)

    def merged_weight(self, layer: "LoRALayer", weight: Tensor) -> Tensor:
        """See ``Variant``."""
        return weight + layer.low_rank.delta_weight()

    def unmerged_weight(self, layer: "LoRALayer", weight: Tensor) -> Tensor:
        """See ``Variant``."""
        return weight - layer.low_rank.delta_weight()

    def forget(self) -> None:
        """Nothing is kept."""


class DoRA:
    """``W' = m · (W + ΔW) / ‖W + ΔW‖`` (Liu et al. 2024, https://arxiv.org/abs/2402.09353, eq. 5).

    The magnitude m, one number an output, starts as ‖W‖ and is trained; the norm is a constant
    in the gradient (section 4.3). In evaluation the norm is kept until the next training step.
    """

    saved_as: ClassVar[dict[str, str]] = {"lora_magnitude_vector": "lora_magnitude_vector"}

    def __init__(self) -> None:
        self._norm: Tensor | None = None

    def add_parameters(self, layer: "LoRALayer") -> None:
        """The magnitudes, one an output, shaped as the reference saves them."""
        weight = layer.stored() + layer.low_rank.delta_weight()
        norm = _norm(layer, weight.detach())
        layer.lora_magnitude_vector = nn.Parameter(_as_output(layer, norm))

    def combine(self, layer: "LoRALayer", x: Tensor, out: Tensor) -> Tensor:
        """See ``Variant``."""
        scale = self._scale(layer).to(out.dtype)
        low_rank = layer.low_rank
        if isinstance(layer.base_layer, nn.Embedding):
            rescaled: Tensor = scale * (out + low_rank(x).to(out.dtype))
            return rescaled
        scale = _as_output(layer, scale)
        base, used = out, x
        if layer.training and low_rank.drops:
            # as in the reference, inputs are dropped for the rescaled base product as well
            used = low_rank.dropout(x)
            base = layer.base_layer(used)
        if layer.bias is not None:
            base = base - _as_output(layer, layer.bias)
        added = low_rank.product(used, low_rank.lora_A, low_rank.lora_B)
        combined: Tensor = out + (scale - 1) * base + scale * added
        return combined

    def merged_weight(self, layer: "LoRALayer", weight: Tensor) -> Tensor:
        """See ``Variant``."""
        changed = weight + layer.low_rank.delta_weight()
        self._norm = _norm(layer, changed)
        scaled: Tensor = _as_weight(layer, self._magnitude(layer) / self._norm) * changed
        return scaled

    def unmerged_weight(self, layer: "LoRALayer", weight: Tensor) -> Tensor:
        """See ``Variant``."""
        assert self._norm is not None, "only a merged layer is unmerged"
        return weight / _as_weight(layer, self._magnitude(layer) / self._norm) - (
            layer.low_rank.delta_weight()
        )

    def _scale(self, layer: "LoRALayer") -> Tensor:
        """m / ‖W + ΔW‖, one number an output."""
        if layer.training or self._norm is None:
            with torch.no_grad():
                self._norm = _norm(layer, layer.stored() + layer.low_rank.delta_weight())
        return self._magnitude(layer) / self._norm

    def _magnitude(self, layer: "LoRALayer") -> Tensor:
        magnitude: Tensor = layer.lora_magnitude_vector  # type: ignore[assignment]
        return magnitude.flatten()

    def forget(self) -> None:
        """The norm."""
        self._norm = None


def _norm(layer: "LoRALayer", weight: Tensor) -> Tensor:
    """‖weight‖ of each output: a row of a linear layer or convolution, a column of an embedding."""
    rows = weight.T if isinstance(layer.base_layer, nn.Embedding) else weight.flatten(1)
    norm: Tensor = torch.linalg.vector_norm(rows, dim=1)
    return norm


def _as_weight(layer: "LoRALayer", vector: Tensor) -> Tensor:
    """A number an output, shaped to multiply the weight."""
    if isinstance(layer.base_layer, nn.Embedding):
        return vector
    return vector.view(-1, *(1,) * (layer.stored().dim() - 1))


def _as_output(layer: "LoRALayer", vector: Tensor) -> Tensor:
    """A number an output, shaped to multiply the output."""
    if isinstance(layer.base_layer, nn.Conv1d | nn.Conv2d):
        return vector.view(1, -1, *(1,) * len(layer.base_layer.kernel_size))
    return vector


def variant_of(lora: LoraConfig) -> Variant:
    """A fresh variant object for one layer."""
    return DoRA() if lora.use_dora else Plain()
