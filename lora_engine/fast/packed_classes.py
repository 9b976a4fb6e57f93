"""Labelled texts packed end to end instead of padded, for encoders whose head reads one position.

Reason: an encoder spends nearly all its time in linear layers, norms and activations, which see
only real tokens here; only attention, cheap at these lengths, is padded to the longest row.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from lora_engine.batches import Example
from lora_engine.class_loss import PaddedClasses
from lora_engine.config import TrainConfig
from lora_engine.fast import attention

log = logging.getLogger(__name__)


class PackedClasses(PaddedClasses):
    """One long row made of whole rows; the head sees the first position of each.

    The model's own forward runs: a hook cuts what its encoder gives down to those positions.
    """

    def __init__(self, model: Any, plain: PaddedClasses) -> None:
        self.__dict__.update(plain.__dict__)
        model.set_attn_implementation(attention.PADDED)
        embeddings = getattr(model.base_model, "embeddings", None)
        positions = getattr(embeddings, "position_embeddings", None)
        # RoBERTa counts positions from the one after the padding's
        padding = getattr(positions, "padding_idx", None)
        self._first_position = 0 if padding is None else padding + 1

    def logits(self, examples: list[Example]) -> Tensor:
        """rows × classes, float32."""
        device = self._model.device
        lengths = [len(example["input_ids"]) for example in examples]
        borders = torch.tensor([0, *lengths]).cumsum(0)
        positions = torch.cat([torch.arange(length) for length in lengths])
        inputs = {
            "input_ids": _in_one_row(examples, "input_ids").to(device),
            "position_ids": (positions + self._first_position)[None].to(device),
        }
        if "token_type_ids" in examples[0]:
            inputs["token_type_ids"] = _in_one_row(examples, "token_type_ids").to(device)
        with _only_positions(self._model.base_model, borders[:-1].to(device)):
            logits: Tensor = self._model(**inputs, cu_seq_lens_q=borders.int()).logits
        return logits.float()


def choose_classes(model: Any, plain: PaddedClasses, config: TrainConfig) -> PaddedClasses:
    """The packed path where it is wanted and gives this model's plain answers, else ``plain``.

    Measured on two short rows, as in ``packed.choose_path``.
    """
    if not (config.fast and model.device.type == "cpu" and model._can_set_attn_implementation()):
        return plain
    before = model.config._attn_implementation
    was_training = model.training
    model.eval()
    rows = _probe(model.config.vocab_size, getattr(model.config, "type_vocab_size", 0) > 1)
    try:
        with torch.no_grad():
            expected = plain.logits(rows)
            packed = PackedClasses(model, plain)
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
    model.set_attn_implementation(before)
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
