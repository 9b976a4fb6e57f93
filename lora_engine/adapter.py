"""Adapter files in the PEFT format: save, read from a folder or zip, attach to a model."""

import json
import math
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from lora_engine.adapter_config import (
    CHANGED,
    CONFIG,
    WEIGHTS,
    AdapterSettings,
    peft_config,
    read_member,
    read_settings,
)
from lora_engine.config import LoraConfig
from lora_engine.errors import AdapterError, SettingsError
from lora_engine.inspection import parts_in, profile_model
from lora_engine.lora.inject import adapted, inject, saved_modules
from lora_engine.lora.paths import LowRank
from lora_engine.profile import ModelProfile

PREFIX = "base_model.model."


@dataclass(frozen=True)
class Adapter:
    """A trained adapter as it lies in a folder or zip."""

    settings: AdapterSettings
    tensors: dict[str, Tensor]
    """Trained tensors by the names that ``trained_tensors`` gives them."""

    @property
    def lora(self) -> LoraConfig:
        """What was trained of the base model."""
        return self.settings.lora

    @property
    def training(self) -> dict[str, Any] | None:
        """The run's TrainConfig as JSON, where the adapter was made here."""
        return self.settings.training


def trained_tensors(model: nn.Module) -> dict[str, Tensor]:
    """What is trained in an injected model, by its name in an adapter file (without the prefix).

    ``<path>.lora_A.weight`` (r × in), ``<path>.lora_B.weight`` (out × r) and so on; saved modules
    and weights that are trained in place under their own names.
    """
    tensors: dict[str, Tensor] = {}
    inside: set[int] = set()
    for path, layer in adapted(model):
        for name, saved_as in layer.low_rank.saved_as.items():
            tensors[f"{path}.{saved_as}"] = layer.low_rank.get_parameter(name)
        for name, saved_as in layer.variant.saved_as.items():
            tensors[f"{path}.{saved_as}"] = layer.get_parameter(name)
    for path, module in saved_modules(model):
        tensors |= {f"{path}.{name}": p for name, p in module.trained.named_parameters()}
    inside.update(map(id, tensors.values()))
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and id(parameter) not in inside:
            tensors[name] = parameter
    return tensors


def starting_tensors(model: nn.Module) -> dict[str, Tensor]:
    """What the low-rank paths started with, where that is subtracted; needed to go on later."""
    return {
        f"{path}.{name}": buffer
        for path, layer in adapted(model)
        for name, buffer in layer.low_rank.named_buffers()
    }


