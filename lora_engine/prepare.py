"""Bring model and data together: a run's rows as tokens, split into training and validation."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lora_engine import catalog
from lora_engine.batches import Example
from lora_engine.config import TrainConfig
from lora_engine.data.encode import Encoded, encode_dataset, split
from lora_engine.data.library import Dataset, Library
from lora_engine.folders import read_config
from lora_engine.model import load_tokenizer
from lora_engine.progress import Progress, Report


@dataclass(frozen=True)
class Work:
    """Everything a run needs besides the model itself."""

    model: catalog.ModelFolder
    tokenizer: Any
    dataset: Dataset
    encoded: Encoded
    train_rows: list[int]
    """Positions in ``encoded.dataset``."""
    validation_rows: list[int]
    max_length: int
    """Tokens at which rows are cut: the setting's, or what the model has positions for."""

    @property
    def pad_id(self) -> int:
        """Any token will do: padding is masked and never learned."""
        return int(self.tokenizer.pad_token_id or 0)

    @property
    def longest(self) -> int:
        """Tokens of the longest row, as it is trained on."""
        return min(self.encoded.longest, self.max_length)

    def train_examples(self, rows: list[int]) -> list[Example]:
        """The training rows at positions ``rows`` of the training share."""
        return self._examples([self.train_rows[row] for row in rows])

    def validation_examples(self, at_once: int = 64) -> Iterator[list[Example]]:
        """The validation rows, some at a time."""
        for start in range(0, len(self.validation_rows), at_once):
            yield self._examples(self.validation_rows[start : start + at_once])

    def _examples(self, rows: list[int]) -> list[Example]:
        columns = self.encoded.dataset[rows]
        return [
            {"input_ids": input_ids, "labels": labels}
            for input_ids, labels in zip(columns["input_ids"], columns["labels"], strict=True)
        ]


def prepare(config: TrainConfig, home: Path, out_dir: Path, report: Report) -> Work:
    """Find the model and the data of ``config`` and turn the rows into tokens.

    Raises:
        WorkbenchError: the model or the data cannot be used.
    """
    library = Library(home)
    dataset = library.resolve(config.dataset)
    model = catalog.resolve(config.base_model, home, report)
    tokenizer = load_tokenizer(model.path)
    max_length = min(config.max_length, _most_positions(model.path))
    report(Progress(phase="preparing", message="Turning rows into tokens"))
    encoded = encode_dataset(
        library.samples(dataset.dataset_id, roles=config.roles),
        tokenizer,
        max_length=max_length,
        cache_dir=out_dir / "tokens",
    )
    train_rows, validation_rows = split(encoded.dataset, config.validation_share, config.seed)
    return Work(
        model, tokenizer, dataset, encoded, list(train_rows), list(validation_rows), max_length
    )


def _most_positions(folder: Path) -> int:
    """The longest row that a model has positions for, as its config.json tells."""
    config = read_config(folder)
    config = config.get("text_config") or config
    known = (config.get(name) for name in ("max_position_embeddings", "n_positions", "seq_length"))
    return next((int(found) for found in known if found), sys.maxsize)
