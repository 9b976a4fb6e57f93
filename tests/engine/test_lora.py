"""Injection, removal and merging leave the base as it was, and mean what they say."""

from typing import Any

import pytest
import torch
from torch import nn

from lora_engine.config import LoraConfig
from lora_engine.inspection import profile_model
from lora_engine.lora.inject import adapted, inject, merge, remove
from lora_engine.lora.layers import LoRALayer
from lora_engine.lora.paths import LowRank
from lora_engine.lora.starts import start_of
from lora_engine.lora.variants import dora, variant_of
from tests import tiny

MODELS = {"llama": (tiny.llama, ("q_proj", "v_proj")), "gpt2": (tiny.gpt2, ("c_attn", "c_proj"))}


def ids() -> torch.Tensor:
    return torch.randint(0, tiny.VOCABULARY, (2, 11), generator=torch.Generator().manual_seed(5))


def wrap(model: Any, targets: tuple[str, ...], **changes: Any) -> None:
    lora = LoraConfig.parse({"r": 4, "target_modules": targets, **changes})
    inject(model, lora, profile_model(model, "tiny"))


def snapshot(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def assert_identical(model: nn.Module, before: dict[str, torch.Tensor]) -> None:
    after = model.state_dict()
    assert after.keys() == before.keys()
    for name, tensor in before.items():
        assert torch.equal(after[name], tensor), name


@pytest.fixture(params=MODELS)
def family(request: pytest.FixtureRequest) -> Any:
    make, targets = MODELS[request.param]
    return make(), targets


def randomise(model: nn.Module) -> None:
    with torch.no_grad():
        for _, layer in adapted(model):
            layer.low_rank.lora_B.normal_(std=0.1)


def test_fresh_pair_changes_nothing_and_starts_as_the_paper_says(family: Any) -> None:
    model, targets = family
    with torch.no_grad():
        before = model(ids()).logits
        wrap(model, targets, lora_dropout=0)
        assert torch.equal(model(ids()).logits, before)
    for _, layer in adapted(model):
        pair = layer.low_rank
        bound = 1 / pair.lora_A.shape[1] ** 0.5  # Kaiming uniform with a=√5: 1/√fan_in
        assert torch.all(pair.lora_A.abs() <= bound)
        assert pair.lora_A.std() > bound / 4
        assert not pair.lora_B.any()


def test_base_is_bit_identical_after_training_and_removal(family: Any) -> None:
    model, targets = family
    before = snapshot(model)
    wrap(model, targets)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    model.train()
    for _ in range(3):
        model(ids(), labels=ids()).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert any(layer.low_rank.lora_B.any() for _, layer in adapted(model))
    remove(model)
    assert_identical(model, before)


def test_merged_equals_unmerged_and_unmerge_undoes(family: Any) -> None:
    model, targets = family
    wrap(model, targets, lora_dropout=0.5)
    randomise(model)
    model.eval()
    with torch.no_grad():
        apart = model(ids()).logits
        for _, layer in adapted(model):
            layer.merge()
        together = model(ids()).logits
        for _, layer in adapted(model):
            layer.unmerge()
        again = model(ids()).logits
        merge(model)
        plain = model(ids()).logits
    torch.testing.assert_close(together, apart, atol=1e-5, rtol=0)
    torch.testing.assert_close(again, apart, atol=1e-5, rtol=0)
    assert torch.equal(plain, together)
    assert not any(isinstance(module, LoRALayer) for module in model.modules())


def test_dropout_touches_the_low_rank_path_only() -> None:
    base = nn.Linear(8, 6)
    layer = LoRALayer(
        base, LowRank(base, 2, 1.0, 0.5), variant_of(LoraConfig()), start_of("kaiming")
    )
    layer.train()
    x = torch.randn(5, 8)
    assert torch.equal(layer(x), base(x)), "B is zero, so dropped inputs cannot show"
    nn.init.normal_(layer.low_rank.lora_B)
    assert not torch.equal(layer(x), layer(x))
    layer.eval()
    assert torch.equal(layer(x), layer(x))


@pytest.mark.parametrize(
    ("bias", "vectors"),
    # GPT-2, 2 layers: c_attn; all: 2 norms, c_attn, c_proj, c_fc, c_proj a layer, and a last norm.
    [("none", 0), ("lora_only", 2), ("all", 13)],
)
def test_bias_makes_the_asked_for_vectors_trainable(bias: Any, vectors: int) -> None:
    model = tiny.gpt2()
    wrap(model, ("c_attn",), bias=bias)
    trained = [n for n, p in model.named_parameters() if p.requires_grad and n.endswith("bias")]
    assert len(trained) == vectors


def test_doras_norm_is_taken_at_each_training_step_and_once_for_all_answers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    taken = []
    norm = dora._norm
    monkeypatch.setattr(dora, "_norm", lambda *given: taken.append(1) or norm(*given))
    model = tiny.llama()
    wrap(model, ("q_proj",), use_dora=True, layers_to_transform=[0])

    def norms_of(passes: int) -> int:
        taken.clear()
        with torch.no_grad():
            for _ in range(passes):
                model(ids())
        return len(taken)

    model.train()
    assert norms_of(3) == 3
    model.eval()
    assert norms_of(3) == 1
    before = model(ids()).logits
    model.train()  # the next answers count what was learned in between
    randomise(model)
    model.eval()
    assert norms_of(2) == 1
    assert not torch.equal(model(ids()).logits, before)
