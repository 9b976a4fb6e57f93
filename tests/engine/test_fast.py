"""Every faster way gives the plain way's numbers."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.models.auto import CONFIG_MAPPING

from lora_engine.adapter import trained_tensors
from lora_engine.batches import Example
from lora_engine.config import LoraConfig, TrainConfig
from lora_engine.data.examples import IGNORED
from lora_engine.fast import attention, head_loss
from lora_engine.fast.choice import choose_path, first_that_fits
from lora_engine.fast.learned import LearnedPath
from lora_engine.fast.packed import PackedPath
from lora_engine.inspection import profile_model
from lora_engine.lora.inject import inject
from lora_engine.loss import PaddedPath
from tests import tiny

CPU = torch.device("cpu")
SMALL = {
    "vocab_size": tiny.VOCABULARY,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "pad_token_id": 0,
}
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {},
    "mistral": {"sliding_window": None},
    "qwen2": {},
    "qwen3": {"head_dim": 16},
    "gemma": {"head_dim": 16},
    "phi3": {},
    "gpt_neox": {},
    "granite": {"logits_scaling": 3.0},
}
PACKED = {"llama", "mistral", "qwen2", "qwen3", "gemma", "phi3", "gpt_neox", "gpt2"}


def family(name: str) -> PreTrainedModel:
    if name == "gpt2":
        return tiny.gpt2()
    torch.manual_seed(0)
    config = CONFIG_MAPPING[name](**SMALL | FAMILIES[name])
    model: PreTrainedModel = AutoModelForCausalLM.from_config(config).eval()
    return model


def settings(**changes: Any) -> TrainConfig:
    return TrainConfig.parse({"base_model": "x", "dataset": "y", "batch_size": 2, **changes})


def rows(lengths: tuple[int, ...] = (9, 300, 41, 150)) -> list[Example]:
    """Rows longer than a block of queries and more than one pack."""
    generator = torch.Generator().manual_seed(1)
    made = []
    for length in lengths:
        ids = torch.randint(1, tiny.VOCABULARY, (length,), generator=generator).tolist()
        made.append({"input_ids": ids, "labels": [IGNORED] * (length // 3) + ids[length // 3 :]})
    return made


def test_head_loss_is_cross_entropy_with_its_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head_loss, "LOGITS", 50 * 40)  # chunks of 40 positions
    torch.manual_seed(0)
    hidden = torch.randn(2 * 40 + 7, 16, requires_grad=True)
    weight, bias = torch.randn(50, 16), torch.randn(50)
    labels = torch.randint(0, 50, (len(hidden),))
    for bias_or_none, smoothing in ((bias, 0.0), (None, 0.0), (bias, 0.2)):
        plain = F.cross_entropy(
            F.linear(hidden, weight, bias_or_none),
            labels,
            reduction="sum",
            label_smoothing=smoothing,
        )
        (expected,) = torch.autograd.grad(plain * 0.5, hidden)
        ours = head_loss.head_loss(hidden, weight, bias_or_none, labels, smoothing)
        (found,) = torch.autograd.grad(ours * 0.5, hidden)
        torch.testing.assert_close(ours, plain)
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("length", [1, 100, attention.BLOCK, 300])
def test_attention_is_the_reference_attention(length: int, causal: bool) -> None:
    torch.manual_seed(length)
    query = torch.randn(1, 6, length, 8, requires_grad=True)
    key, value = (torch.randn(1, 2, length, 8, requires_grad=True) for _ in range(2))
    inputs = (query, key, value)
    expected = F.scaled_dot_product_attention(
        query, key, value, is_causal=causal, scale=0.3, enable_gqa=True
    ).transpose(1, 2)
    module = torch.nn.Module()
    module.is_causal = causal  # type: ignore[assignment]
    found, _ = attention.packed_attention(module, query, key, value, None, scaling=0.3)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    gradient = torch.randn_like(expected)
    for ours, theirs in zip(
        torch.autograd.grad(found, inputs, gradient),
        torch.autograd.grad(expected, inputs, gradient),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", [*FAMILIES, "gpt2"])
def test_chosen_path_gives_the_plain_loss_and_gradients(name: str) -> None:
    model = family(name)
    lora = LoraConfig(r=4, lora_dropout=0)
    inject(model, lora, profile_model(model, name))
    tensors = trained_tensors(model)
    with torch.no_grad():
        for key, tensor in tensors.items():
            if "lora_B" in key:
                tensor.normal_(std=0.1)
    results = []
    for fast in (False, True):
        path = choose_path(model, settings(fast=fast), 0, CPU, longest=300)
        assert isinstance(path, PackedPath) is (fast and name in PACKED)
        model.train()
        total = torch.zeros(())
        for batch in path.batches(rows()):
            loss = path.loss_sum(batch) / 100
            loss.backward()
            total += loss.detach()
        results.append(
            (total, {key: t.grad.clone() for key, t in tensors.items() if t.grad is not None})
        )
        model.zero_grad()
    (plain, plain_gradients), (quick, quick_gradients) = results
    torch.testing.assert_close(quick, plain, atol=1e-4, rtol=1e-5)
    assert quick_gradients.keys() == plain_gradients.keys() == tensors.keys()
    for key, gradient in plain_gradients.items():
        torch.testing.assert_close(quick_gradients[key], gradient, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", [*FAMILIES, "gpt2"])
def test_the_head_at_learned_positions_alone_gives_the_plain_loss_and_gradients(name: str) -> None:
    model = family(name)
    inject(model, LoraConfig(r=4, lora_dropout=0), profile_model(model, name))
    tensors = trained_tensors(model)
    for tensor in tensors.values():
        torch.nn.init.normal_(tensor, std=0.05)
    how = model, 0, 4, CPU, 0.1
    plain = PaddedPath(*how)
    path = first_that_fits(plain, model, [lambda: LearnedPath(*how)], with_gradients=True)
    assert type(path) is (PaddedPath if name == "granite" else LearnedPath)
    model.train()
    found = []
    for way in (plain, path):
        model.zero_grad()
        loss = way.loss_sum(rows())
        (loss / 100).backward()
        found.append((loss.detach(), [tensor.grad.clone() for tensor in tensors.values()]))
    torch.testing.assert_close(found[1], found[0], atol=1e-4, rtol=1e-4)


def test_packs_hold_every_row_once_and_respect_the_room() -> None:
    packed = PackedPath(tiny.llama())
    given = rows((500, 13, 700, 250, 250, 3, 9, 100))
    packs = list(packed.batches(given))
    assert sorted(len(e["input_ids"]) for pack in packs for e in pack) == sorted(
        len(e["input_ids"]) for e in given
    )
    for pack in packs:
        assert len(pack) == 1 or sum(len(e["input_ids"]) for e in pack) <= 512
    assert len(packs) < len(given)


def test_switch_off_means_the_reference_path() -> None:
    assert isinstance(
        choose_path(tiny.llama(), settings(fast=False), 0, CPU, longest=9), PaddedPath
    )


@torch.no_grad()
def test_packed_rows_are_smoothed_in_training_only() -> None:
    model = tiny.llama().requires_grad_(False)
    inject(model, LoraConfig(r=4, lora_dropout=0), profile_model(tiny.llama(), "x"))
    smooth = settings(label_smoothing=0.3)
    plain = choose_path(model, smooth.model_copy(update={"fast": False}), 0, CPU, longest=9)
    exact = float(plain.loss_sum(rows()))
    model.train()
    smoothed = float(plain.loss_sum(rows()))
    packed = choose_path(model, smooth, 0, CPU, longest=9)
    assert isinstance(packed, PackedPath)
    trained = float(packed.loss_sum(rows()))
    model.eval()
    assert float(packed.loss_sum(rows())) == pytest.approx(exact, rel=1e-5)
    assert trained == pytest.approx(smoothed, rel=1e-5)
    assert abs(trained - exact) > 0.1


def test_models_that_packing_does_not_know_take_the_reference_path() -> None:
    torch.manual_seed(0)
    windowed = CONFIG_MAPPING["mistral"](**SMALL | {"sliding_window": 64})
    model = AutoModelForCausalLM.from_config(windowed).requires_grad_(False)
    assert type(choose_path(model, settings(), 0, CPU, longest=65)) is LearnedPath
    assert isinstance(choose_path(model, settings(), 0, CPU, longest=64), PackedPath)
    model = tiny.llama().requires_grad_(False)
    noisy = settings(neftune_noise_alpha=5)
    assert type(choose_path(model, noisy, 0, CPU, longest=9)) is LearnedPath
    model.lm_head.weight.requires_grad_(True)
    assert type(choose_path(model, settings(), 0, CPU, longest=9)) is PaddedPath
    dropping = CONFIG_MAPPING["llama"](**SMALL | {"attention_dropout": 0.1})
    model = AutoModelForCausalLM.from_config(dropping).requires_grad_(False)
    assert type(choose_path(model, settings(), 0, CPU, longest=9)) is LearnedPath
    assert model.config._attn_implementation == "sdpa"


MAMBA = {"mamba_n_heads": 8, "mamba_d_head": 16, "mamba_d_state": 16}
READS_ACROSS: dict[str, dict[str, Any]] = {
    "bloom": {},
    "xglm": {"d_model": 64, "ffn_dim": 96, "num_layers": 2, "attention_heads": 4},
    "openai-gpt": {"n_embd": 64, "n_layer": 2, "n_head": 4},
    "lfm2": {"layer_types": ["conv", "full_attention"], "block_auto_adjust_ff_dim": False},
    "jamba": {
        "attn_layer_period": 2, "attn_layer_offset": 1, "num_experts": 1, "mamba_dt_rank": 8,
        "use_mamba_kernels": False,
    },
    "falcon_h1": {
        "mamba_d_ssm": 64, "mamba_n_heads": 4, "mamba_d_head": 16, "mamba_d_state": 16,
        "mamba_n_groups": 1,
    },
    "granitemoehybrid": {
        "layer_types": ["mamba", "attention"], "num_local_experts": 2, "num_experts_per_tok": 1,
        "shared_intermediate_size": 64, **MAMBA,
    },
    "recurrent_gemma": {"num_hidden_layers": 3, "lru_width": 64, "attention_window_size": 64},
}  # fmt: skip


@pytest.mark.parametrize("name", READS_ACROSS)
def test_rows_are_not_packed_where_they_would_read_each_other(name: str) -> None:
    """Nor is a cap on the logits left out: by too little to be measured in a model that knows
    nothing, so that the numbers are compared in one of five times the weights."""
    torch.manual_seed(0)
    config = CONFIG_MAPPING[name](**SMALL | READS_ACROSS[name])
    model = AutoModelForCausalLM.from_config(config).eval().requires_grad_(False)
    path = choose_path(model, settings(), 0, CPU, longest=41)
    assert not isinstance(path, PackedPath)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(5)
        plain = PaddedPath(model, 0, 2, CPU, 0.0)
        texts = rows((24, 17, 41))
        torch.testing.assert_close(path.loss_sum(texts), plain.loss_sum(texts), rtol=1e-5, atol=0)


def test_attention_in_chunks_bounds_the_rows_that_are_packed() -> None:
    model = tiny.llama().requires_grad_(False)
    model.config.attention_chunk_size = 64
    assert type(choose_path(model, settings(), 0, CPU, longest=65)) is LearnedPath
    assert isinstance(choose_path(model, settings(), 0, CPU, longest=64), PackedPath)
