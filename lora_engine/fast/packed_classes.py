"""Labelled texts packed end to end instead of padded, for encoders whose head reads one position.

Reason: an encoder spends nearly all its time in linear layers, norms and activations, which see
only real tokens here. Where its layers are of the BERT kind each is one function
(``fast/encoder.py``); else only attention, cheap at these lengths, is padded to the longest row.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Generator, Tensor

from lora_engine.batches import Example
from lora_engine.class_loss import Judged, PaddedClasses, in_order
from lora_engine.config import TrainConfig
from lora_engine.fast import attention
from lora_engine.fast.crew import Crew
from lora_engine.fast.dropout import drawing_from, own
from lora_engine.fast.encoder import Packed, fuse, unfuse
from lora_engine.fast.shares import Shares, coarse, filled_up, row_length, trained_in
from lora_engine.fast.undo import undo

log = logging.getLogger(__name__)


class PackedClasses(PaddedClasses, Shares):
    """One long row made of whole rows; the head sees the first position of each.

    The model's own forward runs. Where its layers are one function each, the last of them gives
    just those positions; else a hook cuts what the encoder gives.
    """

    def __init__(self, model: Any, plain: PaddedClasses, checkpointed: bool = False) -> None:
        self.__dict__.update(plain.__dict__)
        model.set_attn_implementation(attention.PADDED)
        embeddings = getattr(model.base_model, "embeddings", None)
        positions = getattr(embeddings, "position_embeddings", None)
        # RoBERTa counts positions from the one after the padding's
        padding = getattr(positions, "padding_idx", None)
        self._first_position = 0 if padding is None else padding + 1
        # a checkpoint is taken by the layer's own forward
        layers = 0 if checkpointed else fuse(model)
        self._fused = layers == getattr(model.config, "num_hidden_layers", None)
        self._own_draws = self._fused
        if self._fused:
            own(model)
        else:
            unfuse(model)
        self._trained = trained_in(model)
        cores = torch.get_num_threads()
        self._crew = Crew(cores) if self._fused and cores > 1 else None

    def judged(self, examples: list[Example]) -> Judged:
        """See ``ClassPath``."""

        @torch.no_grad()  # which is a matter of each thread
        def one(share: list[list[Example]]) -> Judged:
            return [(pack, self._logits(pack, None)) for pack in share]

        shares = self._each(one, self.shares(examples))
        return [judged for share in shares for judged in share]

    def logits(self, examples: list[Example]) -> Tensor:
        """rows × classes, float32, without gradients."""
        return in_order(self.judged(examples), examples)

    def loss_sum(self, examples: list[Example], dropping: Generator | None = None) -> Tensor:
        """See ``Shares``."""
        return self.cross_entropy(self._logits(examples, dropping), examples)

    def _work(self, example: Example) -> float:
        return row_length(example)

    def _logits(self, examples: list[Example], dropping: Generator | None) -> Tensor:
        """rows × classes, float32, of one pack."""
        rows, tokens = len(examples), sum(map(row_length, examples))
        examples = filled_up(examples, coarse(tokens))
        device = self._model.device
        lengths = list(map(row_length, examples))
        positions = torch.cat([torch.arange(length) for length in lengths])
        inputs = {
            "input_ids": _in_one_row(examples, "input_ids").to(device),
            "position_ids": (positions + self._first_position)[None].to(device),
        }
        if "token_type_ids" in examples[0]:
            inputs["token_type_ids"] = _in_one_row(examples, "token_type_ids").to(device)
        borders = torch.tensor([0, *lengths]).cumsum(0)
        if not self._fused:
            with _only_positions(self._model.base_model, borders[:-1].to(device)):
                logits: Tensor = self._model(**inputs, cu_seq_lens_q=borders.int()).logits
            return logits[:rows].float()
        heads, dtype = self._model.config.num_attention_heads, self._model.dtype
        packed = Packed.of(lengths[:rows], heads, sum(lengths[rows:]), dtype, dropping)
        with drawing_from(dropping):
            return self._model(**inputs, packed=packed).logits.float()  # type: ignore[no-any-return]


def choose_classes(
    model: Any, plain: PaddedClasses, config: TrainConfig, longest: int
) -> PaddedClasses:
    """The packed path where it is wanted and gives this model's plain answers, else ``plain``.

    Measured on two short rows, as in ``choice.choose_path``, so a model whose attention reaches
    less far than the ``longest`` row (in tokens) takes the plain path unseen.
    """
    noisy = config.neftune_noise_alpha is not None  # its size depends on the padded length
    window = getattr(model.config, "sliding_window", None)
    fits = (
        model.device.type == "cpu"
        and attention.keeps_rows_apart(model)
        and not (window and longest > window)
    )
    if not config.fast or noisy or not fits:
        return plain
    before = model.config._attn_implementation
    was_training = model.training
    model.eval()
    rows = _probe(model.config.vocab_size, getattr(model.config, "type_vocab_size", 0) > 1)
    try:
        with torch.no_grad():
            expected = plain.logits(rows)
            packed = PackedClasses(model, plain, config.gradient_checkpointing == "on")
            found = packed.logits(rows)
            tolerance = 1e-4 if next(model.parameters()).dtype == torch.float32 else 5e-2
            fits = bool(torch.allclose(found, expected, atol=tolerance, rtol=tolerance))
    except Exception as error:  # noqa: BLE001 - whatever a model raises, packing does not fit it
        log.info("packed texts do not fit %s: %r", type(model).__name__, error)
        fits = False
    model.train(was_training)
    if fits:
        return packed
    log.info("texts are padded for %s", type(model).__name__)
    undo(model, before)
    return plain


@contextmanager
def _only_positions(encoder: Any, positions: Tensor) -> Iterator[None]:
    """Within, ``encoder`` gives rows × 1 × width: its output at ``positions`` of its one row."""

    def cut(module: Any, _: Any, output: Any) -> Any:
        output["last_hidden_state"] = output["last_hidden_state"][0, positions, None]
        if output.get("pooler_output") is not None:
            output["pooler_output"] = module.pooler(output["last_hidden_state"])
        return output

    handle = encoder.register_forward_hook(cut)
    try:
        yield
    finally:
        handle.remove()


def _in_one_row(examples: list[Example], name: str) -> Tensor:
    return torch.cat([torch.as_tensor(example[name]) for example in examples])[None]


def _probe(words: int, types: bool) -> list[Example]:
    generator = torch.Generator().manual_seed(0)
    rows = []
    for length in (11, 7):
        ids = torch.randint(0, words, (length,), generator=generator).tolist()
        row = {"input_ids": ids, "labels": [0]}
        rows.append(row | {"token_type_ids": [0] * 4 + [1] * (length - 4)} if types else row)
    return rows
