"""Back from any faster way to the model as it was."""

from typing import Any

from lora_engine.fast import encoder, layer, liger
from lora_engine.fast.dropout import disown


def undo(model: Any, attention: str) -> None:
    """Undo what a faster way has changed in ``model``, whose attention was ``attention``."""
    layer.unfuse(model)
    encoder.unfuse(model)
    disown(model)
    liger.unfuse(model)
    if model.config._attn_implementation != attention:
        model.set_attn_implementation(attention)
