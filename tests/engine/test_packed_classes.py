"""Packed texts give the padded texts' answers and gradients, in every family that takes them."""

from typing import Any

import pytest
import torch
from transformers import AutoModelForSequenceClassification, PreTrainedModel
from transformers.models.auto import CONFIG_MAPPING

from lora_engine.adapter import trained_tensors
from lora_engine.batches import Example
from lora_engine.class_loss import PaddedClasses
from lora_engine.config import LoraConfig, TrainConfig
from lora_engine.fast.attention import padded_attention
from lora_engine.fast.packed_classes import PackedClasses, choose_classes
from lora_engine.inspection import profile_model
from lora_engine.lora.inject import inject
from tests import tiny

SMALL = {
    "vocab_size": tiny.VOCABULARY,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "pad_token_id": 1,
    "num_labels": 3,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}
DISTILBERT = {
    "vocab_size": tiny.VOCABULARY, "dim": 64, "hidden_dim": 96, "n_layers": 2, "n_heads": 4,
    "num_labels": 3, "dropout": 0.0, "attention_dropout": 0.0, "seq_classif_dropout": 0.0,
    "pad_token_id": 1,
}  # fmt: skip
PACKED = ("bert", "roberta", "xlm-roberta", "distilbert", "electra", "camembert")
PADDED = ("deberta-v2", "mpnet")


def family(name: str, **changes: Any) -> PreTrainedModel:
    torch.manual_seed(0)
    settings = DISTILBERT if name == "distilbert" else SMALL
    config = CONFIG_MAPPING[name](**settings | changes)
    model: PreTrainedModel = AutoModelForSequenceClassification.from_config(config).eval()
    return model


def settings(**changes: Any) -> TrainConfig:
    return TrainConfig.parse({"base_model": "x", "dataset": "y", **changes})


def texts(types: bool) -> list[Example]:
    generator = torch.Generator().manual_seed(1)
    made = []
    for length in (9, 31, 4, 17):
        ids = torch.randint(2, tiny.VOCABULARY, (length,), generator=generator).tolist()
        row = {"input_ids": ids, "labels": [length % 3]}
        made.append(row | {"token_type_ids": [0] * 3 + [1] * (length - 3)} if types else row)
    return made


@pytest.mark.parametrize("name", PACKED)
def test_packed_texts_have_the_padded_loss_and_gradients(name: str) -> None:
    model = family(name)
    profile = profile_model(model, "x")
    inject(model, LoraConfig(lora_dropout=0.0), profile)
    for tensor in trained_tensors(model).values():
        torch.nn.init.normal_(tensor, std=0.05)
    plain = PaddedClasses(model, 1, 16)
    path = choose_classes(model, plain, settings(), longest=31)
    assert isinstance(path, PackedClasses)
    rows = texts(types=name in ("bert", "electra"))

    def gradients(used: PaddedClasses) -> list[torch.Tensor]:
        model.zero_grad()
        used.loss_sum(rows).backward()
        return [tensor.grad.clone() for tensor in trained_tensors(model).values()]

    found = gradients(path)
    logits = path.logits(rows)
    model.set_attn_implementation("eager")
    torch.testing.assert_close(logits, plain.logits(rows), atol=1e-5, rtol=1e-5)
    for ours, expected in zip(found, gradients(plain), strict=True):
        torch.testing.assert_close(ours, expected, atol=1e-5, rtol=1e-4)


def test_what_is_trained_and_never_used_has_no_gradient() -> None:
    """As ESM's head for contacts, which a classifier does not ask."""
    model = family("bert").requires_grad_(False)
    model.classifier.requires_grad_(True)
    model.spare = torch.nn.Linear(4, 4)
    path = choose_classes(model, PaddedClasses(model, 1, 16), settings(), longest=31)
    assert isinstance(path, PackedClasses)
    path.backward(texts(types=True))
    assert model.spare.weight.grad is None
    assert model.classifier.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("name", PADDED)
def test_a_family_that_cannot_be_packed_is_padded(name: str) -> None:
    model = family(name)
    before = model.config._attn_implementation
    plain = PaddedClasses(model, 1, 16)
    assert choose_classes(model, plain, settings(), longest=31) is plain
    assert model.config._attn_implementation == before


def test_the_switch_is_heeded_and_the_mode_of_the_model_stays() -> None:
    model = family("bert").train()
    plain = PaddedClasses(model, 1, 16)
    assert choose_classes(model, plain, settings(fast=False), 31) is plain
    assert choose_classes(model, plain, settings(neftune_noise_alpha=5), 31) is plain
    assert isinstance(choose_classes(model, plain, settings(), 31), PackedClasses)
    assert model.training


def test_attention_is_dropped_out_in_training_only() -> None:
    module = torch.nn.Module()
    torch.manual_seed(0)
    query, key, value = torch.randn(3, 1, 2, 12, 8)
    borders = torch.tensor([0, 5, 12], dtype=torch.int32)

    def attended(dropout: float) -> torch.Tensor:
        out, _ = padded_attention(
            module, query, key, value, None, dropout=dropout, cu_seq_lens_q=borders
        )
        return out

    whole = attended(0.0)
    dropped = torch.stack([attended(0.5) for _ in range(4000)])
    assert not torch.allclose(dropped[0], whole)
    torch.testing.assert_close(dropped.mean(0), whole, atol=0.25, rtol=0)
    module.eval()
    torch.testing.assert_close(attended(0.5), whole)


def test_what_padded_attention_does_not_know_is_refused() -> None:
    module = torch.nn.Module()
    states = torch.zeros(1, 2, 4, 8)
    borders = torch.tensor([0, 4])
    with pytest.raises(NotImplementedError, match="full attention"):
        padded_attention(module, states, states, states, torch.ones(1), cu_seq_lens_q=borders)
    with pytest.raises(NotImplementedError, match="full attention"):
        padded_attention(module, states, states, states, None)


def test_rows_that_are_longer_than_the_attention_reaches_are_padded() -> None:
    model = family("modernbert", local_attention=32, pad_token_id=0)
    plain = PaddedClasses(model, 0, 16)
    assert choose_classes(model, plain, settings(), longest=17) is plain
    assert isinstance(choose_classes(model, plain, settings(), longest=16), PackedClasses)
