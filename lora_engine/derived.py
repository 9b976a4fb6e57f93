"""Adapters made from other adapters: written as a folder or a zip, whole or not at all."""

import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from lora_engine.adapter import PREFIX, pack
from lora_engine.adapter_config import CONFIG, WEIGHTS
from lora_engine.errors import AdapterError


def check_free(out: Path) -> None:
    """Raise AdapterError where something is in the way of a new folder or file ``out``."""
    if out.is_dir():
        if any(out.iterdir()) or out.suffix == ".zip":
            raise AdapterError(f"{out} is not empty; choose a new folder.")
    elif out.exists():
        raise AdapterError(f"{out} is there already; choose a new name.")


def write(
    out: Path,
    tensors: dict[str, Tensor],
    config: dict[str, Any],
    beside: Mapping[str, dict[str, Any] | None],
) -> None:
    """Write an adapter in PEFT's format to the folder ``out``, or as a zip if it ends in .zip.

    ``tensors`` go by their names without PEFT's prefix; ``beside`` are further JSON files by
    name, those of them that hold something.

    Raises:
        AdapterError: ``out`` has something in it.
    """
    check_free(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as made:
        folder = Path(made) / "adapter"
        folder.mkdir()
        named = {PREFIX + name: tensor.contiguous() for name, tensor in tensors.items()}
        save_file(named, folder / WEIGHTS, metadata={"format": "pt"})
        for name, values in {CONFIG: config, **beside}.items():
            if not values:
                continue
            text = json.dumps(values, indent=2, ensure_ascii=False) + "\n"
            (folder / name).write_text(text, encoding="utf-8")
        if out.suffix == ".zip":
            pack(folder, out)
            return
        if out.exists():
            out.rmdir()
        shutil.move(folder, out)
