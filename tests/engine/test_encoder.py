"""An encoder's layer as one function gives what its parts give, dropping included."""

from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from lora_engine.adapter import trained_tensors
from lora_engine.class_loss import PaddedClasses
from lora_engine.config import LoraConfig
from lora_engine.fast import packed_classes, shares
from lora_engine.fast.encoder import fuse, unfuse
from lora_engine.fast.packed_classes import PackedClasses
from lora_engine.inspection import profile_model
from lora_engine.lora.inject import inject
from lora_engine.loss import backward, mean_loss
from tests import tiny
from tests.engine.test_packed_classes import family, texts

FUSED = ("bert", "roberta", "xlm-roberta", "camembert", "electra")
DROPPING = {"hidden_dropout_prob": 0.2, "attention_probs_dropout_prob": 0.3}

pytestmark = pytest.mark.usefixtures("two_cores")


def injected(name: str, changes: dict[str, Any] | None = None, **lora: object) -> PreTrainedModel:
    """A tiny model with pairs that change something, in training mode."""
    model = family(name, **changes or {})
    config = LoraConfig.parse({"r": 4, "lora_dropout": 0, **lora})
    inject(model, config, profile_model(model, name))
    torch.manual_seed(2)
    for tensor in trained_tensors(model).values():
        torch.nn.init.normal_(tensor, std=0.1)
    return model.train()


def packed(model: PreTrainedModel) -> PackedClasses:
    path = PackedClasses(model, PaddedClasses(model, 1, 16))
    assert path._fused
    return path


def outcome(path: PaddedClasses, model: PreTrainedModel) -> tuple[float, dict[str, Tensor]]:
    """The mean loss of some rows, and its gradients by name."""
    torch.manual_seed(3)
    model.zero_grad()
    loss = backward(path, texts(types=model.config.model_type in ("bert", "electra")))
    found = trained_tensors(model).items()
    return loss, {name: each.grad.clone() for name, each in found if each.grad is not None}


@pytest.mark.parametrize(
    "lora",
    [
        {},
        {"target_modules": "all-linear"},
        {"target_modules": ["key", "dense"], "layers_to_transform": [1]},
        {"target_modules": ["intermediate.dense"], "layers_to_transform": [0]},
    ],
    ids=["usual", "all-linear", "upper layer", "one of the lower layer"],
)
@pytest.mark.parametrize("name", FUSED)
def test_an_update_is_that_of_the_plain_path(name: str, lora: dict[str, object]) -> None:
    model = injected(name, **lora)
    plain, gradients = outcome(PaddedClasses(model, 1, 16), model)
    path = packed(model)
    assert path._crew is not None
    loss, found = outcome(path, model)
    assert loss == pytest.approx(plain, rel=1e-5)
    assert found.keys() == gradients.keys() == trained_tensors(model).keys()
    for key, gradient in gradients.items():
        torch.testing.assert_close(found[key], gradient, atol=1e-6, rtol=1e-4)
    model.eval()
    rows = texts(types=name in ("bert", "electra"))
    mean = mean_loss(path, [rows])
    model.set_attn_implementation("eager")
    assert mean == pytest.approx(mean_loss(PaddedClasses(model, 1, 16), [rows]), rel=1e-5)


def test_packs_that_need_no_filling_up_learn_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    model = injected("bert", target_modules="all-linear")
    filled = outcome(packed(model), model)
    monkeypatch.setattr(packed_classes, "coarse", lambda _tokens: 1)
    unfuse(model)
    loss, found = outcome(packed(model), model)
    assert loss == pytest.approx(filled[0], rel=1e-6)
    for key, gradient in filled[1].items():
        torch.testing.assert_close(found[key], gradient, atol=1e-6, rtol=1e-4)


def test_in_bfloat16_it_stays_as_near_as_its_digits_allow() -> None:
    model = injected("bert")
    exact, gradients = outcome(packed(model), model)
    for parameter in model.parameters():
        if not parameter.requires_grad:
            parameter.data = parameter.data.bfloat16()
    unfuse(model)
    loss, found = outcome(packed(model), model)
    assert loss == pytest.approx(exact, rel=0.02)
    for key, gradient in gradients.items():
        assert (found[key] - gradient).norm() < 0.05 * gradient.norm()


def test_two_at_a_time_drop_what_one_after_the_other_drops(monkeypatch: pytest.MonkeyPatch) -> None:
    model = injected("bert", DROPPING, lora_dropout=0.3, target_modules="all-linear")
    path = packed(model)
    together = outcome(path, model)
    for _ in range(2):
        again = outcome(path, model)
        assert again[0] == together[0]
        assert all(torch.equal(again[1][key], each) for key, each in together[1].items())
    monkeypatch.setattr(path._crew, "map", map)
    alone = outcome(path, model)
    assert alone[0] == pytest.approx(together[0], rel=1e-6)
    for key, gradient in together[1].items():
        torch.testing.assert_close(alone[1][key], gradient, atol=1e-6, rtol=1e-5)


