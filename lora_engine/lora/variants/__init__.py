"""How a frozen layer's output and its low-rank path become one, a file for each way."""

from lora_engine.config import LoraConfig
from lora_engine.lora.variants.base import Variant
from lora_engine.registry import code_of

__all__ = ["Variant", "variant_of"]


def variant_of(lora: LoraConfig) -> Variant:
    """A fresh variant object for one layer."""
    made: Variant = code_of("lora/variants", lora.variant).Kind()
    return made
