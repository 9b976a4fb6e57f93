"""Wrap a model's modules with low-rank paths, choose what is trained, and undo it."""

from collections.abc import Iterator

from torch import nn

from lora_engine.config import Bias, LoraConfig
from lora_engine.inspection import adaptable, is_bias
from lora_engine.lora.layers import LoRALinear, LowRank


def inject(model: nn.Module, lora: LoraConfig, targets: tuple[str, ...]) -> None:
    """Freeze ``model`` and put a fresh low-rank path beside every module named in ``targets``.

    ``targets`` are last parts of module paths, as ``ModelProfile.targets`` gives them. What
    ``lora.bias`` asks for is made trainable as well. The model computes what it did before,
    because B starts at zero.
    """
    for path, module in list(model.named_modules()):
        found = adaptable(module)
        if found is None or path.rpartition(".")[2] not in targets or _is_head(model, module):
            continue
        _, in_features, out_features = found
        low_rank = LowRank(in_features, out_features, lora).to(module.weight.device)
        _replace(model, path, LoRALinear(module, low_rank))
    mark_trainable(model, lora.bias)


def mark_trainable(model: nn.Module, bias: Bias) -> None:
    """Let gradients reach the low-rank pairs and the asked-for biases, and nothing else."""
    model.requires_grad_(False)
    for _, layer in adapted(model):
        layer.low_rank.requires_grad_(True)
        if bias == "lora_only" and layer.base_layer.bias is not None:
            layer.base_layer.bias.requires_grad_(True)
    if bias == "all":
        for name, parameter in model.named_parameters():
            if is_bias(name):
                parameter.requires_grad_(True)


def adapted(model: nn.Module) -> Iterator[tuple[str, LoRALinear]]:
    """The wrapped modules with their paths in the untouched model, in the model's order."""
    for path, module in model.named_modules():
        if isinstance(module, LoRALinear):
            yield path, module


def remove(model: nn.Module) -> None:
    """Take every low-rank path away; a merged one is unmerged first."""
    for path, layer in list(adapted(model)):
        layer.unmerge()
        _replace(model, path, layer.base_layer)


def merge(model: nn.Module) -> None:
    """Merge every pair into its base weight and drop the wrappers: a plain model remains."""
    for path, layer in list(adapted(model)):
        layer.merge()
        _replace(model, path, layer.base_layer)


def _replace(model: nn.Module, path: str, module: nn.Module) -> None:
    parent, _, name = path.rpartition(".")
    setattr(model.get_submodule(parent), name, module)


def _is_head(model: nn.Module, module: nn.Module) -> bool:
    head = getattr(model, "get_output_embeddings", lambda: None)()
    return module is head
