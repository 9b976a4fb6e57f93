"""Whether an adapter from anywhere fits a base model, without loading the model's weights."""

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from lora_engine import adapter as adapter_files
from lora_engine import catalog
from lora_engine.classify import head_of
from lora_engine.inspection import meta_model


class Fitting(BaseModel):
    """What an adapter that fits its base model is."""

    model_config = ConfigDict(frozen=True)

    base_model: str
    task: str
    labels: tuple[str, ...]
    """Of a classifier; empty for others."""
    tensors: int
    lora: dict[str, Any]
    """Its settings, a LoraConfig as JSON."""
    sentence: str


def check_fit(path: Path, base_model: str | None, home: Path) -> Fitting:
    """Put the adapter at ``path`` (a folder or zip) on its base model, on the meta device.

    ``base_model`` is a starter, folder or hub id; None means the one that the adapter names.

    Raises:
        AdapterError: it is no adapter, or does not fit: every wrong or missing tensor is named.
        ModelError: the base model cannot be found.
    """
    adapter = adapter_files.read(path)
    name = base_model or adapter.settings.base_model_name(path)
    folder = catalog.config_folder(name, home)
    task = adapter.settings.task
    labels = head_of(adapter, folder).labels if task == "classification" else ()
    kind = "chat" if task == "text" else task
    model = meta_model(folder, kind, max(len(labels), 1))
    adapter_files.attach(model, adapter)
    return Fitting(
        base_model=name,
        task=task,
        labels=labels,
        tensors=len(adapter.tensors),
        lora=adapter.lora.to_json(),
        sentence=f"The adapter fits {name}: {len(adapter.tensors)} tensors for the task {task}.",
    )
