"""Layers below the adapted ones are computed once a row, and nothing else changes."""

import pytest
import torch
from torch import Tensor

from lora_engine.fast import layer, lower
from lora_engine.fast.packed import PackedPath
from lora_engine.loss import PaddedPath, mean_loss
from tests.engine.test_crew import LENGTHS, gradients
from tests.engine.test_fast import CPU, rows
from tests.engine.test_layer import injected

UPPER = {"layers_to_transform": [1]}


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The lengths of the packs that layers were computed for."""
    seen: list[int] = []
    plain = layer.layer_forward

    def counted(parts: layer.Parts, x: Tensor, *rest: object) -> Tensor:
        seen.append(len(x))
        return plain(parts, x, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(layer, "layer_forward", counted)
    return seen


@pytest.mark.parametrize("in_memory", [10**9, 0, 64 * 4 * 500], ids=["memory", "disk", "both"])
def test_a_second_epoch_has_the_plain_gradients_without_the_lower_layer(
    in_memory: int, monkeypatch: pytest.MonkeyPatch, computed: list[int]
) -> None:
    monkeypatch.setattr(lower, "IN_MEMORY", in_memory)
    model = injected("llama", **UPPER)
    plain = gradients(PaddedPath(model, 0, 2, CPU), model)
    path = PackedPath(model)
    first = gradients(path, model)
    packs = len(list(path.batches(rows(LENGTHS))))
    assert len(computed) == 2 * packs
    computed.clear()
    again = gradients(path, model)
    assert len(computed) == packs
    for loss, found in (first, again):
        assert loss == pytest.approx(plain[0], rel=1e-5)
        for ours, theirs in zip(found, plain[1], strict=True):
            torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)
    model.eval()
    computed.clear()
    mean_loss(path, [rows(LENGTHS)])
    assert len(computed) == packs


def test_in_bfloat16_a_row_comes_back_from_disk_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lower, "IN_MEMORY", 0)
    layers = lower.LowerLayers(1)
    given = [torch.randn(n, 8).bfloat16() for n in (3, 5)]
    examples = [{"input_ids": [n], "labels": [n]} for n in (3, 5)]
    pack = layers.open(examples)
    x = torch.cat(given)
    assert pack.enter(0, x, [0, 3, 8]) is x
    assert pack.enter(1, x, [0, 3, 8]) is x
    other = layers.open(examples[::-1])
    assert other.enter(0, x, [0, 5, 8]) is None
    found = other.enter(1, x, [0, 5, 8])
    assert found is not None
    assert torch.equal(found, torch.cat(given[::-1]))
    assert other.enter(2, x, [0, 5, 8]) is x


def test_rows_without_room_are_computed_again(
    monkeypatch: pytest.MonkeyPatch, computed: list[int]
) -> None:
    monkeypatch.setattr(lower, "IN_MEMORY", 0)
    monkeypatch.setattr(lower, "OF_FREE_DISK", 0)
    model = injected("llama", **UPPER)
    path = PackedPath(model)
    first = gradients(path, model)
    count = len(computed)
    again = gradients(path, model)
    assert len(computed) == 2 * count
    assert again[0] == first[0]
    assert all(map(torch.equal, again[1], first[1]))


def test_where_lower_parts_learn_nothing_is_kept() -> None:
    assert PackedPath(injected("llama"))._lower is None
    model = injected("llama", **UPPER)
    model.get_input_embeddings().weight.requires_grad_(True)
    assert PackedPath(model)._lower is None


def test_what_is_computed_again_by_a_checkpoint_is_not_kept() -> None:
    assert PackedPath(injected("llama", **UPPER), checkpointed=True)._lower is None
    kept = PackedPath(injected("llama", **UPPER))._lower
    assert kept is not None
    assert kept.first == 1
