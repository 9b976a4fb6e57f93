"""Adapter files in the PEFT format: save, read from a folder or zip, attach to a model."""

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save_file
from torch import Tensor, nn

from lora_engine.config import LoraConfig
from lora_engine.errors import AdapterError, SettingsError
from lora_engine.inspection import is_bias
from lora_engine.lora.inject import adapted, inject
from lora_engine.lora.layers import LoRALinear

WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"
PREFIX = "base_model.model."


@dataclass(frozen=True)
class Adapter:
    """A trained adapter as it lies in a folder or zip."""

    lora: LoraConfig
    base_model: str
    """``base_model_name_or_path``: a folder or hub id."""
    revision: str | None
    tensors: dict[str, Tensor]
    """Trained tensors by path in the untouched model: ``….lora_A``, ``….lora_B``, ``….bias``."""
    training: dict[str, Any] | None
    """The run's TrainConfig as JSON, where the adapter was made here."""


def trained_tensors(model: nn.Module) -> dict[str, Tensor]:
    """What was trained in an injected model, by path in the untouched model.

    Keys end in ``.lora_A`` (r × in), ``.lora_B`` (out × r) or ``.bias``.
    """
    wrapped = dict(adapted(model))
    tensors: dict[str, Tensor] = {}
    for path, layer in wrapped.items():
        tensors[f"{path}.lora_A"] = layer.low_rank.lora_A
        tensors[f"{path}.lora_B"] = layer.low_rank.lora_B
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and is_bias(name):
            tensors[name.replace(".base_layer.", ".")] = parameter
    return tensors


def load_trained(model: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Copy ``tensors`` (named as ``trained_tensors`` names them) into an injected model.

    Raises:
        AdapterError: lists every missing, surplus or misshapen tensor at once.
    """
    own = trained_tensors(model)
    problems = [f"{name} is missing" for name in own if name not in tensors]
    problems += [f"{name} has no place in this model" for name in tensors if name not in own]
    problems += [
        f"{name} is {'×'.join(map(str, tensors[name].shape))}, not "
        f"{'×'.join(map(str, own[name].shape))}"
        for name in own
        if name in tensors and tensors[name].shape != own[name].shape
    ]
    if problems:
        raise AdapterError(f"The adapter does not fit this model: {'; '.join(problems)}.")
    with torch.no_grad():
        for name, parameter in own.items():
            parameter.copy_(tensors[name])


def save(
    model: nn.Module,
    folder: Path,
    lora: LoraConfig,
    targets: tuple[str, ...],
    base_model: str,
    revision: str | None = None,
) -> None:
    """Write the adapter of an injected ``model`` into ``folder`` as PEFT writes it.

    Tensors are float32. ``targets`` are the names that ``lora`` adapts in this model.
    """
    folder.mkdir(parents=True, exist_ok=True)
    wrapped = dict(adapted(model))
    tensors = {
        PREFIX + _peft_name(name, wrapped): tensor.detach().float().cpu().contiguous()
        for name, tensor in trained_tensors(model).items()
    }
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    is_conv1d = any(not isinstance(layer.base_layer, nn.Linear) for layer in wrapped.values())
    config: dict[str, Any] = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base_model,
        "revision": revision,
        "r": lora.r,
        "lora_alpha": lora.lora_alpha,
        "lora_dropout": lora.lora_dropout,
        "target_modules": list(targets),
        "bias": lora.bias,
        "modules_to_save": None,
        "use_rslora": False,
        "use_dora": False,
        "fan_in_fan_out": is_conv1d,
        "rank_pattern": {},
        "alpha_pattern": {},
        "init_lora_weights": True,
        "inference_mode": True,
    }
    (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def pack(folder: Path, archive: Path) -> None:
    """Zip the files of ``folder``; the archive appears under its name only when it is whole."""
    unfinished = archive.with_name(archive.name + ".part")
    with zipfile.ZipFile(unfinished, "w", zipfile.ZIP_DEFLATED) as zipped:
        for file in sorted(folder.iterdir()):
            zipped.write(file, file.name)
    unfinished.replace(archive)


def read(path: Path) -> Adapter:
    """Read an adapter folder or zip, made here or by PEFT.

    Raises:
        AdapterError: it is no LoRA adapter in safetensors, or uses something unknown here.
    """
    config = _read_json(path, CONFIG)
    if not isinstance(config, dict) or config.get("peft_type") != "LORA":
        raise AdapterError(f"{path.name} is no LoRA adapter: its {CONFIG} says otherwise.")
    targets = config.get("target_modules")
    for name in ("use_dora", "use_rslora", "modules_to_save", "rank_pattern", "alpha_pattern"):
        if config.get(name):
            raise AdapterError(f"{path.name} uses {name}, which is not supported here.")
    if not isinstance(targets, list):
        raise AdapterError(f"{path.name} names no list of target_modules in its {CONFIG}.")
    try:
        lora = LoraConfig.parse(
            {key: config[key] for key in ("r", "lora_alpha", "lora_dropout", "bias")}
            | {"target_modules": sorted(targets)}
        )
        tensors = load_tensors(_read_member(path, WEIGHTS))
    except (KeyError, SettingsError) as error:
        raise AdapterError(f"{path.name} has an unusable {CONFIG}: {error}") from None
    except Exception as error:  # safetensors raises its own type for every kind of damage
        if isinstance(error, AdapterError):
            raise
        raise AdapterError(f"{path.name} has an unreadable {WEIGHTS}.") from error
    training = _read_json(path, "train_config.json", required=False)
    return Adapter(
        lora=lora,
        base_model=str(config.get("base_model_name_or_path") or ""),
        revision=config.get("revision"),
        tensors={_own_name(name): tensor for name, tensor in tensors.items()},
        training=training if isinstance(training, dict) else None,
    )


def attach(model: nn.Module, adapter: Adapter) -> None:
    """Inject ``adapter`` into an untouched base model; raises AdapterError if it does not fit."""
    inject(model, adapter.lora, adapter.lora.target_modules or ())
    load_trained(model, adapter.tensors)


def _peft_name(name: str, wrapped: dict[str, LoRALinear]) -> str:
    path, _, kind = name.rpartition(".")
    if kind in ("lora_A", "lora_B"):
        return f"{name}.weight"
    return f"{path}.base_layer.{kind}" if path in wrapped else name


def _own_name(name: str) -> str:
    return name.removeprefix(PREFIX).removesuffix(".weight").replace(".base_layer.", ".")


def _read_json(path: Path, name: str, required: bool = True) -> Any:
    try:
        return json.loads(_read_member(path, name))
    except AdapterError:
        if required:
            raise
        return None
    except (ValueError, RecursionError):
        raise AdapterError(f"{path.name} has a broken {name}.") from None


def _read_member(path: Path, name: str) -> bytes:
    """One file of an adapter folder or zip (at its top, or in its only folder)."""
    try:
        if path.is_dir():
            return (path / name).read_bytes()
        with zipfile.ZipFile(path) as zipped:
            found = [m for m in zipped.namelist() if m == name or m.endswith(f"/{name}")]
            if found:
                return zipped.read(min(found, key=len))
    except FileNotFoundError:
        pass
    except (OSError, zipfile.BadZipFile):
        raise AdapterError(f"{path.name} is neither a folder nor a zip of an adapter.") from None
    raise AdapterError(f"{path.name} is no adapter: it holds no {name}.")
