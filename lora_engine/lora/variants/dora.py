"""DoRA: the magnitude of each output is learned apart from its direction."""

from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from lora_engine.lora.layers import LoRALayer


class Kind:
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
        scale = self._scale(layer)
        low_rank = layer.low_rank
        if isinstance(layer.base_layer, nn.Embedding):
            rescaled: Tensor = scale.to(out.dtype) * (out + low_rank(x).to(out.dtype))
            return rescaled
        # the difference is taken before bf16 rounds it away
        more = _as_output(layer, (scale - 1).to(out.dtype))
        scale = _as_output(layer, scale.to(out.dtype))
        base, used = out, x
        if layer.training and low_rank.drops:
            # as in the reference, inputs are dropped for the rescaled base product as well
            used = low_rank.dropout(x)
            base = layer.base_layer(used)
        if layer.bias is not None:
            base = base - _as_output(layer, layer.bias)
        added = low_rank.product(used, low_rank.lora_A, low_rank.lora_B)
        combined: Tensor = out + more * base + scale * added
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
