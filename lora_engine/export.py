"""Turn an adapter into a full model that needs no adapter."""

import shutil
from pathlib import Path

import torch

from lora_engine import adapter as adapter_files
from lora_engine import catalog
from lora_engine.errors import AdapterError
from lora_engine.lora.inject import merge
from lora_engine.model import load_base, load_tokenizer


def export_merged(path: Path, out: Path, *, home: Path, base_model: str | None = None) -> None:
    """Write base and adapter, merged in float32, as one model folder (sharded safetensors).

    Raises:
        WorkbenchError: the adapter or its base cannot be used, or ``out`` has something in it.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise AdapterError(f"{out} is not empty; choose a new folder.")
    adapter = adapter_files.read(path)
    folder = catalog.resolve(base_model or adapter.settings.base_model_name(path), home).path
    model = load_base(folder, torch.device("cpu"), torch.float32)
    adapter_files.attach(model, adapter)
    merge(model)
    unfinished = out.with_name(f"{out.name}.part")
    shutil.rmtree(unfinished, ignore_errors=True)
    model.save_pretrained(unfinished)
    load_tokenizer(folder).save_pretrained(unfinished)
    if out.exists():
        out.rmdir()
    unfinished.rename(out)
