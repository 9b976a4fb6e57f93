"""What a task decides."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self

import torch
from transformers import PreTrainedModel

from lora_engine.adapter import Adapter
from lora_engine.answering import Answerer, Desk
from lora_engine.config import Quantization, TrainConfig
from lora_engine.data.encode import Encoded
from lora_engine.data.nouns import Sample
from lora_engine.generate import Decoding
from lora_engine.loss import LossPath
from lora_engine.model import padding_id
from lora_engine.profile import ModelProfile
from lora_engine.share import Share

Tell = Callable[[str], None]
"""Hears a sentence on what is being measured."""


@dataclass(frozen=True)
class Words:
    """A model's tokenizer and what a task asks of it."""

    tokenizer: Any
    max_length: int
    """Tokens at which rows are cut."""
    config: dict[str, Any]
    """The model's config.json."""

    @property
    def pad_id(self) -> int:
        """The token that fills shorter rows: masked, and never learned."""
        return padding_id(self.tokenizer)


@dataclass(frozen=True)
class Trial:
    """One prompt to a base model and to an adapter on it."""

    folder: Path
    """The base model's."""
    adapter: Adapter
    prompt: str
    decoding: Decoding
    strength: float
    device: torch.device
    quantization: Quantization = "none"
    """How the base is held; both answers come from it."""


class Task(Protocol):
    """What is learned in one run, and everything that follows from it."""

    @property
    def name(self) -> str:
        """As in ``TrainConfig.task``."""

    unit: ClassVar[str]
    """What a loss is the mean of: ``token`` or ``row``."""
    evenly: ClassVar[bool]
    """Whether validation rows are held out of each class alike."""
    scores: ClassVar[bool]
    """Whether ``measure`` finds more than the loss."""

    @classmethod
    def of_run(cls, name: str, config: TrainConfig, label_counts: Mapping[str, int]) -> Self:
        """The task of a run; ``label_counts`` is empty where the data has no labels.

        Raises:
            DataError: the labels cannot be learned.
        """

    @classmethod
    def of_adapter(cls, name: str, adapter: Adapter, folder: Path) -> Self:
        """The task that a finished adapter was made for; ``folder`` is its base model's."""

    def encode(self, samples: Iterable[Sample], words: Words, cache_dir: Path) -> Encoded:
        """Samples as examples; raises DataError where none is left."""

    def load(
        self,
        folder: Path,
        device: torch.device,
        dtype: torch.dtype,
        words: Words,
        quantization: Quantization = "none",
    ) -> PreTrainedModel:
        """The base model with the head for this task; raises ModelError."""

    def profile(self, folder: Path, base_model: str) -> ModelProfile:
        """What can be adapted in that model; raises ModelError."""

    def path(
        self, model: Any, config: TrainConfig, words: Words, device: torch.device, longest: int
    ) -> LossPath:
        """The way to the loss; ``longest`` is the length of the longest row, in tokens."""

    def measure(self, model: Any, path: LossPath, words: Words, share: Share, tell: Tell) -> Any:
        """How good the model, in evaluation mode, is on rows that it was not trained on, as JSON
        values; ``rows`` and ``loss`` among them."""

    def about(self) -> dict[str, Any]:
        """What others must know of the run to use its adapter, for metrics.json."""

    def leave(self, folder: Path, measured: Mapping[str, Any]) -> None:
        """Write what else belongs into the adapter's folder."""

    @staticmethod
    def outcome(measured: Mapping[str, Any]) -> str:
        """One share's measures as a sentence for the README; empty where there is none."""

    def usage(self, source: str, words: Words, *, whole: bool = False) -> str:
        """How to load the adapter with other tools and use it, in Markdown.

        ``source`` is the base; ``whole`` says that its own weights were trained.
        """

    def compare(self, trial: Trial) -> dict[str, Any]:
        """What base and adapter make of a prompt: ``{"base", "adapted", …}``."""

    def answerer(self, desk: Desk) -> Answerer:
        """Whoever answers a whole file; raises WorkbenchError where the model cannot be used."""
