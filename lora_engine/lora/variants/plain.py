"""LoRA as in the paper: the two outputs are added."""

from typing import TYPE_CHECKING, ClassVar

from torch import Tensor

if TYPE_CHECKING:
    from lora_engine.lora.layers import LoRALayer


class Kind:
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
