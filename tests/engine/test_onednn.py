"""oneDNN's float32 products are torch's, whatever the shape, with their gradients."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lora_engine.fast import onednn
from lora_engine.generate import Decoding, Row, Speaker
from tests import tiny

needs_onednn = pytest.mark.skipif(
    not (torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")),
    reason="torch without oneDNN",
)


@pytest.fixture(autouse=True)
def wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    """On every machine, so that every machine tests it."""
    monkeypatch.setattr(onednn, "helps", lambda: True)


@needs_onednn
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    "shape", [(1, 24), (1, 1, 24), (2, 1, 24), (3, 24), (4, 24), (5, 1, 24), (2, 37, 24), (0, 24)]
)
def test_products_and_gradients_are_torchs(shape: tuple[int, ...], bias: bool) -> None:
    torch.manual_seed(0)
    layer = nn.Linear(24, 40, bias=bias).requires_grad_(False)
    x = torch.randn(shape, requires_grad=True)
    expected = F.linear(x, layer.weight, layer.bias)
    assert onednn.quicken(layer) == 1
    found = layer(x)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    with torch.inference_mode():
        torch.testing.assert_close(layer(x.detach()), expected.detach(), atol=1e-5, rtol=1e-5)
    upstream = torch.randn_like(expected)
    (ours,) = torch.autograd.grad(found, x, upstream)
    (theirs,) = torch.autograd.grad(expected, x, upstream)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


@needs_onednn
def test_only_frozen_float32_layers_take_it() -> None:
    model = nn.Sequential(
        nn.Linear(4, 4).requires_grad_(False), nn.Linear(4, 4), nn.Linear(4, 4).bfloat16(),
    )  # fmt: skip
    model[2].requires_grad_(False)
    assert onednn.quicken(model) == 1
    copied = copy.deepcopy(model)
    with torch.no_grad():
        copied[0].weight.zero_()
        copied[0].bias.zero_()
        assert float(copied[0](torch.ones(1, 4)).abs().max()) == 0
        assert float(model[0](torch.ones(1, 4)).abs().max()) > 0
    model[0].requires_grad_(True)  # thawed later: its gradient must not be lost
    model[0](torch.ones(1, 4)).sum().backward()
    assert model[0].weight.grad is not None


@needs_onednn
def test_answers_are_the_plain_ones() -> None:
    tokenizer = tiny.tokenizer()
    rows = [Row([3, 5, 9, 11]), Row([7, 2])]
    plain = Speaker(tiny.llama(), tokenizer).answer(rows, Decoding(max_new_tokens=12))
    model = tiny.llama().requires_grad_(False)
    assert onednn.quicken(model) == 15
    quick = Speaker(model, tokenizer).answer(rows, Decoding(max_new_tokens=12))
    assert quick.token_ids == plain.token_ids


def test_elsewhere_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onednn, "helps", lambda: False)
    layer = nn.Linear(4, 4).requires_grad_(False)
    assert onednn.quicken(layer) == 0
    assert "forward" not in vars(layer)
    x = torch.randn(2, 4)
    torch.testing.assert_close(onednn.product(x, layer.weight), x @ layer.weight.T)


@needs_onednn
@pytest.mark.parametrize("quick", [False, True])
def test_a_product_is_added_where_it_is_left(monkeypatch: pytest.MonkeyPatch, quick: bool) -> None:
    monkeypatch.setattr(onednn, "helps", lambda: quick)
    total, x, weight = torch.randn(8, 6), torch.randn(8, 5), torch.randn(6, 5)
    expected = total + x @ weight.T
    assert onednn.product_onto(total, x, weight) is total
    torch.testing.assert_close(total, expected)
