"""Packed weights: the numbers of the plain path, only for few rows, and never in a gradient."""

import pytest
import torch

from lora_engine.fast import packed_weights
from lora_engine.fast.onednn import helps
from lora_engine.fast.packed_weights import MOST_ROWS, pack
from tests import tiny


def test_packed_layers_give_what_plain_ones_give(monkeypatch: pytest.MonkeyPatch) -> None:
    if not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        pytest.skip("this torch has no oneDNN")
    monkeypatch.setattr(packed_weights, "helps", lambda: True)
    plain, packed = tiny.llama().requires_grad_(False), tiny.llama().requires_grad_(False)
    assert pack(packed) == 15  # seven a layer, and the head
    for rows in (1, 3, 5, MOST_ROWS, MOST_ROWS + 1):
        ids = torch.randint(0, tiny.VOCABULARY, (1, rows))
        with torch.inference_mode():
            found, expected = packed(input_ids=ids).logits, plain(input_ids=ids).logits
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_nothing_is_packed_without_need(monkeypatch: pytest.MonkeyPatch) -> None:
    assert pack(tiny.llama()) == 0  # its weights are trained
    monkeypatch.setattr(packed_weights, "SPARE", 10**12)
    assert pack(tiny.llama().requires_grad_(False)) == 0  # memory is short


def test_a_gradient_takes_the_plain_way() -> None:
    if not helps():
        pytest.skip("no packed weights on this machine")
    model = tiny.llama().requires_grad_(False)
    pack(model)
    x = torch.randn(1, 5, 64, requires_grad=True)
    model(inputs_embeds=x).logits.sum().backward()
    assert x.grad is not None
