"""The optimisers beside AdamW: what they keep, and what comes of it."""

from typing import Any

import pytest
import torch

from lora_engine.config import TrainConfig
from lora_engine.inspection import profile_model
from lora_engine.lora.inject import inject
from lora_engine.optimizer import make_optimizer
from lora_engine.optimizers.galore import GaLoreAdamW
from tests import tiny


def test_galores_state_is_not_rounded_to_the_weights_format() -> None:
    torch.manual_seed(0)
    first = torch.nn.Parameter(torch.randn(32, 48).bfloat16())
    second = torch.nn.Parameter(first.detach().clone())

    def step(weight: torch.nn.Parameter, optimizer: GaLoreAdamW) -> None:
        weight.grad = torch.sin(torch.arange(weight.numel())).view_as(weight).bfloat16()
        optimizer.step()

    one = GaLoreAdamW([first], lr=0.01, rank=4)
    step(first, one)
    second.data.copy_(first)
    two = GaLoreAdamW([second], lr=0.01, rank=4)
    two.load_state_dict(one.state_dict())
    for weight, optimizer in ((first, one), (second, two)):
        step(weight, optimizer)
    assert torch.equal(first, second)
    assert two.state[second]["basis"].dtype == torch.float32


def test_galore_keeps_less_than_adamw_and_falls_as_a_low_rank_step() -> None:
    torch.manual_seed(0)
    sizes = {}
    for build in (
        lambda p: torch.optim.AdamW(p, lr=0.01),
        lambda p: GaLoreAdamW(p, lr=0.01, rank=4, update_gap=3),
    ):
        weight = torch.nn.Parameter(torch.randn(64, 96))
        bias = torch.nn.Parameter(torch.zeros(64))
        x, y = torch.randn(50, 96), torch.randn(50, 64)
        optimizer = build([weight, bias])
        before = weight.detach().clone()
        losses = []
        for step in range(12):
            loss = (x @ weight.T + bias - y).pow(2).mean()
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss.item())
            if step == 2 and isinstance(optimizer, GaLoreAdamW):
                assert torch.linalg.matrix_rank(weight.detach() - before, atol=1e-5) == 4
        assert losses[-1] < losses[0]
        sizes[type(optimizer).__name__] = sum(
            value.numel()
            for state in optimizer.state.values()
            for value in state.values()
            if isinstance(value, torch.Tensor)
        )
    assert sizes["GaLoreAdamW"] < 0.25 * sizes["AdamW"]


def test_8_bit_adamw_keeps_a_quarter_and_word_vectors_whole() -> None:
    pytest.importorskip("bitsandbytes")
    kept = {}
    for optim in ("adamw", "adamw_8bit"):
        model = tiny.llama()
        config = TrainConfig.parse(
            {"base_model": "m", "dataset": "d", "optim": optim, "lora": {"method": "full"}}
        )
        inject(model, config.lora, profile_model(model, "x"))
        optimizer = make_optimizer(model, config)
        ids = torch.arange(40)[None]
        model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
        weight = model.get_submodule("model.layers.0.mlp.up_proj").weight
        words = model.get_input_embeddings().weight
        kept[optim] = [
            sum(
                value.numel() * value.element_size()
                for name, value in optimizer.state[tensor].items()
                # the table of 256 values is one for all tensors
                if isinstance(value, torch.Tensor) and "qmap" not in name
            )
            for tensor in (weight, words)
        ]
    (plain, plain_words), (small, small_words) = kept.values()
    assert 0.25 * plain < small < 0.27 * plain
    assert small_words == pytest.approx(plain_words, abs=8)  # AdamW's count of steps is a tensor


def test_8_bit_adamw_forgets_the_word_vectors_of_models_that_are_gone() -> None:
    """bitsandbytes knows them by their ids, which later weights may get."""
    optim: Any = pytest.importorskip("bitsandbytes").optim
    model = tiny.llama()
    weight = model.get_submodule("model.layers.0.mlp.up_proj").weight
    optim.GlobalOptimManager.get_instance().override_config(weight, "optim_bits", 32)
    config = TrainConfig.parse(
        {"base_model": "m", "dataset": "d", "optim": "adamw_8bit", "lora": {"method": "full"}}
    )
    inject(model, config.lora, profile_model(model, "x"))
    optimizer = make_optimizer(model, config)
    ids = torch.arange(40)[None]
    model(input_ids=ids, labels=ids).loss.backward()
    optimizer.step()
    assert optimizer.state[weight]["state1"].dtype == torch.uint8
