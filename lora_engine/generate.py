"""Answers of a base model and of adapters on it, written side by side in one batch."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor
from transformers import (
    DynamicCache,
    LogitsProcessorList,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopPLogitsWarper,
)

from lora_engine.adapter import Adapter
from lora_engine.config import Settings
from lora_engine.lora.switch import Switchboard
from lora_engine.model import choose_dtype, load_base, load_tokenizer

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


OnText = Callable[[int, str], None]
"""Called with a row's number and the whole of its text so far."""


class Speaker:
    """A base model in memory that answers with and without adapters; adapters are swapped in."""

    def __init__(self, folder: Path, device: torch.device) -> None:
        self.tokenizer = load_tokenizer(folder)
        self.device = device
        self.model = load_base(folder, device, _dtype_for_answers(device))
        self.switchboard = Switchboard(self.model)
        self.stop_ids = _stop_ids(self.model, self.tokenizer)

    def answer(
        self,
        rows: Sequence[Row],
        decoding: Decoding,
        on_text: OnText | None = None,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> Answers:
        """Write one answer a row, all in one batch through one set of base weights.

        Every row draws with its own generator from the same seed, so that rows differ only by
        their adapter. Raises AdapterError where an adapter does not fit the base.
        """
        choose = [self._chooser(row, decoding) for row in rows]
        tokens: list[list[int]] = [[] for _ in rows]
        texts = [""] * len(rows)
        done = [False] * len(rows)
        stopped = False
        began = time.perf_counter()
        with torch.inference_mode(), self._routed(rows):
            for logits in self._next_logits(rows, tokens, decoding.max_new_tokens):
                for i, row_logits in enumerate(logits):
                    if done[i]:
                        continue
                    token = choose[i](row_logits)
                    done[i] = token in self.stop_ids
                    if not done[i]:
                        tokens[i].append(token)
                        texts[i] = self._tell(i, tokens[i], texts[i], on_text)
                if all(done) or (stopped := should_stop()):
                    break
        seconds = time.perf_counter() - began
        for i, ids in enumerate(tokens):
            texts[i] = self.tokenizer.decode(ids, skip_special_tokens=True)
        return Answers(texts, tokens, sum(map(len, tokens)) / seconds, stopped)

    def divergence(self, row: Row, answer_ids: list[int]) -> float | None:
        """Mean KL(adapted ‖ base) in nats over the first tokens of the adapted answer.

        Zero means that the adapter changes nothing on this prompt. None without an answer.
        """
        answer = answer_ids[:DIVERGENCE_TOKENS]
        if not answer:
            return None
        rows = [Row(row.prompt_ids), row]
        ids = torch.tensor([row.prompt_ids + answer[:-1]] * 2, device=self.device)
        with torch.inference_mode(), self._routed(rows):
            logits = self.model(input_ids=ids, logits_to_keep=len(answer), use_cache=False).logits
        base, adapted = F.log_softmax(logits.float(), dim=-1)
        return float(F.kl_div(base, adapted, log_target=True, reduction="sum") / len(answer))

    @contextmanager
    def _routed(self, rows: Sequence[Row]) -> Iterator[None]:
        with self.switchboard.routed([(row.adapter, row.strength) for row in rows]):
            yield

    def _next_logits(
        self, rows: Sequence[Row], tokens: list[list[int]], max_new_tokens: int
    ) -> Iterator[Tensor]:
        """Yield rows × vocabulary logits of the next token, until each row has its share.

        Prompts of different length are padded on the left. Between two yields the caller
        appends each row's choice to ``tokens``.
        """
        longest = max(len(row.prompt_ids) for row in rows)
        ids = torch.zeros((len(rows), longest), dtype=torch.int64)
        mask = torch.zeros((len(rows), longest), dtype=torch.int64)
        for i, row in enumerate(rows):
            ids[i, longest - len(row.prompt_ids) :] = torch.tensor(row.prompt_ids)
            mask[i, longest - len(row.prompt_ids) :] = 1
        ids, mask = ids.to(self.device), mask.to(self.device)
        positions = (mask.cumsum(-1) - 1).clamp(min=0)
        padded = not bool(mask.all())
        cache = DynamicCache(config=self.model.config)
        for _ in range(max_new_tokens):
            output = self.model(
                input_ids=ids,
                attention_mask=mask if padded else None,
                position_ids=positions,
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            )
            yield output.logits[:, -1].float()
            # A finished row goes on with an arbitrary token; nobody reads what follows.
            ids = torch.tensor([[row[-1] if row else 0] for row in tokens], device=self.device)
            mask = torch.cat([mask, mask.new_ones((len(rows), 1))], dim=1)
            positions = positions[:, -1:] + 1

    def _chooser(self, row: Row, decoding: Decoding) -> Callable[[Tensor], int]:
        """How a row picks its next token from logits (vocabulary)."""
        processors = LogitsProcessorList()
        penalty = getattr(self.model.generation_config, "repetition_penalty", None)
        if penalty and penalty != 1.0:  # as ``generate`` does with this model's own settings
            processors.append(RepetitionPenaltyLogitsProcessor(penalty))
        if decoding.temperature:
            processors.append(TemperatureLogitsWarper(decoding.temperature))
            if decoding.top_p < 1:
                processors.append(TopPLogitsWarper(decoding.top_p))
        generator = torch.Generator(self.device).manual_seed(decoding.seed)
        so_far = list(row.prompt_ids)

        def choose(logits: Tensor) -> int:
            seen: Any = torch.tensor([so_far], device=self.device)
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


def _dtype_for_answers(device: torch.device) -> torch.dtype:
    """float32 on a CPU, where other tools answer in it as well; bf16 where the device likes it."""
    return torch.float32 if device.type == "cpu" else choose_dtype("auto", device)


def _stop_ids(model: Any, tokenizer: Any) -> set[int]:
    """The tokens that end an answer, as ``generate`` knows them, and the tokenizer's own."""
    named = getattr(model.generation_config, "eos_token_id", None)
    ids = set(named if isinstance(named, list) else [named]) | {tokenizer.eos_token_id}
    return {int(token) for token in ids if token is not None}
