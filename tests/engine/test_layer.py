"""A decoder layer as one function gives what its parts give, one by one."""

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from lora_engine.adapter import trained_tensors
from lora_engine.config import LoraConfig
from lora_engine.fast import layer
from lora_engine.fast.layer import fuse, unfuse
from lora_engine.fast.packed import PackedPath
from lora_engine.inspection import profile_model
from lora_engine.lora.inject import inject
from tests.engine.test_fast import family, rows

KNOWN = ("llama", "mistral", "qwen2", "qwen3")


def injected(name: str, **lora: object) -> PreTrainedModel:
    """A tiny model with pairs that change something."""
    model = family(name)
    config = LoraConfig.parse({"r": 4, "lora_dropout": 0, **lora})
    inject(model, config, profile_model(model, name))
    with torch.no_grad():
        for key, tensor in trained_tensors(model).items():
            if "lora_B" in key:
                tensor.normal_(std=0.1)
        for key, tensor in model.named_parameters():
            if "norm" in key:
                tensor.normal_(mean=1, std=0.2)
    model.train()
    return model


def outcome(path: PackedPath, model: PreTrainedModel) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss of some rows, and its gradients by name."""
    model.zero_grad()
    loss = path.loss_sum(rows()) / 100
    loss.backward()
    tensors = trained_tensors(model)
    return loss.detach(), {n: t.grad.clone() for n, t in tensors.items() if t.grad is not None}


@pytest.mark.parametrize(
    "lora",
    [
        {},
        {"target_modules": "all-linear"},
        {"target_modules": ["o_proj", "up_proj"]},
        {"target_modules": ["k_proj", "down_proj"], "layers_to_transform": [1]},
    ],
    ids=["usual", "all-linear", "one of each", "upper layer"],
)
@pytest.mark.parametrize("name", KNOWN)
def test_loss_and_gradients_are_those_of_the_parts(name: str, lora: dict[str, object]) -> None:
    model = injected(name, **lora)
    path = PackedPath(model)
    layers = model.base_model.layers
    assert all("forward" in vars(one) for one in layers)
    fused, fused_gradients = outcome(path, model)
    unfuse(model)
    assert not any("forward" in vars(one) for one in layers)
    plain, gradients = outcome(path, model)
    torch.testing.assert_close(fused, plain, atol=1e-5, rtol=1e-5)
    assert fused_gradients.keys() == gradients.keys() == trained_tensors(model).keys()
    for key, gradient in gradients.items():
        torch.testing.assert_close(fused_gradients[key], gradient, atol=1e-5, rtol=1e-4)


def test_long_rows_make_their_attention_again(monkeypatch: pytest.MonkeyPatch) -> None:
    model = injected("llama")
    path = PackedPath(model)
    kept, kept_gradients = outcome(path, model)
    monkeypatch.setattr(layer, "KEPT", 100)  # two of the rows are longer
    again, gradients = outcome(path, model)
    assert torch.equal(kept, again)
    assert all(torch.equal(kept_gradients[key], gradient) for key, gradient in gradients.items())


def test_nothing_is_kept_below_the_lowest_adapted_layer() -> None:
    model = injected("llama", layers_to_transform=[1])
    PackedPath(model)
    borders = torch.tensor([0, 9]).int()
    ids = torch.arange(1, 10)[None]
    seen = []
    for one in model.base_model.layers:
        one.register_forward_hook(lambda *call: seen.append(call[-1].grad_fn))
    model.base_model(input_ids=ids, use_cache=False, cu_seq_lens_q=borders)
    assert seen[0] is None
    assert seen[1] is not None


def test_gradients_are_slopes_where_inputs_are_dropped() -> None:
    """The same inputs are dropped for the same seed, so the loss has a slope to compare with."""
    model = injected("llama", lora_dropout=0.4, target_modules="all-linear")
    path = PackedPath(model)
    tensors = trained_tensors(model)

    def loss() -> Tensor:
        torch.manual_seed(3)
        return path.loss_sum(rows((40, 25)))

    first = loss()
    torch.testing.assert_close(loss(), first, atol=0, rtol=0)
    first.backward()
    torch.manual_seed(5)
    for key in list(tensors)[:: len(tensors) // 6]:
        tensor = tensors[key]
        assert tensor.grad is not None
        step = 0.001 * tensor.grad / tensor.grad.norm()
        with torch.no_grad():
            tensor.add_(step)
            above = loss()
            tensor.sub_(2 * step)
            below = loss()
            tensor.add_(step)
        slope = (tensor.grad * step).sum() * 2
        torch.testing.assert_close(above - below, slope, rtol=0.02, atol=3e-4)


def test_in_evaluation_nothing_is_dropped() -> None:
    model = injected("llama", lora_dropout=0.4)
    path = PackedPath(model)
    model.eval()
    with torch.no_grad():
        fused = path.loss_sum(rows())
        unfuse(model)
        torch.testing.assert_close(path.loss_sum(rows()), fused)


@pytest.mark.parametrize(
    "lora", [{"use_dora": True}, {"bias": "all"}, {"init_lora_weights": "pissa"}]
)
def test_other_methods_keep_their_layers(lora: dict[str, object]) -> None:
    model = injected("qwen2", **lora)
    assert fuse(model) == 0


@pytest.mark.parametrize("name", ["gemma", "granite", "phi3"])
def test_other_families_keep_their_layers(name: str) -> None:
    assert fuse(family(name).requires_grad_(False)) == 0


def test_without_row_borders_a_layer_is_itself() -> None:
    model = family("llama").requires_grad_(False)
    ids = torch.arange(1, 13)[None]
    with torch.no_grad():
        before = model(input_ids=ids).logits
        assert fuse(model) == 2
        torch.testing.assert_close(model(input_ids=ids).logits, before, atol=0, rtol=0)
