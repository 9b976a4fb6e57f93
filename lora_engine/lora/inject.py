"""Wrap a model's modules with low-rank paths, choose what is trained, and undo it."""

from collections.abc import Iterator

from torch import nn
from transformers import PreTrainedModel

from lora_engine.config import LoraConfig
from lora_engine.errors import SettingsError
from lora_engine.lora.layers import LoRALayer
from lora_engine.lora.paths import path_class
from lora_engine.lora.saved import SavedModule
from lora_engine.lora.starts import start_of
from lora_engine.lora.variants import variant_of
from lora_engine.profile import ModelProfile, is_bias, trained_in_place


def inject(model: nn.Module, lora: LoraConfig, profile: ModelProfile) -> None:
    """Make ``model`` ready to be trained as ``lora`` says; ``profile`` is the model's own.

    Everything is frozen; the chosen modules get a fresh low-rank path, saved modules a trained
    copy, and the asked-for biases are trained in place. Methods other than LoRA just choose
    which weights are trained. The model computes what it did before.

    Raises:
        SettingsError: the settings do not fit the model.
    """
    model.requires_grad_(False)
    if lora.method != "lora":
        for tensor in trained_in_place(profile, lora):
            model.get_parameter(tensor.name).requires_grad_(True)
        return
    targets = profile.adapted(lora)
    saved = profile.saved_modules(lora)
    start = start_of(lora.init_lora_weights)
    for target in targets:
        module = model.get_submodule(target.path)
        make = path_class(module)
        assert make is not None, "a profile lists only modules that have a path"
        pair = make(module, target.r, lora.scaling_of(target.path), lora.lora_dropout)
        layer = LoRALayer(
            module, pair.to(next(module.parameters()).device), variant_of(lora), start
        )
        layer.train(module.training)
        _replace(model, target.path, layer)
    for path, module in list(model.named_modules()):
        if path.rpartition(".")[2] in saved:
            if not all(weight.is_floating_point() for weight in module.parameters()):
                raise SettingsError(
                    "lora.modules_to_save", f"{path} is held in few bits and cannot be saved whole."
                )
            _replace(model, path, SavedModule(module))
    _train_biases(model, lora)


def adapted(model: nn.Module) -> Iterator[tuple[str, LoRALayer]]:
    """The wrapped modules with their paths in the untouched model, in the model's order."""
    for path, module in model.named_modules():
        if isinstance(module, LoRALayer):
            yield path, module


def saved_modules(model: nn.Module) -> Iterator[tuple[str, SavedModule]]:
    """The modules that are trained whole, with their paths in the untouched model."""
    for path, module in model.named_modules():
        if isinstance(module, SavedModule):
            yield path, module


def remove(model: nn.Module) -> None:
    """Take every low-rank path and trained copy away; a merged one is unmerged first."""
    for path, layer in list(adapted(model)):
        layer.unmerge()
        _replace(model, path, layer.base_layer)
    for path, module in list(saved_modules(model)):
        _replace(model, path, module.original)


def merge(model: nn.Module) -> None:
    """Merge every pair into its base weight and drop the wrappers: a plain model remains.

    Where an embedding and its head shared a weight and no longer do, the config says so.
    """
    for path, layer in list(adapted(model)):
        layer.merge()
        _replace(model, path, layer.base_layer)
    for path, module in list(saved_modules(model)):
        _replace(model, path, module.trained)
    if isinstance(model, PreTrainedModel):
        head, words = model.get_output_embeddings(), model.get_input_embeddings()
        if head is not None and head.weight is not words.weight:
            model.config.tie_word_embeddings = False


def _train_biases(model: nn.Module, lora: LoraConfig) -> None:
    if lora.bias == "lora_only":
        for _, layer in adapted(model):
            if layer.bias is not None:
                layer.bias.requires_grad_(True)
    if lora.bias == "all":
        for name, parameter in model.named_parameters():
            if is_bias(name) and ".original." not in name:
                parameter.requires_grad_(True)


def _replace(model: nn.Module, path: str, module: nn.Module) -> None:
    parent, _, name = path.rpartition(".")
    setattr(model.get_submodule(parent), name, module)