def test_gradients_are_slopes_where_values_are_dropped() -> None:
    """The same values are dropped for the same seed, so the loss has a slope to compare with."""
    model = injected("bert", DROPPING, lora_dropout=0.3, target_modules="all-linear")
    path = packed(model)
    _, gradients = outcome(path, model)
    tensors = trained_tensors(model)
    for key in list(tensors)[:: len(tensors) // 8]:
        step = 0.003 * gradients[key] / gradients[key].norm()
        with torch.no_grad():
            tensors[key].add_(step)
            above, _ = outcome(path, model)
            tensors[key].sub_(2 * step)
            below, _ = outcome(path, model)
            tensors[key].add_(step)
        slope = float((gradients[key] * step).sum()) * 2
        assert above - below == pytest.approx(slope, rel=0.03, abs=2e-6)


def test_the_mean_of_many_draws_is_what_torch_drops() -> None:
    """Everything is dropped at the usual rate: the losses of many draws have one mean."""
    model = injected("bert", DROPPING, lora_dropout=0.3)
    rows = texts(types=True)
    torch.manual_seed(0)
    draws = 400

    def losses(path: PaddedClasses) -> Tensor:
        return torch.tensor([float(path.loss_sum(rows)) for _ in range(draws)])

    with torch.no_grad():
        plain = losses(PaddedClasses(model, 1, 16))
        path = packed(model)
        ours = torch.tensor(
            [float(path.loss_sum(rows, torch.Generator().manual_seed(n))) for n in range(draws)]
        )
    error = float(torch.sqrt((plain.var() + ours.var()) / draws))
    assert abs(float(ours.mean() - plain.mean())) < 4 * error
    assert float(ours.std()) == pytest.approx(float(plain.std()), rel=0.25)


def test_in_evaluation_nothing_is_dropped() -> None:
    model = injected("bert", DROPPING, lora_dropout=0.3).eval()
    rows = texts(types=True)
    expected = PaddedClasses(model, 1, 16).logits(rows)
    torch.testing.assert_close(packed(model).logits(rows), expected, atol=1e-5, rtol=1e-5)


def test_many_rows_make_several_packs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shares, "WIDE_PACK_TOKENS", 24)
    model = injected("bert")
    plain, gradients = outcome(PaddedClasses(model, 1, 16), model)
    path = packed(model)
    assert sum(map(len, path.shares(texts(types=True)))) > 2
    loss, found = outcome(path, model)
    assert loss == pytest.approx(plain, rel=1e-5)
    for key, gradient in gradients.items():
        torch.testing.assert_close(found[key], gradient, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize(
    ("changes", "lora"),
    [
        ({}, {"use_dora": True}),
        ({}, {"bias": "all"}),
        ({}, {"init_lora_weights": "pissa"}),
        ({"hidden_act": "relu"}, {}),
        ({"hidden_act": "gelu_new"}, {}),
    ],
)
def test_other_layers_are_left_as_they_are(
    changes: dict[str, Any], lora: dict[str, object]
) -> None:
    model = injected("bert", changes, **lora)
    plain, gradients = outcome(PaddedClasses(model, 1, 16), model)
    path = PackedClasses(model, PaddedClasses(model, 1, 16))
    assert not path._fused
    assert path._crew is None
    assert not any("forward" in vars(layer) for layer in model.base_model.encoder.layer)
    loss, found = outcome(path, model)
    assert loss == pytest.approx(plain, rel=1e-5)
    for key, gradient in gradients.items():
        torch.testing.assert_close(found[key], gradient, atol=1e-6, rtol=1e-4)


def test_checkpointed_layers_are_computed_again_and_drop_the_same() -> None:
    model = injected("bert", DROPPING, lora_dropout=0.3)
    path = PackedClasses(model, PaddedClasses(model, 1, 16), checkpointed=True)
    assert path._crew is None
    calls: list[object] = []
    lower = model.base_model.encoder.layer[0].intermediate
    lower.register_forward_pre_hook(lambda *call: calls.append(call[0]))
    kept, gradients = outcome(path, model)
    assert len(calls) == 1
    model.activation_checkpointing_enable({"use_reentrant": False})
    again, found = outcome(path, model)
    assert len(calls) == 3
    assert again == pytest.approx(kept, rel=1e-6)
    for key, gradient in gradients.items():
        torch.testing.assert_close(found[key], gradient, atol=1e-6, rtol=1e-5)


def test_a_fused_layer_is_itself_without_packed_rows() -> None:
    model = family("bert").requires_grad_(False)
    ids = torch.randint(2, tiny.VOCABULARY, (2, 12), generator=torch.Generator().manual_seed(1))
    before = model(input_ids=ids).logits
    assert fuse(model) == 2
    torch.testing.assert_close(model(input_ids=ids).logits, before, atol=1e-6, rtol=1e-6)
    unfuse(model)
    torch.testing.assert_close(model(input_ids=ids).logits, before, atol=1e-6, rtol=1e-6)
