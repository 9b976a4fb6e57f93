"""Our engine and the reference with the same weights, side by side: a row a case."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from torch import nn
from transformers import PreTrainedModel

from lora_engine import adapter
from lora_engine.adapter_config import TASK_TYPES
from lora_engine.config import LoraConfig
from lora_engine.counts import count_parameters
from lora_engine.inspection import profile_model
from lora_engine.lora.inject import inject, merge
from lora_engine.profile import ModelProfile


@dataclass(frozen=True)
class Case:
    """A model family and the settings to compare on it."""

    name: str
    make: Callable[[], PreTrainedModel]
    settings: dict[str, Any]
    reference: dict[str, Any] = field(default_factory=dict)
    """What the reference calls differently."""

    def __str__(self) -> str:
        return self.name

    @property
    def lora(self) -> LoraConfig:
        return LoraConfig.parse({"r": 4, "lora_dropout": 0, **self.settings})


def profile_of(model: PreTrainedModel) -> ModelProfile:
    return profile_model(model, "tiny")


def reference_of(case: Case) -> Any:
    """The reference on a fresh base."""
    model = case.make()
    profile = profile_of(model)
    lora = case.lora
    targets = profile.targets(lora)
    settings = {
        "task_type": TASK_TYPES[profile.task],
        "r": lora.r,
        "lora_alpha": lora.lora_alpha,
        "lora_dropout": lora.lora_dropout,
        "target_modules": targets if isinstance(targets, str) else list(targets),
        "bias": lora.bias,
        "use_rslora": lora.use_rslora,
        "use_dora": lora.use_dora,
        "rank_pattern": lora.rank_pattern,
        "alpha_pattern": lora.alpha_pattern,
        "layers_to_transform": lora.layers_to_transform and list(lora.layers_to_transform),
        "modules_to_save": list(lora.modules_to_save) if lora.modules_to_save else None,
        "fan_in_fan_out": model.config.model_type == "gpt2",
    }
    return peft.get_peft_model(model, peft.LoraConfig(**settings | case.reference))


def pair(case: Case) -> tuple[PreTrainedModel, Any]:
    """Ours and the reference with equal weights; what is trained is moved off its start."""
    ours, theirs = case.make(), reference_of(case)
    inject(ours, case.lora, profile_of(ours))
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for tensor in adapter.trained_tensors(ours).values():
            tensor.add_(torch.randn(tensor.shape, generator=generator) * 0.1)
        expected = reference_tensors(theirs)
        found = adapter.trained_tensors(ours)
        assert found.keys() == expected.keys()
        for name, tensor in found.items():
            expected[name].copy_(tensor.view_as(expected[name]))
    for _, module in ours.named_modules():
        getattr(getattr(module, "variant", None), "forget", lambda: None)()
    return ours, theirs


def reference_tensors(theirs: Any) -> dict[str, torch.Tensor]:
    """What the reference trains, by our names."""
    found = {}
    for name, parameter in theirs.base_model.model.named_parameters():
        if parameter.requires_grad:
            ours = name.replace(".modules_to_save.default.", ".")
            ours = ours.replace(".lora_magnitude_vector.default.weight", ".lora_magnitude_vector")
            found[ours.replace(".default", "")] = parameter
    return found


def batch(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    """Token ids with labels that fit the model's task."""
    generator = torch.Generator().manual_seed(3)
    ids = torch.randint(2, model.config.vocab_size, (3, 17), generator=generator)
    if profile_of(model).task == "classification":
        ids[:, -1] = model.config.eos_token_id or 1  # where T5 and BART look
        return {"input_ids": ids, "labels": torch.tensor([0, 1, 1])}
    return {"input_ids": ids, "labels": ids}


def forward_and_gradients(model: Any, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    """The logits; gradients are left on the parameters."""
    model.train()
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    output = model(**inputs)
    output.loss.backward()
    logits: torch.Tensor = output.logits.detach()
    return logits


def check_logits_and_gradients(ours: Any, theirs: Any, atol: float, rtol: float) -> None:
    """Of one batch, in training without dropout."""
    inputs = batch(ours)
    found = forward_and_gradients(ours, inputs)
    expected = forward_and_gradients(theirs, inputs)
    torch.testing.assert_close(found, expected, atol=atol, rtol=0)
    references = reference_tensors(theirs)
    for name, tensor in adapter.trained_tensors(ours).items():
        gradient = references[name].grad
        assert gradient is not None
        assert tensor.grad is not None
        torch.testing.assert_close(tensor.grad.view_as(gradient), gradient, atol=atol, rtol=rtol)


def saved(model: PreTrainedModel, case: Case, folder: Path) -> Path:
    """``model``'s adapter as we save it."""
    adapter.save(model, folder, case.lora, profile_of(case.make()), base_model="")
    return folder


def check_family(case: Case, folder: Path) -> None:
    """Counts, three training steps, saving, loading both ways and merging, as the reference."""
    ours, theirs = pair(case)
    inputs = batch(ours)
    count = count_parameters(profile_of(case.make()), case.lora)
    assert (count.trainable, count.total) == theirs.get_nb_trainable_parameters()
    found, expected_losses = three_steps(ours, inputs), three_steps(theirs, inputs)
    assert found == pytest.approx(expected_losses, abs=1e-4)
    assert found[2] < found[0]
    with torch.no_grad():
        expected = ours.eval()(**inputs).logits
        read = peft.PeftModel.from_pretrained(case.make(), saved(ours, case, folder / "ours"))
        torch.testing.assert_close(read.eval()(**inputs).logits, expected, atol=1e-5, rtol=0)
        theirs.eval().save_pretrained(folder / "theirs")
        for name in ("ours", "theirs"):
            again = case.make()
            adapter.attach(again, adapter.read(folder / name))
            torch.testing.assert_close(again.eval()(**inputs).logits, expected, atol=1e-5, rtol=0)
            merge(again)
            torch.testing.assert_close(again(**inputs).logits, expected, atol=1e-5, rtol=0)


def three_steps(model: Any, inputs: dict[str, torch.Tensor]) -> list[float]:
    """The losses of three updates."""
    model.train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.01)
    losses = []
    for _ in range(3):
        loss = model(**inputs).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses
