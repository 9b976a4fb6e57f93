"""Chat and plain text: a causal language model learns what comes next."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from transformers import PreTrainedModel

from lora_engine.adapter import Adapter
from lora_engine.answering import Answerer, Desk, Writing
from lora_engine.config import Quantization, TrainConfig
from lora_engine.data.chat import ChatFormat
from lora_engine.data.encode import Encoded, encode_dataset
from lora_engine.data.nouns import Sample
from lora_engine.fast.choice import choose_path
from lora_engine.inspection import build_profile
from lora_engine.loss import LossPath, mean_loss
from lora_engine.model import load_base
from lora_engine.profile import ModelProfile
from lora_engine.share import Share
from lora_engine.tasks.answers import side_by_side
from lora_engine.tasks.base import Tell, Trial, Words
from lora_engine.tasks.usage import usage_of

USAGE = {
    "chat": """Ask it through the model's chat template, as it was trained:
`tokenizer.apply_chat_template([{"role": "user", "content": "…"}], add_generation_prompt=True)`.""",
    "text": "Give it the beginning of a text to go on with, as it was trained.",
}
TEMPLATE = """

The base model has no chat template; it was trained with this one:

```python
tokenizer.chat_template = {template!r}
```"""
END = """

Its answers end with `{end}`. Where the model writes on after it, tell it so:
`model.generate(…, eos_token_id=tokenizer.convert_tokens_to_ids({end!r}))`."""


@dataclass(frozen=True)
class Language:
    """Conversations in the model's chat format, of which every answer is learned; or plain text,
    which is learned whole."""

    name: str
    unit: ClassVar[str] = "token"
    evenly: ClassVar[bool] = False
    scores: ClassVar[bool] = False

    @classmethod
    def of_run(cls, name: str, config: TrainConfig, label_counts: Mapping[str, int]) -> Self:
        """See ``Task``."""
        return cls(name)

    @classmethod
    def of_adapter(cls, name: str, adapter: Adapter, folder: Path) -> Self:
        """See ``Task``."""
        return cls(name)

    def encode(self, samples: Iterable[Sample], words: Words, cache_dir: Path) -> Encoded:
        """See ``Task``."""
        return encode_dataset(
            samples, words.tokenizer, max_length=words.max_length, cache_dir=cache_dir
        )

    def load(
        self,
        folder: Path,
        device: torch.device,
        dtype: torch.dtype,
        words: Words,
        quantization: Quantization = "none",
    ) -> PreTrainedModel:
        """See ``Task``."""
        return load_base(folder, device, dtype, quantization)

    def profile(self, folder: Path, base_model: str) -> ModelProfile:
        """See ``Task``."""
        return build_profile(folder, base_model)

    def path(
        self, model: Any, config: TrainConfig, words: Words, device: torch.device, longest: int
    ) -> LossPath:
        """See ``Task``."""
        return choose_path(model, config, words.pad_id, device, longest)

    def measure(self, model: Any, path: LossPath, words: Words, share: Share, tell: Tell) -> Any:
        """The loss, in nats per learned token."""
        return {"rows": len(share), "loss": mean_loss(path, share.in_order())}

    def about(self) -> dict[str, Any]:
        """See ``Task``."""
        return {"task": self.name}

    def leave(self, folder: Path, measured: Mapping[str, Any]) -> None:
        """Nothing."""

    @staticmethod
    def outcome(measured: Mapping[str, Any]) -> str:
        """See ``Task``."""
        return f"loss {measured['loss']:.3f} nats per token"

    def usage(self, source: str, words: Words, *, whole: bool = False) -> str:
        """See ``Task``."""
        use = USAGE[self.name]
        if self.name == "chat":
            chat = ChatFormat(words.tokenizer)
            use += TEMPLATE.format(template=chat.template) if chat.template else ""
            end = chat.end_of_answer()
            use += END.format(end=end) if end and end != words.tokenizer.eos_token else ""
        return usage_of("language", whole=whole, source=source, use=use)

    def compare(self, trial: Trial) -> dict[str, Any]:
        """Answers, and how far apart the two are: ``{"base", "adapted", "divergence"}``."""
        return side_by_side(trial, as_text=self.name == "text")

    def answerer(self, desk: Desk) -> Answerer:
        """See ``Task``; what is asked of the text task is the beginning of a text."""
        return Writing(desk, as_text=self.name == "text")
