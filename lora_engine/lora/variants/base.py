"""What a variant decides."""

from typing import TYPE_CHECKING, ClassVar, Protocol

from torch import Tensor

if TYPE_CHECKING:
    from lora_engine.lora.layers import LoRALayer


class Variant(Protocol):
    """One way of combining; a module here has its class under the name ``Kind``."""

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
