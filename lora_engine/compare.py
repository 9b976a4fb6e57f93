"""What a base model and an adapter make of one prompt, from an adapter file."""

from pathlib import Path
from typing import Any

from lora_engine import adapter as adapter_files
from lora_engine import catalog
from lora_engine.generate import Decoding
from lora_engine.model import choose_device
from lora_engine.tasks.base import Trial
from lora_engine.tasks.registry import TASKS


def compare(
    path: Path,
    prompt: str,
    decoding: Decoding,
    *,
    home: Path,
    base_model: str | None = None,
    strength: float = 1.0,
    device: str = "auto",
) -> dict[str, Any]:
    """``{"base", "adapted", …}`` for the adapter at ``path``: two answers and their
    ``divergence``; of a classifier the probability of each label, and ``labels``.

    Raises:
        WorkbenchError: the adapter or its base model cannot be used.
    """
    adapter = adapter_files.read(path)
    settings = adapter.settings
    folder = catalog.resolve(base_model or settings.base_model_name(path), home).path
    task = TASKS[settings.task].of_adapter(settings.task, adapter, folder)
    trial = Trial(folder, adapter, prompt, decoding, strength, choose_device(device))
    return task.compare(trial)
