"""Check a model folder before anything heavy is started: its config, weights and tokenizer."""

import json
import sys
from pathlib import Path
from typing import Any

from lora_engine.errors import ModelError

INDEX = "model.safetensors.index.json"
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
COUNT_FROM_PADDING = ("roberta", "xlm-roberta", "camembert", "mpnet")
"""Model types whose first position comes after the padding token's number."""
RELATIVE = ("t5", "mt5", "umt5", "longt5", "switch_transformers")
"""Model types that know how far apart tokens are; their ``n_positions`` is what they were trained
with, and they reach further."""
DAMAGED = "The file {name} in {folder} is damaged or not fully downloaded: fetch the model again."
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "spiece.model", "vocab.json", "vocab.txt")


def check_folder(folder: Path) -> None:
    """Check that ``folder`` holds a whole model in safetensors, with its tokenizer.

    Raises:
        ModelError: a file is missing, damaged or of a kind that is not used.
    """
    read_config(folder)
    for file in weight_files(folder):
        if not _is_whole(file):
            raise ModelError(DAMAGED.format(name=file.name, folder=folder))
    if not any((folder / name).is_file() for name in TOKENIZERS):
        raise ModelError(
            f"The model in {folder} has no tokenizer (tokenizer.json): put it next to config.json."
        )


def most_positions(config: dict[str, Any]) -> int:
    """The longest row, in tokens, that a model has positions for, as its config.json tells; of an
    encoder-decoder the longest question, and the longest answer."""
    config = config.get("text_config") or config
    if config.get("model_type") in RELATIVE:
        return sys.maxsize
    known = (config.get(name) for name in ("max_position_embeddings", "n_positions", "seq_length"))
    most = next((int(found) for found in known if found), sys.maxsize)
    if config.get("model_type") in COUNT_FROM_PADDING:
        most -= int(config.get("pad_token_id") or 1) + 1
    return most


def read_config(folder: Path) -> dict[str, Any]:
    """The values of ``folder/config.json``.

    Raises:
        ModelError: there is no such folder or no config in it, or it is not a JSON object.
    """
    if folder.is_file():
        raise ModelError(f"{folder} is a file: give the folder that holds the model's config.json.")
    if not folder.is_dir():
        raise ModelError(f"There is no folder {folder}.")
    try:
        config = json.loads((folder / "config.json").read_bytes())
    except FileNotFoundError:
        if (folder / "adapter_config.json").is_file():
            raise ModelError(
                f"{folder} holds an adapter, not a model: give the folder of its base model."
            ) from None
        raise ModelError(
            f"The folder {folder} holds no model: it has no config.json. Give the folder that "
            "has config.json and model.safetensors in it."
        ) from None
    except OSError as error:
        raise ModelError(f"{folder / 'config.json'} cannot be read: {error.strerror}.") from None
    except (ValueError, RecursionError):
        config = None
    if not isinstance(config, dict):
        raise ModelError(f"The config.json in {folder} is not valid JSON: fetch the model again.")
    return config


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files that make up the model; raises ModelError where one is missing."""
    if (folder / "model.safetensors").is_file():
        return [folder / "model.safetensors"]
    if not (folder / INDEX).is_file():
        pickles = [file.name for file in sorted(folder.iterdir()) if file.suffix in PICKLES]
        found = f" but {pickles[0]}" if pickles else ""
        raise ModelError(
            f"The model in {folder} has no model.safetensors{found}. Model files must be "
            "safetensors, because pickles (.bin, .pt) can run code when they are opened."
        )
    try:
        names = sorted(set(json.loads((folder / INDEX).read_bytes())["weight_map"].values()))
    except (OSError, ValueError, KeyError, AttributeError, TypeError, RecursionError):
        raise ModelError(f"{folder / INDEX} cannot be read: fetch the model again.") from None
    if missing := [name for name in names if not (folder / str(name)).is_file()]:
        raise ModelError(
            f"The model in {folder} is not complete: {missing[0]} is missing "
            f"({len(missing)} of {len(names)} files). Fetch the model again."
        )
    return [folder / name for name in names]


def tensor_formats(folder: Path) -> dict[str, tuple[str, int]]:
    """Tensor name → format (``F32``, ``BF16`` …) and bytes, of a folder's safetensors files.

    Raises:
        ModelError: the folder has no such files, or one is damaged.
    """
    found: dict[str, tuple[str, int]] = {}
    for file in weight_files(folder):
        if not _is_whole(file):
            raise ModelError(DAMAGED.format(name=file.name, folder=folder))
        with file.open("rb") as opened:
            header = json.loads(opened.read(int.from_bytes(opened.read(8), "little")))
        for name, entry in header.items():
            if name != "__metadata__":
                start, end = entry["data_offsets"]
                found[name] = entry["dtype"], end - start
    return found


def _is_whole(file: Path) -> bool:
    """Whether a safetensors file is as long as its header says.

    (Format: 8 bytes of header length, a JSON header, then the tensors' bytes.)
    """
    size = file.stat().st_size
    with file.open("rb") as opened:
        header_size = int.from_bytes(opened.read(8), "little")
        if not 2 <= header_size <= size - 8:
            return False
        try:
            header = json.loads(opened.read(header_size))
            ends = [entry["data_offsets"][1] for name, entry in header.items() if name[:2] != "__"]
        except (ValueError, KeyError, AttributeError, TypeError, IndexError, RecursionError):
            return False
    return bool(size == 8 + header_size + max(ends, default=0))
