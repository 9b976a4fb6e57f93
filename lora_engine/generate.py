"""Answers of a base model and of adapters on it, written side by side in one batch."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Self

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor
from transformers import (
    ForcedBOSTokenLogitsProcessor,
    LogitsProcessorList,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopPLogitsWarper,
)

from lora_engine.adapter import Adapter
from lora_engine.config import Quantization
from lora_engine.data.chat import ChatFormat, Message
from lora_engine.data.classes import Reader
from lora_engine.data.encode import prompt_ids
from lora_engine.errors import DataError, ModelError
from lora_engine.fast.onednn import quicken
from lora_engine.fast.packed_weights import pack
from lora_engine.folders import most_positions
from lora_engine.inspection import model_task
from lora_engine.lora.switch import Switchboard
from lora_engine.model import dtype_for_answers, load_base, load_tokenizer, padding_id
from lora_engine.settings import Settings
from lora_engine.steps import Steps, steps_of

DIVERGENCE_TOKENS = 32


class Decoding(Settings):
    """How answers are written; the same for every row of a batch."""

    max_new_tokens: Annotated[int, Field(ge=1, le=8192)] = 128
    temperature: Annotated[float, Field(ge=0, le=5)] = 0
    """0 takes the likeliest token each time (greedy); higher is more surprising."""
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Draw only from the likeliest tokens that together have this probability."""
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] = 0


@dataclass(frozen=True)
class Row:
    """One answer to write."""

    prompt_ids: list[int]
    adapter: Adapter | None = None
    """None is the base model."""
    strength: float = 1.0
    """Factor on what the adapter adds; 0 is the base model."""


@dataclass
class Answers:
    """What came of a batch of rows."""

    texts: list[str]
    token_ids: list[list[int]]
    """Without the token that ends the answer."""
    tokens_per_second: float
    """Of all rows together."""
    stopped: bool = field(default=False)
    cut: list[bool] = field(default_factory=list)
    """Which rows had more to say when the longest answer, or the model's last position, was
    reached."""


OnText = Callable[[int, str], None]
"""Called with a row's number and the whole of its text so far."""


