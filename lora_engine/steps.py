"""How a model is asked for its next tokens: decoders write on, encoder-decoders read first."""

import inspect
import sys
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor
from transformers import DynamicCache, EncoderDecoderCache

from lora_engine.batches import pad


class Steps(Protocol):
    """One kind of model, ready to write answers to several prompts at once."""

    together: ClassVar[bool]
    """Whether a batch may hold several prompts; else each comes by itself."""

    def beginning(self, prompt: list[int]) -> list[int]:
        """The tokens that an answer to ``prompt`` comes after."""

    def next_logits(
        self, prompts: Sequence[list[int]], tokens: list[list[int]], most: int
    ) -> Iterator[Tensor]:
        """Yield prompts × vocabulary logits of the next token, at most ``most`` times.

        Between two yields the caller appends each prompt's choice to its list in ``tokens``. A
        finished one goes on with an arbitrary token; nobody reads what follows.
        """

    def answer_logits(self, prompt: list[int], answer: list[int], copies: int) -> Tensor:
        """copies × answer × vocabulary: the logits that each token of ``answer`` is drawn from."""


class Decoder:
    """A causal language model."""

    together: ClassVar[bool] = True

    def __init__(self, model: Any, positions: int = sys.maxsize) -> None:
        """``positions`` is how many the model knows."""
        self._model = model
        self._last = positions - 1

    def beginning(self, prompt: list[int]) -> list[int]:
        """See ``Steps``."""
        return prompt

    def next_logits(
        self, prompts: Sequence[list[int]], tokens: list[list[int]], most: int
    ) -> Iterator[Tensor]:
        """See ``Steps``; prompts of different length are padded on the left."""
        device = self._model.device
        longest = max(map(len, prompts))
        ids = torch.zeros((len(prompts), longest), dtype=torch.int64)
        mask = torch.zeros((len(prompts), longest), dtype=torch.int64)
        for row, prompt in enumerate(prompts):
            ids[row, longest - len(prompt) :] = torch.tensor(prompt)
            mask[row, longest - len(prompt) :] = 1
        ids, mask = ids.to(device), mask.to(device)
        positions = (mask.cumsum(-1) - 1).clamp(min=0)
        padded = not bool(mask.all())
        cache = DynamicCache(config=self._model.config)
        for _ in range(most):
            output = self._model(
                input_ids=ids,
                attention_mask=mask if padded else None,
                position_ids=positions,
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            )
            yield output.logits[:, -1].float()
            ids = _latest(tokens).to(device)
            mask = torch.cat([mask, mask.new_ones((len(prompts), 1))], dim=1)
            positions = (positions[:, -1:] + 1).clamp(max=self._last)  # of rows that are finished

    def answer_logits(self, prompt: list[int], answer: list[int], copies: int) -> Tensor:
        """See ``Steps``."""
        ids = torch.tensor([prompt + answer[:-1]] * copies, device=self._model.device)
        logits: Tensor = self._model(
            input_ids=ids, logits_to_keep=len(answer), use_cache=False
        ).logits
        return logits


class Rereader(Decoder):
    """A causal model whose memory is no plain cache of keys and values (Mamba, RWKV, MiniMax): the
    whole text is read anew for every token. Such models take padding for text."""

    together: ClassVar[bool] = False

    def next_logits(
        self, prompts: Sequence[list[int]], tokens: list[list[int]], most: int
    ) -> Iterator[Tensor]:
        """See ``Steps``."""
        (prompt,), (said,) = prompts, tokens
        for _ in range(most):
            ids = torch.tensor([prompt + said], device=self._model.device)
            yield self._model(input_ids=ids, use_cache=False).logits[:, -1].float()

    def answer_logits(self, prompt: list[int], answer: list[int], copies: int) -> Tensor:
        """See ``Steps``."""
        ids = torch.tensor([prompt + answer[:-1]] * copies, device=self._model.device)
        logits: Tensor = self._model(input_ids=ids, use_cache=False).logits
        return logits[:, -len(answer) :]


def steps_of(model: Any, positions: int) -> Steps:
    """The way to ask ``model``, which knows so many positions."""
    if model.config.is_encoder_decoder:
        return EncoderDecoder(model)
    takes_cache = "past_key_values" in inspect.signature(model.forward).parameters
    reads_cache = takes_cache and model._supports_default_dynamic_cache()
    return Decoder(model, positions) if reads_cache else Rereader(model)


class EncoderDecoder:
    """A model that reads the prompt with its encoder and writes with its decoder."""

    together: ClassVar[bool] = True

    def __init__(self, model: Any) -> None:
        self._model = model
        named = getattr(model.generation_config, "decoder_start_token_id", None)
        self._start = int(named if named is not None else model.config.decoder_start_token_id)

    def beginning(self, prompt: list[int]) -> list[int]:  # noqa: ARG002 - the encoder has it
        """See ``Steps``."""
        return [self._start]

    def next_logits(
        self, prompts: Sequence[list[int]], tokens: list[list[int]], most: int
    ) -> Iterator[Tensor]:
        """See ``Steps``; prompts of different length are padded on the right."""
        device = self._model.device
        mask = pad([[1] * len(prompt) for prompt in prompts], 0).to(device)
        read = self._model.get_encoder()(
            input_ids=pad(list(prompts), 0).to(device), attention_mask=mask
        )
        config = self._model.config
        cache = EncoderDecoderCache(DynamicCache(config=config), DynamicCache(config=config))
        ids = torch.full((len(prompts), 1), self._start, device=device)
        for _ in range(most):
            output = self._model(
                encoder_outputs=read,
                attention_mask=mask,
                decoder_input_ids=ids,
                past_key_values=cache,
                use_cache=True,
            )
            yield output.logits[:, -1].float()
            ids = _latest(tokens).to(device)

    def answer_logits(self, prompt: list[int], answer: list[int], copies: int) -> Tensor:
        """See ``Steps``."""
        device = self._model.device
        logits: Tensor = self._model(
            input_ids=torch.tensor([prompt] * copies, device=device),
            decoder_input_ids=torch.tensor([[self._start, *answer[:-1]]] * copies, device=device),
            use_cache=False,
        ).logits
        return logits


def _latest(tokens: list[list[int]]) -> Tensor:
    return torch.tensor([[row[-1] if row else 0] for row in tokens])
