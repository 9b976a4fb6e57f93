"""What a base model and an adapter make of one prompt, from an adapter file."""

from pathlib import Path
from typing import Any

from lora_engine import adapter as adapter_files
from lora_engine import catalog
from lora_engine.base_form import base_form, check_carries
from lora_engine.config import Quantization
from lora_engine.errors import SettingsError
from lora_engine.extras import check_base
from lora_engine.generate import Decoding
from lora_engine.model import choose_device
from lora_engine.tasks.base import Trial
from lora_engine.tasks.registry import TASKS

STRONGEST = 1.5
"""Further from what was trained, answers soon fall apart."""


def compare(
    path: Path,
    prompt: str,
    decoding: Decoding,
    *,
    home: Path,
    base_model: str | None = None,
    strength: float = 1.0,
    device: str = "auto",
    quantization: Quantization | None = None,
) -> dict[str, Any]:
    """``{"base", "adapted", "quantization", …}`` for the adapter at ``path``: two answers and
    their ``divergence``; of a classifier the probability of each label, and ``labels``.

    Both come from the base in the bits of ``quantization``; None means those it was trained on.

    Raises:
        WorkbenchError: the adapter or its base model cannot be used, or not in so few bits, or
            ``strength`` is not from 0 (the base) over 1 (as trained) to 1.5.
    """
    if not 0 <= strength <= STRONGEST:
        raise SettingsError(
            "strength", f"strength must be from 0 to {STRONGEST:g}, but is {strength:g}."
        )
    try:
        prompt.encode()
    except UnicodeEncodeError:  # how Python takes bytes of another encoding from a terminal
        raise SettingsError("prompt", "The prompt is not UTF-8 text.") from None
    adapter = adapter_files.read(path)
    settings = adapter.settings
    held = base_form([settings]) if quantization is None else quantization
    check_carries(held, adapter.lora)
    check_base(held, "or hold the base whole with --no-4bit")
    folder = catalog.resolve(base_model or settings.base_model_name(path), home).path
    task = TASKS[settings.task].of_adapter(settings.task, adapter, folder)
    trial = Trial(folder, adapter, prompt, decoding, strength, choose_device(device), held)
    return {**task.compare(trial), "quantization": held}