class Speaker:
    """A base model in memory that answers with and without adapters; adapters are swapped in."""

    def __init__(self, model: Any, tokenizer: Any) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.switchboard = Switchboard(model)
        self.stop_ids = _stop_ids(model, tokenizer)
        self._rewrites = bool(model.config.is_encoder_decoder)
        self._positions = most_positions(model.config.to_dict())
        self._steps: Steps = steps_of(model, self._positions)

    @classmethod
    def load(cls, folder: Path, device: torch.device, quantization: Quantization = "none") -> Self:
        """The model in ``folder``; raises ModelError where it cannot write, and SettingsError
        where this machine cannot quantise it."""
        task = model_task(folder)
        if task == "classification":
            raise ModelError(f"The model in {folder} reads texts and cannot write answers.")
        tokenizer = load_tokenizer(folder)
        dtype = dtype_for_answers(device)
        model = load_base(folder, device, dtype, quantization, task=task)
        quicken(model)
        pack(model)
        return cls(model, tokenizer)

    def prompt_ids(self, messages: Sequence[Message], *, as_text: bool = False) -> list[int]:
        """The tokens of a conversation, as this model is asked, one at least; ``as_text`` takes
        the last message as text to go on with.

        Raises:
            DataError: the model's format refuses it, or an answer has no room after it.
        """
        if self._rewrites:
            said = "\n".join(message["content"] for message in messages)
            read = Reader(self.tokenizer, self._positions, with_types=False)
            return read([(said, "")])[0].ids
        ids = prompt_ids(messages, self.tokenizer, as_text=as_text)
        if self.room(ids) < 1:
            raise DataError(
                f"The question has {len(ids):,} tokens, and this model has room for "
                f"{self._positions:,} with the answer."
            )
        return ids or [padding_id(self.tokenizer)]

    def room(self, prompt: list[int]) -> int:
        """The most tokens that an answer to ``prompt`` can have."""
        return self._positions - (0 if self._rewrites else len(prompt))

    def answer(
        self,
        rows: Sequence[Row],
        decoding: Decoding,
        on_text: OnText | None = None,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> Answers:
        """Write one answer a row, all in one batch through one set of base weights.

        Every row draws with its own generator from the same seed, so that rows differ only by
        their adapter. Rows that one batch cannot hold (``Switchboard.shares``) come one after the
        other. A row ends where the model has no position for more (``room``). Raises AdapterError
        where an adapter does not fit the base.
        """
        choose = [self._chooser(row, decoding) for row in rows]
        longest = [min(decoding.max_new_tokens, self.room(row.prompt_ids)) for row in rows]
        tokens: list[list[int]] = [[] for _ in rows]
        texts = [""] * len(rows)
        ended = [False] * len(rows)
        done = [False] * len(rows)
        stopped = False

        def write(share: list[int]) -> None:
            """The answers of one batch."""
            nonlocal stopped
            prompts = [rows[i].prompt_ids for i in share]
            written = [tokens[i] for i in share]
            most = max(longest[i] for i in share)
            for logits in self._steps.next_logits(prompts, written, most):
                likeliest = logits.argmax(-1).tolist()
                for place, i in enumerate(share):
                    if done[i]:
                        continue
                    pick = choose[i]
                    token = pick(logits[place]) if pick else likeliest[place]
                    ended[i] = token in self.stop_ids
                    if not ended[i]:
                        tokens[i].append(token)
                        texts[i] = self._tell(i, tokens[i], texts[i], on_text)
                    done[i] = ended[i] or len(tokens[i]) == longest[i]
                if all(done[i] for i in share) or (stopped := should_stop()):
                    break

        began = time.perf_counter()
        with torch.inference_mode():
            for share in self._shares(rows):
                if not stopped:
                    with self._routed([rows[i] for i in share]):
                        write(share)
        seconds = time.perf_counter() - began
        for i, ids in enumerate(tokens):
            texts[i] = self.tokenizer.decode(ids, skip_special_tokens=True)
        cut = [not (of_itself or stopped) for of_itself in ended]
        return Answers(texts, tokens, sum(map(len, tokens)) / seconds, stopped, cut)

    def divergence(self, row: Row, answer_ids: list[int]) -> float | None:
        """Mean KL(adapted ‖ base) in nats over the first tokens of the adapted answer.

        Zero means that the adapter changes nothing on this prompt. None without an answer.
        """
        answer = answer_ids[:DIVERGENCE_TOKENS]
        if not answer:
            return None
        rows = [Row(row.prompt_ids), row]
        found: list[Tensor] = []
        with torch.inference_mode():
            for share in self._shares(rows):
                with self._routed([rows[i] for i in share]):
                    found.append(self._steps.answer_logits(row.prompt_ids, answer, len(share)))
        logits = torch.cat(found)
        base, adapted = F.log_softmax(logits.float(), dim=-1)
        return float(F.kl_div(base, adapted, log_target=True, reduction="sum") / len(answer))

    def _shares(self, rows: Sequence[Row]) -> list[list[int]]:
        if not self._steps.together:
            return [[place] for place in range(len(rows))]
        return self.switchboard.shares([row.adapter for row in rows])

    @contextmanager
    def _routed(self, rows: Sequence[Row]) -> Iterator[None]:
        with self.switchboard.routed([(row.adapter, row.strength) for row in rows]):
            yield

    def _chooser(self, row: Row, decoding: Decoding) -> Callable[[Tensor], int] | None:
        """How a row picks its next token from logits (vocabulary); None takes the likeliest."""
        processors = LogitsProcessorList()
        penalty = getattr(self.model.generation_config, "repetition_penalty", None)
        if penalty and penalty != 1.0:  # as ``generate`` does with this model's own settings
            processors.append(RepetitionPenaltyLogitsProcessor(penalty))
        if decoding.temperature:
            processors.append(TemperatureLogitsWarper(decoding.temperature))
            if decoding.top_p < 1:
                processors.append(TopPLogitsWarper(decoding.top_p))
        forced = getattr(self.model.generation_config, "forced_bos_token_id", None)
        if self._rewrites and forced is not None:  # BART's answers begin with one fixed token
            processors.append(ForcedBOSTokenLogitsProcessor(forced))
        if not processors and not decoding.temperature:
            return None
        generator = torch.Generator(self.model.device).manual_seed(decoding.seed)
        so_far = list(self._steps.beginning(row.prompt_ids))

        def choose(logits: Tensor) -> int:
            seen: Any = torch.tensor([so_far], device=self.model.device)
            scores: Any = processors(seen, logits[None])
            if decoding.temperature:
                token = int(torch.multinomial(scores.softmax(-1), 1, generator=generator))
            else:
                token = int(scores.argmax(-1))
            so_far.append(token)
            return token

        return choose

    def _tell(self, row: int, ids: list[int], before: str, on_text: OnText | None) -> str:
        if on_text is None:
            return before
        text: str = self.tokenizer.decode(ids, skip_special_tokens=True)
        if text == before or text.endswith("\ufffd"):  # half of a character
            return before
        on_text(row, text)
        return text


def _stop_ids(model: Any, tokenizer: Any) -> set[int]:
    """The tokens that end an answer, as ``generate`` knows them, the tokenizer's own, and what the
    chat template ends answers with, which is all that a chat run learns."""
    named = getattr(model.generation_config, "eos_token_id", None)
    ids = set(named if isinstance(named, list) else [named]) | {tokenizer.eos_token_id}
    if end := ChatFormat(tokenizer).end_of_answer():
        ids.add(tokenizer.convert_tokens_to_ids(end))
    return {int(token) for token in ids if token is not None}
