"""Rows packed end to end instead of padded, with the loss only where something is learned.

Reason: a padded batch of real rows is about half padding, and its full logits are most of the
memory. Packed, the linear layers see only real tokens, in pieces long enough for the matrix
units; positions restart at every row and attention never crosses one.
"""

import logging
from typing import Any

import torch
from torch import Tensor

from lora_engine.batches import IGNORED, Example, learned_tokens, read_tokens
from lora_engine.config import TrainConfig
from lora_engine.fast import attention
from lora_engine.fast.crew import Crew
from lora_engine.fast.head_loss import head_loss
from lora_engine.fast.layer import LAYERS, fuse, unfuse
from lora_engine.fast.learned import agree, choose_learned
from lora_engine.fast.lower import lower_layers
from lora_engine.fast.shares import Shares, filled_up, row_length, trained_in
from lora_engine.loss import LossPath, PaddedPath

log = logging.getLogger(__name__)


class PackedPath(Shares):
    """One long row made of whole rows; for CPUs and models of transformers' attention interface."""

    def __init__(
        self,
        model: Any,
        device: torch.device,
        checkpointed: bool = False,
        label_smoothing: float = 0.0,
    ) -> None:
        self._model = model
        self._device = device
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
        lengths = list(map(row_length, examples))
        ids = torch.cat([torch.as_tensor(example["input_ids"]) for example in examples])
        positions = torch.cat([torch.arange(length) for length in lengths])
        # The last position of a row predicts nothing: the next row's first token is not its own.
        labels = torch.cat(
            [torch.as_tensor([*example["labels"][1:], IGNORED]) for example in examples]
        )
        borders = torch.tensor([0, *lengths]).cumsum(0).int()
        hidden = self._model.base_model(
            input_ids=ids[None].to(self._device),
            position_ids=positions[None].to(self._device),
            use_cache=False,
            cu_seq_lens_q=borders,
            cu_seq_lens_k=borders,
            max_length_q=max(lengths),
            max_length_k=max(lengths),
            dropping=dropping,
            lower=self._lower.open(examples) if self._lower else None,
        ).last_hidden_state[0]
        learned = (labels != IGNORED).to(self._device)
        labels = labels.to(self._device)[learned]
        smoothing = self._label_smoothing if self._model.training else 0.0
        bias = getattr(self._head, "bias", None)
        return head_loss(hidden[learned], self._head.weight, bias, labels, smoothing)


def choose_path(
    model: Any, config: TrainConfig, pad_id: int, device: torch.device, longest: int
) -> LossPath:
    """The packed path where it is wanted and gives this model's plain loss, else a padded one.

    Measured, not assumed: each way is taken once over two short rows, because a family may
    scale or cap its logits, or place its rows in a way that packing does not know. ``longest``
    is the length of the longest row to come, in tokens.
    """
    plain = PaddedPath(model, pad_id, config.batch_size, device, config.label_smoothing)
    head = model.get_output_embeddings()
    trains_head = any(parameter.requires_grad for parameter in head.parameters())
    if not config.fast or type(head) is not torch.nn.Linear or trains_head:
        return plain
    text_config = model.config.get_text_config()
    window = getattr(text_config, "sliding_window", None)
    noisy = config.neftune_noise_alpha is not None  # its size depends on the padded length
    can_pack = device.type == "cpu" and not noisy and not (window and longest > window)
    rows = _probe(text_config.vocab_size)
    was_training = model.training
    try:
        model.eval()
        packed = _packed(model, config, plain, device, rows) if can_pack else None
        model.eval()
        return packed or choose_learned(plain, model, rows)
    finally:
        model.train(was_training)


@torch.no_grad()
def _packed(
    model: Any, config: TrainConfig, plain: PaddedPath, device: torch.device, rows: list[Example]
) -> PackedPath | None:
    """The packed path, or None where it does not give the loss of ``plain`` on ``rows``."""
    before = model.config._attn_implementation
    try:
        expected = float(plain.loss_sum(rows))
        packed = PackedPath(model, device, config.gradient_checkpointing, config.label_smoothing)
        found = float(packed.loss_sum(rows))
        model.train()
        packed.loss_sum(rows)  # raises where the family drops attention out in training
    except Exception as error:  # noqa: BLE001 - whatever a model raises, packing does not fit it
        log.info("packed path does not fit %s: %r", type(model).__name__, error)
        found = expected = float("nan")
    if agree(found, expected, next(model.parameters()).dtype):
        return packed
    log.info("padded path: packed loss %s, padded loss %s", found, expected)
    unfuse(model)
    model.set_attn_implementation(before)
    return None


def _probe(words: int) -> list[Example]:
    generator = torch.Generator().manual_seed(0)
    rows = []
    for length in (24, 17):
        ids = torch.randint(0, words, (length,), generator=generator).tolist()
        rows.append({"input_ids": ids, "labels": [IGNORED] * 5 + ids[5:]})
    return rows
