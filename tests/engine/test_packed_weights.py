"""Packed weights: the numbers of the plain path, only for few rows, and never in a gradient."""

from pathlib import Path
from typing import Any

import pytest
import torch

from lora_engine import adapter as adapter_files
from lora_engine.fast import onednn, packed_weights
from lora_engine.fast.onednn import helps, quicken
from lora_engine.fast.packed_weights import MOST_ROWS, pack
from lora_engine.lora.switch import Switchboard
from tests import tiny
from tests.engine import adapters


@pytest.fixture
def packing(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if this machine were one that packed weights help."""
    if not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        pytest.skip("this torch has no oneDNN")
    for module in (packed_weights, onednn):
        monkeypatch.setattr(module, "helps", lambda: True)


@pytest.mark.usefixtures("packing")
def test_packed_layers_give_what_plain_ones_give() -> None:
    plain, packed = tiny.llama().requires_grad_(False), tiny.llama().requires_grad_(False)
    assert pack(packed) == 15  # seven a layer, and the head
    for rows in (1, 3, 5, MOST_ROWS, MOST_ROWS + 1):
        ids = torch.randint(0, tiny.VOCABULARY, (1, rows))
        with torch.inference_mode():
            found, expected = packed(input_ids=ids).logits, plain(input_ids=ids).logits
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


@pytest.mark.usefixtures("packing")
@pytest.mark.parametrize(
    "settings",
    [
        {"method": "freeze", "freeze_trainable_layers": 1},
        {"modules_to_save": ["lm_head"]},
        {"modules_to_save": ["mlp"]},
        {"bias": "all"},
        {},
    ],
    ids=str,
)
def test_an_adapter_replaces_packed_weights(tmp_path: Path, settings: dict[str, Any]) -> None:
    trained = tiny.untied()
    adapter = adapter_files.read(adapters.make(tmp_path, trained, **settings))
    model = tiny.untied().eval().requires_grad_(False)
    ids = torch.arange(9)[None]
    with torch.inference_mode():
        expected, base = trained.eval()(input_ids=ids).logits, model(input_ids=ids).logits
    assert (expected - base).abs().max() > 0.01
    quicken(model)
    assert pack(model)
    board = Switchboard(model)
    with torch.inference_mode(), board.routed([(adapter, 1.0)]):
        found = model(input_ids=ids).logits
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


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
