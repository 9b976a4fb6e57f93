"""Which rows make which update, and how rows become tensors."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from lora_engine.config import TrainConfig
from lora_engine.data.examples import IGNORED

Example = dict[str, list[int]]
"""A row as tokens: ``input_ids``, and ``labels`` as its task has them."""


@dataclass(frozen=True)
class Plan:
    """The order of a run: every epoch sees every row once, shuffled by seed and epoch."""

    rows: int
    update_size: int
    """Rows an update: batch_size · gradient_accumulation_steps; an epoch's last may be smaller."""
    total_steps: int
    seed: int

    @classmethod
    def of(cls, config: TrainConfig, rows: int) -> "Plan":
        """The plan of a run over ``rows`` training rows."""
        update_size = config.batch_size * config.gradient_accumulation_steps
        steps = max(1, math.ceil(config.epochs * math.ceil(rows / update_size)))
        return cls(rows, update_size, min(steps, config.max_steps or steps), config.seed)

    def update(self, step: int) -> list[int]:
        """The rows of update ``step`` (from 0)."""
        epoch, place = divmod(step, math.ceil(self.rows / self.update_size))
        generator = torch.Generator().manual_seed((self.seed << 20) + epoch)
        order = torch.randperm(self.rows, generator=generator)
        start = place * self.update_size
        return [int(row) for row in order[start : start + self.update_size]]


@dataclass(frozen=True)
class Batch:
    """Rows of equal (padded) length, as the model takes them."""

    input_ids: Tensor
    """rows × length, int64."""
    labels: Tensor
    """rows × length, int64; IGNORED where nothing is learned."""
    attention_mask: Tensor
    """rows × length, 1 on real tokens."""


def collate(examples: list[Example], pad_id: int, device: torch.device) -> Batch:
    """Pad ``examples`` (input_ids and labels) on the right to the longest of them."""
    ids = [example["input_ids"] for example in examples]
    return Batch(
        pad(ids, pad_id).to(device),
        pad([example["labels"] for example in examples], IGNORED).to(device),
        pad([[1] * len(row) for row in ids], 0).to(device),
    )


def pad(rows: list[list[int]], value: int) -> Tensor:
    """Rows of numbers as int64, rows × longest, with ``value`` on the right of shorter ones."""
    padded = torch.full((len(rows), max(map(len, rows))), value, dtype=torch.int64)
    for place, row in enumerate(rows):
        padded[place, : len(row)] = torch.tensor(row)
    return padded


def learned_tokens(examples: list[Example]) -> int:
    """Positions whose token is predicted and learned (the first token of a row never is)."""
    return sum(label != IGNORED for example in examples for label in example["labels"][1:])


def read_tokens(examples: list[Example]) -> int:
    """Tokens that are read, without padding."""
    return sum(len(example["input_ids"]) for example in examples)
