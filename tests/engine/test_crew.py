"""Packs that are computed two at a time give the numbers of packs one after the other."""

import sys

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from lora_engine.adapter import trained_tensors
from lora_engine.fast.crew import SWITCH_SECONDS, Crew
from lora_engine.fast.packed import PackedPath
from lora_engine.fast.shares import PACK_TOKENS, WIDE_PACK_TOKENS, coarse, filled_up
from lora_engine.loss import PaddedPath, TakesUpdates, backward, mean_loss
from tests.engine.test_fast import CPU, family, rows
from tests.engine.test_layer import injected

LENGTHS = (300, 260, 41, 150, 200, 90, 330)

pytestmark = pytest.mark.usefixtures("two_cores")


def gradients(path: PackedPath | PaddedPath, model: PreTrainedModel) -> tuple[float, list[Tensor]]:
    torch.manual_seed(7)
    model.zero_grad()
    loss = backward(path, rows(LENGTHS))
    found = [tensor.grad for tensor in trained_tensors(model).values()]
    return loss, [grad.clone() for grad in found if grad is not None]


def test_two_at_a_time_are_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    model = injected("llama", lora_dropout=0.3, target_modules="all-linear")
    path = PackedPath(model)
    assert path._crew is not None
    together = gradients(path, model)
    for again in (gradients(path, model), gradients(path, model)):
        assert again[0] == together[0]
        assert all(map(torch.equal, again[1], together[1]))
    assert len(list(path.batches(rows(LENGTHS)))) >= 2
    monkeypatch.setattr(path._crew, "map", map)
    alone = gradients(path, model)
    assert alone[0] == pytest.approx(together[0], rel=1e-6)
    for ours, theirs in zip(together[1], alone[1], strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-5)


def test_an_update_is_that_of_the_plain_path() -> None:
    model = injected("qwen2")
    plain = gradients(PaddedPath(model, 0, 2, CPU), model)
    model.eval()
    expected = mean_loss(PaddedPath(model, 0, 2, CPU), [rows(LENGTHS)])
    model.train()
    path = PackedPath(model)
    assert isinstance(path, TakesUpdates)
    packed = gradients(path, model)
    assert packed[0] == pytest.approx(plain[0], rel=1e-5)
    for ours, theirs in zip(packed[1], plain[1], strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)
    model.eval()
    assert mean_loss(path, [rows(LENGTHS)]) == pytest.approx(expected, rel=1e-5)


def test_packs_are_even_and_keep_both_threads_busy() -> None:
    path = PackedPath(injected("llama"))
    shares = path.shares(rows(LENGTHS))
    assert len(shares) == 2
    work = [sum(path._work(row) for pack in share for row in pack) for share in shares]
    assert max(work) < 1.03 * min(work)
    packs = [sum(len(e["input_ids"]) for e in pack) for share in shares for pack in share]
    assert sum(packs) == sum(LENGTHS)
    assert max(packs) <= WIDE_PACK_TOKENS
    assert max(packs) - min(packs) < 0.2 * max(packs)


def test_packs_in_bfloat16_are_longer_for_the_same_memory() -> None:
    model = injected("llama")
    wide = PackedPath(model).shares(rows(LENGTHS * 2))
    for parameter in model.parameters():
        parameter.data = parameter.data.bfloat16()
    narrow = PackedPath(model).shares(rows(LENGTHS * 2))
    longest = [
        max(sum(len(e["input_ids"]) for e in p) for s in x for p in s) for x in (wide, narrow)
    ]
    assert longest[0] <= WIDE_PACK_TOKENS < longest[1] <= PACK_TOKENS


def test_updates_of_a_classifier_meet_few_lengths_and_waste_little() -> None:
    filled = {
        tokens: sum(len(row["input_ids"]) for row in filled_up(rows([tokens]), coarse(tokens)))
        for tokens in range(8, PACK_TOKENS)
    }
    assert all(
        tokens <= length <= max(1.25 * tokens, tokens + 15) for tokens, length in filled.items()
    )
    assert {length for tokens, length in filled.items() if tokens > 256} == {
        320, 384, 448, 512, 576,
    }  # fmt: skip


def test_only_a_crew_at_work_asks_for_the_lock_so_often() -> None:
    usual = sys.getswitchinterval()
    crew = Crew(2)
    asked = list(crew.map(lambda _: sys.getswitchinterval(), [0, 1, 2]))
    assert asked == pytest.approx([SWITCH_SECONDS] * 3)
    with pytest.raises(ZeroDivisionError):
        crew.map(lambda n: 1 / n, [1, 0])
    assert sys.getswitchinterval() == usual


def test_a_row_costs_more_where_it_is_longer_or_more_of_it_is_learned() -> None:
    path = PackedPath(injected("llama"))
    ids = list(range(40))
    short, asked, answered = (
        path._work({"input_ids": ids[:n], "labels": [-100] * (n - learned) + ids[:learned]})
        for n, learned in ((20, 0), (40, 0), (40, 20))
    )
    assert 2 * short < asked < answered


def test_other_layers_and_one_core_have_no_crew() -> None:
    assert PackedPath(family("gemma").requires_grad_(False))._crew is None
    assert PackedPath(injected("llama"), checkpointed=True)._crew is None
    torch.set_num_threads(1)
    assert PackedPath(injected("llama"))._crew is None


def test_checkpointed_layers_are_computed_again_and_drop_the_same() -> None:
    model = injected("llama", lora_dropout=0.3, target_modules="all-linear")
    path = PackedPath(model, checkpointed=True)
    calls: list[object] = []
    model.base_model.layers[0].mlp.register_forward_pre_hook(lambda *call: calls.append(call[0]))
    kept = gradients(path, model)
    packs = len(calls)
    model.activation_checkpointing_enable({"use_reentrant": False})
    again = gradients(path, model)
    assert len(calls) == packs + 2 * packs
    assert packs == len(list(path.batches(rows(LENGTHS))))
    assert again[0] == pytest.approx(kept[0], rel=1e-6)
    for ours, theirs in zip(again[1], kept[1], strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-5)
