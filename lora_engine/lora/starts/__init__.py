"""How A and B start, a file for each way. A start that is not B·A = 0 leaves the base as it is."""

from collections.abc import Callable
from functools import partial

from torch import nn

from lora_engine.lora.layers import LoRALayer
from lora_engine.registry import code_of, start_named

Start = Callable[[LoRALayer], None]


def start_of(name: str) -> Start:
    """The start that ``init_lora_weights`` names: ``start`` in the module of that name."""
    start, more = start_named(name)
    begin = code_of("lora/starts", start).start
    found: Start = partial(begin, more=more) if more else begin
    return found


def finish_start(model: nn.Module, name: str, original: Callable[[], nn.Module]) -> str:
    """What a start does once the whole model stands: ``finish`` in its module, where it has one.

    ``original`` loads the base with its own weights. Gives a sentence, or nothing.
    """
    finish = getattr(code_of("lora/starts", start_named(name)[0]), "finish", None)
    return str(finish(model, original())) if finish else ""
