"""What a forward pass keeps for its backward pass, and what is done where there is no room for it.

Gradient checkpointing (Chen et al. 2016, https://arxiv.org/abs/1604.06174) keeps each layer's input
alone and computes the layer again: a third more time, for memory that may not be there otherwise.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.multiprocessing.reductions import StorageWeakRef

from lora_engine.batches import Example
from lora_engine.config import TrainConfig
from lora_engine.errors import SettingsError
from lora_engine.fast.shares import Shares
from lora_engine.fast.undo import undo
from lora_engine.loss import LossPath
from lora_engine.memory import free_memory
from lora_engine.needs import FLOAT, MOMENTS
from lora_engine.prepare import Work
from lora_engine.progress import Progress, Report
from lora_engine.quantization import holds_input

BESIDE = 1.6
"""Memory that an update takes at its peak, as a multiple of what its forward pass keeps: gradients
of activations and what single operations need (1.23 to 1.55 times, see benchmarks/NOTES.md)."""
LOOKED_AT = 256
"""Rows among which a long one is looked for."""


def take_path(
    model: Any, config: TrainConfig, work: Work, device: torch.device, report: Report
) -> tuple[LossPath, bool]:
    """The way to the loss, and whether its layers are computed twice: where the settings ask for
    it or, with ``auto``, where what an update keeps would not fit into the free memory.

    Raises:
        SettingsError: it is asked for, and this kind of model cannot do so.
    """
    wanted = config.gradient_checkpointing
    can_recompute = bool(model.supports_gradient_checkpointing)
    if wanted == "on" and not can_recompute:
        raise SettingsError(
            "gradient_checkpointing",
            f"{type(model).__name__} cannot compute its layers twice: set gradient checkpointing "
            "to auto or off.",
        )

    def take(recomputes: bool) -> LossPath:
        settings = {"gradient_checkpointing": "on" if recomputes else "off"}
        if recomputes:
            model.activation_checkpointing_enable({"use_reentrant": False})
        changed = config.model_copy(update=settings)
        return work.task.path(model, changed, work.words, device, work.longest)

    if wanted != "auto":
        return take(wanted == "on"), wanted == "on"
    attention = model.config._attn_implementation
    path = take(False)
    if not can_recompute:
        return path, False
    free = free_memory(device) - _of_the_optimizer(model, config)
    batches = batches_at_once(path, config, work)
    if _at_most(model, batches) <= free:
        return path, False
    kept = BESIDE * kept_by(path, model, batches)
    if kept <= free:
        return path, False
    message = (
        f"An update would keep {kept / 1e9:.1f} GB, and {max(free, 0) / 1e9:.1f} are free: layers "
        "are computed twice instead (gradient checkpointing)"
    )
    report(Progress(phase="preparing", message=message))
    undo(model, attention)
    return take(True), True


def batches_at_once(path: LossPath, config: TrainConfig, work: Work) -> list[list[Example]]:
    """The batches of an update that are under way together, of rows as long as the longest."""
    training = work.training
    places = range(0, len(training), max(1, len(training) // LOOKED_AT))
    row = max(training.examples(places), key=_length)
    length = len(row["input_ids"])
    times = math.ceil(work.longest / length)
    longest = {
        name: (values * times)[: work.longest] if len(values) == length else values
        for name, values in row.items()
    }
    rows = [longest] * min(config.batch_size, len(training))
    if isinstance(path, Shares):
        return [max(packs, key=len) for packs in path.shares(rows) if packs]
    return [max(path.batches(rows), key=len)]


def kept_by(path: LossPath, model: nn.Module, batches: Sequence[list[Example]]) -> int:
    """Bytes that the forward passes over ``batches`` keep in training; draws no random numbers."""
    was_training = model.training
    model.train()
    with torch.random.fork_rng():
        kept = sum(kept_bytes(path, model, batch) for batch in batches)
    model.train(was_training)
    return kept


def _at_most(model: Any, batches: Sequence[list[Example]]) -> float:
    """Bytes that ``batches`` do not exceed, by the parts of a layer (those that Korthikanti et al.
    2022 count, https://arxiv.org/abs/2205.05198, section 4, generously and in float32); infinite
    where the model's config does not tell its sizes."""
    config = model.config.get_text_config()
    names = ("num_hidden_layers", "hidden_size", "num_attention_heads", "vocab_size")
    sizes = [size for name in names if isinstance(size := getattr(config, name, None), int)]
    if len(sizes) < len(names):
        return math.inf
    layers, width, heads, words = sizes
    layers *= 3 if config.is_encoder_decoder else 1  # the decoder attends twice
    inner = getattr(config, "intermediate_size", None) or 4 * width
    inner *= getattr(config, "num_experts_per_tok", None) or 1
    tokens = sum(len(batch) * max(map(_length, batch)) for batch in batches)
    longest = max(_length(row) for batch in batches for row in batch)
    a_layer = 16 * width + 8 * inner + 5 * heads * longest
    return FLOAT * tokens * (layers * a_layer + 4 * words)


def _length(example: Example) -> int:
    return max(len(example["input_ids"]), len(example["labels"]))


def kept_bytes(path: LossPath, model: nn.Module, examples: list[Example]) -> int:
    """Bytes that one forward pass over ``examples`` keeps for its backward pass, each tensor's
    memory counted once and the model's own left aside. Nothing is held while it is counted."""
    own = [*model.parameters(), *model.buffers()]
    known = {tensor.untyped_storage()._cdata for tensor in own}
    held: list[StorageWeakRef] = []  # so that no address is given out twice
    total = 0

    def count(tensor: Tensor) -> None:
        nonlocal total
        storage = tensor.untyped_storage()
        if storage._cdata not in known:
            known.add(storage._cdata)
            held.append(StorageWeakRef(storage))
            total += storage.nbytes()

    def never(_: None) -> Tensor:
        raise RuntimeError("what was only counted cannot be computed backwards")

    def count_input(_: nn.Module, given: tuple[Tensor, ...]) -> None:
        count(given[0])

    hooks = [
        layer.register_forward_pre_hook(count_input)
        for layer in model.modules()
        if holds_input(layer)
    ]
    try:
        with saved_tensors_hooks(count, never):
            path.loss_sum(examples)
    finally:
        for hook in hooks:
            hook.remove()
    return total


def _of_the_optimizer(model: nn.Module, config: TrainConfig) -> float:
    """Bytes of what comes with the first update: gradients, and the optimiser's moments."""
    trained = sum(tensor.numel() for tensor in model.parameters() if tensor.requires_grad)
    moments = 0.0 if config.lora.method == "galore" else MOMENTS[config.optim]
    return FLOAT * trained * (1 + moments)
