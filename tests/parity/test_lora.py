"""Our LoRA against the reference implementation, with the same weights in both."""

from typing import Any

import peft
import pytest
import torch
from torch import nn
from transformers import PreTrainedModel

from lora_engine import adapter
from lora_engine.config import LoraConfig
from lora_engine.inspection import profile_model
from lora_engine.lora.inject import adapted, inject
from lora_engine.profile import count_parameters
from tests import tiny

MODELS = {"llama": tiny.llama, "gpt2": tiny.gpt2}
CASES = [
    pytest.param("llama", {"target_modules": ["q_proj", "v_proj"]}, id="llama-qv"),
    pytest.param(
        "llama",
        {
            "r": 4,
            "lora_alpha": 32,
            "target_modules": ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "down_proj"],
        },
        id="llama-many",
    ),
    pytest.param("gpt2", {"target_modules": ["c_attn"]}, id="gpt2-conv1d"),
    pytest.param("gpt2", {"target_modules": ["c_attn", "c_fc"], "bias": "all"}, id="gpt2-bias-all"),
    pytest.param("gpt2", {"target_modules": ["c_attn"], "bias": "lora_only"}, id="gpt2-lora-only"),
]


def reference_of(model: PreTrainedModel, lora: LoraConfig) -> Any:
    """The reference on the same base weights."""
    assert lora.target_modules is not None
    return peft.get_peft_model(
        model,
        peft.LoraConfig(
            task_type="CAUSAL_LM",
            r=lora.r,
            lora_alpha=int(lora.lora_alpha),
            lora_dropout=lora.lora_dropout,
            target_modules=list(lora.target_modules),
            bias=lora.bias,
            fan_in_fan_out=type(model).__name__.startswith("GPT2"),
        ),
    )


def pair(name: str, settings: dict[str, Any]) -> tuple[PreTrainedModel, Any, LoraConfig]:
    """Ours and the reference with equal base weights and equal, non-zero A and B."""
    lora = LoraConfig.parse({"lora_dropout": 0, **settings})
    ours, theirs = MODELS[name](seed=1), reference_of(MODELS[name](seed=1), lora)
    inject(ours, lora, profile_model(ours, name))
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for path, layer in adapted(ours):
            layer.low_rank.lora_B.normal_(std=0.1, generator=generator)
            other = theirs.base_model.model.get_submodule(path)
            other.lora_A["default"].weight.copy_(layer.low_rank.lora_A)
            other.lora_B["default"].weight.copy_(layer.low_rank.lora_B)
    return ours, theirs, lora


def batch() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    ids = torch.randint(0, tiny.VOCABULARY, (3, 17), generator=generator)
    return {"input_ids": ids, "labels": ids}


def reference_gradients(theirs: Any) -> dict[str, torch.Tensor]:
    found = {}
    for name, parameter in theirs.base_model.model.named_parameters():
        if parameter.requires_grad:
            ours = name.replace(".default.", ".")
            found[ours] = parameter.grad
    return found


@pytest.mark.parametrize(("name", "settings"), CASES)
def test_logits_and_gradients(name: str, settings: dict[str, Any]) -> None:
    ours, theirs, _ = pair(name, settings)
    ours.train()
    theirs.train()
    our_output, their_output = ours(**batch()), theirs(**batch())
    torch.testing.assert_close(our_output.logits, their_output.logits, atol=1e-5, rtol=0)
    our_output.loss.backward()
    their_output.loss.backward()
    expected = reference_gradients(theirs)
    tensors = adapter.trained_tensors(ours)
    assert tensors.keys() == expected.keys()
    for key, parameter in tensors.items():
        torch.testing.assert_close(parameter.grad, expected[key], atol=1e-5, rtol=0)


@pytest.mark.parametrize(("name", "settings"), CASES)
def test_twenty_steps(name: str, settings: dict[str, Any]) -> None:
    ours, theirs, _ = pair(name, settings)
    losses = [[step_losses(model) for model in (ours, theirs)]]
    torch.testing.assert_close(losses[0][0], losses[0][1], atol=1e-4, rtol=0)
    assert losses[0][0][-1] < losses[0][0][0] - 0.1, "nothing was learned, so nothing was compared"


def step_losses(model: nn.Module) -> torch.Tensor:
    model.train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=5e-3)
    losses = []
    for _ in range(20):
        loss = model(**batch()).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.detach())
    return torch.stack(losses)


@pytest.mark.parametrize(("name", "settings"), CASES)
def test_counts(name: str, settings: dict[str, Any]) -> None:
    ours, theirs, lora = pair(name, settings)
    trainable, total = theirs.get_nb_trainable_parameters()
    count = count_parameters(profile_model(MODELS[name](), name), lora)
    assert (count.trainable, count.total) == (trainable, total)
    assert count.trainable == sum(p.numel() for p in ours.parameters() if p.requires_grad)


@pytest.mark.parametrize(("name", "settings"), CASES)
def test_reference_loads_what_we_save(name: str, settings: dict[str, Any], tmp_path: Any) -> None:
    ours, _, lora = pair(name, settings)
    if lora.bias != "none":
        with torch.no_grad():
            for key, tensor in adapter.trained_tensors(ours).items():
                if key.endswith(".bias"):
                    tensor.add_(0.05)
    adapter.save(ours, tmp_path, lora, profile_model(MODELS[name](), name), base_model="")
    theirs = peft.PeftModel.from_pretrained(MODELS[name](seed=1), tmp_path).eval()
    with torch.no_grad():
        expected = theirs(**batch()).logits
        torch.testing.assert_close(ours.eval()(**batch()).logits, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("name", "settings"), CASES)
def test_we_load_what_the_reference_saves(
    name: str, settings: dict[str, Any], tmp_path: Any
) -> None:
    _, theirs, lora = pair(name, settings)
    if lora.bias != "none":
        with torch.no_grad():
            for key, parameter in theirs.named_parameters():
                if key.endswith(".bias") and parameter.requires_grad:
                    parameter.add_(0.05)
    theirs.save_pretrained(tmp_path)
    ours = MODELS[name](seed=1)
    adapter.attach(ours, adapter.read(tmp_path))
    with torch.no_grad():
        expected = theirs.eval()(**batch()).logits
        torch.testing.assert_close(ours.eval()(**batch()).logits, expected, atol=1e-5, rtol=0)
