"""LoftQ: A and B start as what quantisation lost of the weight."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from lora_engine.errors import SettingsError
from lora_engine.lora.inject import adapted
from lora_engine.lora.layers import LoRALayer
from lora_engine.lora.starts.pissa import padded_rows
from lora_engine.quantization import dequantized, is_quantized


def start(layer: LoRALayer) -> None:
    """The paper's start, until the model stands and ``finish`` knows what was lost."""
    layer.low_rank.start()


def finish(model: nn.Module, original: nn.Module) -> str:
    """Fit the pairs, and say what quantisation lost and what of it is left."""
    lost, left = start_from_what_was_lost(model, original)
    return f"Quantisation changed the weights by {lost:.2%}; LoftQ leaves {left:.2%}"


@torch.no_grad()
def start_from_what_was_lost(model: nn.Module, original: nn.Module) -> tuple[float, float]:
    """LoftQ with one step (Li et al. 2023, https://arxiv.org/abs/2310.08659): A and B start as
    the best rank-r approximation of W − Q, so that base and pair together are closest to W.

    ``model`` is injected and quantised, ``original`` the same model with its own weights. The
    quantised base stays the plain one, so the adapter fits every load of it. Returns the mean
    relative error ‖W − W'‖ / ‖W‖ of the adapted layers without and with the pair.

    Raises:
        SettingsError: the base is not quantised, so that nothing was lost.
    """
    errors = list(_errors(model, original))
    if not errors:
        raise SettingsError(
            "lora.init_lora_weights", "The LoftQ start needs a quantised base: choose nf4 or int8."
        )
    return (
        sum(before for before, _ in errors) / len(errors),
        sum(after for _, after in errors) / len(errors),
    )


def _errors(model: nn.Module, original: nn.Module) -> Iterator[tuple[float, float]]:
    for path, layer in adapted(model):
        if not is_quantized(layer.base_layer):
            continue
        held = dequantized(layer.base_layer)
        whole: Any = original.get_submodule(path)
        weight = whole.weight.detach().to(held.device).float()
        weight = weight.T if isinstance(whole, Conv1D) else weight
        lost = weight - held  # where the layer is: a decomposition takes a CPU minutes
        _fit(layer, lost)
        left = lost - layer.low_rank.delta_weight()
        yield float(lost.norm() / weight.norm()), float(left.norm() / weight.norm())


def _fit(layer: LoRALayer, lost: Tensor) -> None:
    pair = layer.low_rank
    u, s, vt = torch.linalg.svd(lost, full_matrices=False)
    root = (s[: pair.r] / pair.scaling).sqrt()
    pair.lora_A.copy_(padded_rows(root[:, None] * vt[: pair.r], pair.r))
    pair.lora_B.copy_(padded_rows((u[:, : pair.r] * root).T, pair.r).T)
