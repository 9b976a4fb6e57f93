"""The paper's start."""

from lora_engine.lora.layers import LoRALayer


def start(layer: LoRALayer) -> None:
    """The paper's start (Hu et al. 2021, section 4.1, in loralib's form)."""
    layer.low_rank.start()