def load_trained(model: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Copy ``tensors`` (named as ``trained_tensors`` names them) into an injected model.

    Raises:
        AdapterError: lists every missing, surplus or misshapen tensor at once, by name and shape.
    """
    own = trained_tensors(model)
    problems = [
        f"{name} ({_shape(tensor)}) is missing"
        for name, tensor in own.items()
        if name not in tensors
    ]
    problems += [_surplus(model, name, t) for name, t in tensors.items() if name not in own]
    problems += [
        f"{name} is {_shape(tensors[name])}, not {_shape(own[name])}"
        for name in own
        if name in tensors and tensors[name].shape != own[name].shape
    ]
    if problems:
        raise AdapterError(f"The adapter does not fit this model: {'; '.join(problems)}.")
    with torch.no_grad():
        for name, parameter in own.items():
            parameter.copy_(tensors[name])
    for _, layer in adapted(model):
        layer.variant.forget()


def _surplus(model: nn.Module, name: str, tensor: Tensor) -> str:
    """What is wrong with a tensor that is not trained here."""
    base = dict(model.named_parameters(remove_duplicate=False)).get(name)
    if base is None or base.shape == tensor.shape:
        return f"{name} ({_shape(tensor)}) has no place in this model"
    return f"{name} is {_shape(tensor)}, but the base model's is {_shape(base)}"


def save(
    model: nn.Module,
    folder: Path,
    lora: LoraConfig,
    profile: ModelProfile,
    base_model: str,
    revision: str | None = None,
) -> None:
    """Write what was trained in an injected ``model`` into ``folder``, in float32.

    A LoRA adapter is written as PEFT writes it. One that did not start at B·A = 0 is written as
    a plain adapter of twice the rank for the untouched base (Meng et al. 2024, appendix C).
    Methods other than LoRA write the changed weights under their own names.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        name: tensor.detach().float().cpu() for name, tensor in trained_tensors(model).items()
    }
    metadata = {"format": "pt"}
    if lora.method != "lora":
        save_file(_contiguous(tensors), folder / CHANGED, metadata=metadata)
        return
    starting = {path: layer.low_rank for path, layer in adapted(model)}
    if any(pair.start_A is not None for pair in starting.values()):
        for path, pair in starting.items():
            tensors |= _with_start(path, pair)
        lora = _twice_the_rank(lora)
    named = {PREFIX + name: tensor for name, tensor in tensors.items()}
    save_file(_contiguous(named), folder / WEIGHTS, metadata=metadata)
    is_conv1d = any(isinstance(layer.base_layer, Conv1D) for _, layer in adapted(model))
    config = peft_config(lora, profile) | {
        "base_model_name_or_path": base_model,
        "revision": revision,
        "fan_in_fan_out": is_conv1d,
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
    settings = read_settings(path)
    tensors = _tensors(path, settings.weights)
    return Adapter(settings, {name.removeprefix(PREFIX): t for name, t in tensors.items()})


def attach(model: nn.Module, adapter: Adapter) -> None:
    """Inject ``adapter`` into an untouched base model; raises AdapterError if it does not fit."""
    in_place = adapter.lora.method != "lora"
    absent = parts_in(adapter.tensors) if in_place else ()
    profile = profile_model(model, adapter.settings.base_model, absent)  # type: ignore[arg-type]
    # PEFT names every head that some family has; one that is really missing shows as a tensor.
    lora = _with_tied_head(adapter, profile)
    saved = tuple(n for n in lora.modules_to_save or () if profile.has_module(n))
    if not in_place:  # what the file holds counts, not what would be trained here
        profile = profile.model_copy(update={"always_saved": ()})
    lora = profile.matching(lora).model_copy(update={"modules_to_save": saved})
    try:
        inject(model, lora, profile)
    except SettingsError as error:
        raise AdapterError(f"The adapter does not fit this model: {error}") from None
    load_trained(model, without_base_copies(model, adapter.tensors))


def _with_tied_head(adapter: Adapter, profile: ModelProfile) -> LoraConfig:
    """The adapter's settings with the head that PEFT adapts beside the embedding without naming
    it (``ensure_weight_tying``), where the file has it."""
    lora, tensors = adapter.lora, adapter.tensors
    for name in (tensor.name.removesuffix(".weight") for tensor in profile.tied):
        targets, saved = lora.target_modules, lora.modules_to_save or ()
        changes = {}
        if f"{name}.lora_A.weight" in tensors and isinstance(targets, tuple):
            changes["target_modules"] = tuple(dict.fromkeys((*targets, name)))
        elif f"{name}.weight" in tensors and saved:
            changes["modules_to_save"] = tuple(dict.fromkeys((*saved, name)))
        lora = lora.model_copy(update=changes)
    return lora


def _with_start(path: str, pair: LowRank) -> dict[str, Tensor]:
    """[A; A₀] and [B, −B₀]: the pair and its subtracted start as one pair of twice the rank."""
    assert pair.start_A is not None
    assert pair.start_B is not None
    a = torch.cat([pair.lora_A.detach(), pair.start_A]).float().cpu()
    b = torch.cat([pair.lora_B.detach(), -pair.start_B], dim=1).float().cpu()
    names = pair.saved_as
    return {f"{path}.{names['lora_A']}": a, f"{path}.{names['lora_B']}": b}


def _twice_the_rank(lora: LoraConfig) -> LoraConfig:
    """Settings with every rank doubled and every scaling as it was."""
    factor = math.sqrt(2) if lora.use_rslora else 2
    return lora.model_copy(
        update={
            "r": 2 * lora.r,
            "lora_alpha": factor * lora.lora_alpha,
            "rank_pattern": {key: 2 * r for key, r in lora.rank_pattern.items()},
            "alpha_pattern": {key: factor * a for key, a in lora.alpha_pattern.items()},
        }
    )


def without_base_copies(model: nn.Module, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """``tensors`` without the copies of base weights that PEFT adds: embeddings where one is
    adapted, and with ``bias="all"`` both sides of a saved module. On the meta device, where
    nothing can be compared, a copy is what has the base's name and shape.
    """
    own = trained_tensors(model)
    twice = re.compile(r"\.(original_module|modules_to_save)\.")
    tensors = {name: tensor for name, tensor in tensors.items() if not twice.search(name)}
    base = dict(model.named_parameters(remove_duplicate=False))
    return {
        name: tensor
        for name, tensor in tensors.items()
        if name in own
        or name not in base
        or base[name].shape != tensor.shape
        or not _same(base[name], tensor)
    }


def _same(base: Tensor, tensor: Tensor) -> bool:
    return base.is_meta or torch.equal(base.float(), tensor.float().to(base.device))


def _contiguous(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.contiguous() for name, tensor in tensors.items()}


def _shape(tensor: Tensor) -> str:
    return "×".join(map(str, tensor.shape))


def _tensors(path: Path, name: str) -> dict[str, Tensor]:
    data = read_member(path, name)
    try:
        # safetensors answers in another order each time; a message and a table must not.
        return dict(sorted(load_tensors(data).items()))
    except Exception as error:  # safetensors raises its own type for every kind of damage
        raise AdapterError(f"{path.name} has an unreadable {name}.") from error
