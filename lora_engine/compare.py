"""Base and adapted answers to one prompt, from an adapter file."""

from pathlib import Path
from typing import Any

from lora_engine import adapter as adapter_files
from lora_engine import catalog
from lora_engine.data.encode import prompt_ids
from lora_engine.generate import Decoding, Row, Speaker
from lora_engine.model import choose_device


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
    """Answers of the base and of the adapter at ``path``: ``{"base", "adapted", "divergence"}``.

    Raises:
        WorkbenchError: the adapter or its base model cannot be used.
    """
    adapter = adapter_files.read(path)
    folder = catalog.resolve(base_model or adapter.settings.base_model_name(path), home).path
    speaker = Speaker(folder, choose_device(device))
    as_text = (adapter.training or {}).get("task") == "text"
    ids = prompt_ids([{"role": "user", "content": prompt}], speaker.tokenizer, as_text=as_text)
    rows = [Row(ids), Row(ids, adapter, strength)]
    answers = speaker.answer(rows, decoding)
    return {
        "base": answers.texts[0],
        "adapted": answers.texts[1],
        "divergence": speaker.divergence(rows[1], answers.token_ids[1]),
    }
