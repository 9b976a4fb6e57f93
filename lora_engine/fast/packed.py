"""Rows packed end to end instead of padded, with the loss only where something is learned.

Reason: a padded batch of real rows is about half padding, and its full logits are most of the
memory. Packed, the linear layers see only real tokens, in pieces long enough for the matrix
units; positions restart at every row and attention never crosses one.
"""

from typing import Any

import torch
from torch import Tensor

from lora_engine.batches import Example, learned_tokens, read_tokens
from lora_engine.fast import attention
from lora_engine.fast.crew import Crew
from lora_engine.fast.layer import LAYERS, fuse
from lora_engine.fast.lower import lower_layers
from lora_engine.fast.one_row import one_row_loss
from lora_engine.fast.shares import Shares, filled_up, row_length, trained_in


class PackedPath(Shares):
    """One long row made of whole rows; for CPUs and models of transformers' attention interface."""

    def __init__(
        self,
        model: Any,
        checkpointed: bool = False,
        label_smoothing: float = 0.0,
    ) -> None:
        self._model = model
        self._label_smoothing = label_smoothing
        self._head = model.get_output_embeddings()
        model.set_attn_implementation(attention.NAME)
        # a checkpoint is taken by the layer's own forward
        layers = 0 if checkpointed else fuse(model)
        # in other layers the dropout's numbers would depend on which pack is first
        text = model.config.get_text_config()
        whole = layers == text.num_hidden_layers
        self._trained = trained_in(model)
        cores = torch.get_num_threads()
        self._own_draws = whole
        self._crew = Crew(cores) if whole and cores > 1 else None
        every = [layer for layer in model.modules() if type(layer).__name__ in LAYERS]
        self._lower = lower_layers(model, every) if whole else None
        inside = model.base_model.modules()
        self._weights: int = sum(m.weight.numel() for m in inside if isinstance(m, torch.nn.Linear))
        self._attending: int = text.num_hidden_layers * text.hidden_size

    def learned(self, examples: list[Example]) -> float:
        """See ``LossPath``: tokens."""
        return learned_tokens(examples)

    def tokens(self, examples: list[Example]) -> int:
        """See ``LossPath``."""
        return read_tokens(examples)

    def _work(self, example: Example) -> float:
        """What a row costs, forward and backward, in multiplications."""
        length = row_length(example)
        head = learned_tokens([example]) * int(self._head.weight.numel())
        return 2 * (length * self._weights + head) + 3 * length**2 * self._attending

    def loss_sum(self, examples: list[Example], dropping: torch.Generator | None = None) -> Tensor:
        """See ``Shares``."""
        examples = filled_up(examples)
        smoothing = self._label_smoothing if self._model.training else 0.0
        lower = self._lower.open(examples) if self._lower else None
        return one_row_loss(self._model, examples, smoothing, dropping=dropping, lower=lower)
