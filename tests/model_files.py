"""Model folders and wheels with just enough in them, made without torch."""

import hashlib
import json
import struct
import zipfile
from pathlib import Path

from lora_engine.starters import Starter

LLAMA = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "vocab_size": 32,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "tie_word_embeddings": True,
}


def safetensors(values: int = 4) -> bytes:
    """A safetensors file with one float32 tensor."""
    header = {"weight": {"dtype": "F32", "shape": [values], "data_offsets": [0, 4 * values]}}
    encoded = json.dumps(header).encode()
    return struct.pack("<Q", len(encoded)) + encoded + bytes(4 * values)


def model_files(**config: object) -> dict[str, bytes]:
    """The files of a small Llama model, as they lie in a folder or on a hub."""
    return {
        "config.json": json.dumps(LLAMA | config).encode(),
        "model.safetensors": safetensors(),
        "tokenizer.json": b"{}",
    }


def write_model(folder: Path, **config: object) -> Path:
    """Write ``model_files`` into a new folder."""
    folder.mkdir(parents=True)
    for name, data in model_files(**config).items():
        (folder / name).write_bytes(data)
    return folder


def write_wheel(folder: Path, files: dict[str, bytes], gguf: str = "") -> Starter:
    """Put a wheel that holds ``files`` into ``folder``; the starter that it makes."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "tiny_starter-1.0-py3-none-any.whl"
    about = "tiny_starter-1.0.dist-info"
    metadata = {
        f"{about}/METADATA": b"Metadata-Version: 2.1\nName: tiny-starter\nVersion: 1.0\n",
        f"{about}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{about}/RECORD": b"",
        "tiny_starter/__init__.py": b"raise SystemExit('imported')",
    }
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in (metadata | {f"tiny_starter/{n}": d for n, d in files.items()}).items():
            archive.writestr(name, data)
    return Starter(
        id="tiny",
        title="Tiny",
        name="Tiny",
        task="chat",
        description="",
        published_as="nobody/tiny",
        note="",
        wheel="tiny-starter==1.0",
        wheel_sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        folder="tiny_starter",
        gguf=gguf,
        gguf_sha256=hashlib.sha256(files.get(gguf, b"")).hexdigest(),
    )
