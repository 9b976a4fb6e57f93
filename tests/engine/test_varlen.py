"""The packed way of GPUs gives the plain numbers, and where it would not, it is not taken.

Its kernel runs on CUDA only. Here it is asked as it wants to be asked (its own check of shapes),
and stood in for by torch's attention; where there is a card, the two are compared.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lora_engine.adapter import trained_tensors
from lora_engine.config import LoraConfig
from lora_engine.fast import varlen
from lora_engine.fast.attention import VARLEN, without_packing
from lora_engine.fast.choice import first_that_fits
from lora_engine.fast.learned import LearnedPath
from lora_engine.fast.varlen import VarlenPath, varlen_attention
from lora_engine.inspection import profile_model
from lora_engine.lora.inject import inject
from lora_engine.loss import LossPath, PaddedPath
from tests import tiny
from tests.engine.test_fast import CPU, FAMILIES, PACKED, family, rows


def injected(name: str) -> Any:
    model = family(name)
    inject(model, LoraConfig(r=4, lora_dropout=0), profile_model(model, name))
    for tensor in trained_tensors(model).values():
        nn.init.normal_(tensor, std=0.05)
    return model


def kernel_by_rows(
    query: Tensor, key: Tensor, value: Tensor, borders: Tensor, other: Tensor, *longest: int,
    scale: float | None, window_size: tuple[int, int], enable_gqa: bool,
) -> Tensor:  # fmt: skip
    """What ``varlen_attn`` says that it computes: tokens × heads × width."""
    assert borders is other and window_size == (-1, 0)
    assert longest == (int(borders.diff().max()),) * 2 and borders.dtype == torch.int32
    assert enable_gqa == (query.shape[1] != key.shape[1])
    done = [
        F.scaled_dot_product_attention(
            *(part[a:b].transpose(0, 1)[None] for part in (query, key, value)),
            is_causal=True, scale=scale, enable_gqa=enable_gqa,
        )[0].transpose(0, 1)
        for a, b in pairwise(borders.tolist())
    ]  # fmt: skip
    return torch.cat(done)


@pytest.mark.parametrize("with_kernel", [False, True])
@pytest.mark.parametrize("name", [*FAMILIES, "gpt2"])
def test_rows_in_one_give_the_plain_loss_and_gradients(
    name: str, with_kernel: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(varlen, "has_kernel", lambda _: with_kernel)
    monkeypatch.setattr(varlen, "varlen_attn", kernel_by_rows)
    model = injected(name)
    how = model, 0, 4, CPU, 0.1
    plain = PaddedPath(*how)
    path = first_that_fits(plain, model, [lambda: VarlenPath(*how)], with_gradients=True)
    assert type(path) is (VarlenPath if name in PACKED else PaddedPath)
    model.train()
    taken = []
    own = "eager" if name == "gpt2" else "sdpa"
    for way, attention in ((plain, own), (path, VARLEN if name in PACKED else own)):
        model.set_attn_implementation(attention)
        loss = way.loss_sum(rows()) / 100
        taken.append((loss.detach(), torch.autograd.grad(loss, trained(model))))
    torch.testing.assert_close(taken[1], taken[0], atol=1e-4, rtol=1e-4)


def trained(model: Any) -> list[Tensor]:
    return [tensor for tensor in model.parameters() if tensor.requires_grad]


def test_the_kernel_takes_what_it_is_given() -> None:
    query = torch.empty(50, 6, 16, device="meta", dtype=torch.bfloat16)
    key = torch.empty(50, 2, 16, device="meta", dtype=torch.bfloat16)
    borders = torch.tensor([0, 20, 50], dtype=torch.int32, device="meta")
    found = varlen._kernel(query, key, key, borders, 30, 0.3, True)
    assert found.shape == query.shape and found.dtype == query.dtype


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_kernel_is_attention_row_by_row() -> None:
    torch.manual_seed(0)
    module = nn.Module()
    states = [torch.randn(1, heads, 90, 64, device="cuda") for heads in (6, 2, 2)]
    options = {
        "row_ends": [0, 33, 90],
        "cu_seq_lens_q": torch.tensor([0, 33, 90], dtype=torch.int32, device="cuda"),
        "max_length_q": 57,
    }
    taken = []
    for dtype in (torch.float32, torch.bfloat16):
        given = [part.to(dtype).requires_grad_() for part in states]
        found, _ = varlen_attention(module, *given, None, **options)
        taken.append([found, *torch.autograd.grad(found.sum(), given)])
    for wide, narrow in zip(*taken, strict=True):
        torch.testing.assert_close(narrow.float(), wide, atol=3e-2, rtol=3e-2)


class Scaled(LearnedPath):
    """Right in its loss or in its gradients, but not in both."""

    def __init__(self, *how: Any, loss: float = 1.0, gradient: float = 1.0) -> None:
        super().__init__(*how)
        self._times = loss, gradient

    def loss_sum(self, examples: list[Any]) -> Tensor:
        found = super().loss_sum(examples)
        loss, gradient = self._times
        return found.detach() * (loss - gradient) + found * gradient


def broken() -> LossPath:
    raise RuntimeError("no such kernel on this card")


def test_a_way_that_gives_other_numbers_or_none_is_not_taken() -> None:
    model = injected("llama")
    how = model, 0, 4, CPU, 0.0
    plain = PaddedPath(*how)

    def taken(*ways: Callable[[], LossPath], with_gradients: bool = True) -> type:
        return type(first_that_fits(plain, model, ways, with_gradients=with_gradients))

    def learned() -> LearnedPath:
        return LearnedPath(*how)

    def half_learned() -> Scaled:
        model.set_attn_implementation("eager")
        return Scaled(*how, gradient=0.5)

    assert taken(learned) is LearnedPath
    assert taken(broken, learned) is LearnedPath
    assert taken(broken) is PaddedPath
    assert taken(lambda: Scaled(*how)) is Scaled
    assert taken(lambda: Scaled(*how, loss=1.01)) is PaddedPath
    assert taken(half_learned, with_gradients=False) is Scaled
    assert model.config._attn_implementation == "eager"
    model.set_attn_implementation("sdpa")
    assert taken(half_learned, learned) is LearnedPath
    assert model.config._attn_implementation == "sdpa"


def test_choosing_draws_no_random_numbers() -> None:
    model = tiny.llama().requires_grad_(False)
    inject(model, LoraConfig(r=4, lora_dropout=0.5), profile_model(tiny.llama(), "x"))
    how = model, 0, 4, CPU, 0.0
    before = torch.get_rng_state()
    first_that_fits(PaddedPath(*how), model, [lambda: VarlenPath(*how)], with_gradients=True)
    assert torch.equal(torch.get_rng_state(), before)


def test_attention_over_packed_rows_refuses_what_it_does_not_know() -> None:
    module = nn.Module()
    states = [torch.randn(1, 2, 8, 4) for _ in range(3)]
    known: dict[str, Any] = {"row_ends": [0, 5, 8]}
    for options in (
        {**known, "attention_mask": torch.ones(1, 1, 8, 8)},
        {**known, "dropout": 0.1},
        {**known, "softcap": 30.0},
        {**known, "is_causal": False},
        {},
    ):
        mask = options.pop("attention_mask", None)
        with pytest.raises(NotImplementedError):
            varlen_attention(module, *states, mask, **options)
    found, _ = varlen_attention(module, *states, None, **known)
    assert found.shape == (1, 8, 2, 4)


def test_answers_are_written_with_the_models_own_attention() -> None:
    model = tiny.llama()
    model.set_attn_implementation(VARLEN)
    with without_packing(model):
        assert model.config._attn_implementation == "sdpa"
    assert model.config._attn_implementation == VARLEN
