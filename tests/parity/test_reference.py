"""Every method, layer and family against the reference implementation: one row a case."""

from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from peft.optimizers import create_loraplus_optimizer
from torch import nn
from transformers import PreTrainedModel, Trainer

from lora_engine import adapter
from lora_engine.config import LoraConfig, TrainConfig
from lora_engine.counts import count_parameters
from lora_engine.lora.inject import adapted, merge, remove
from lora_engine.lora.inject import inject as inject_into
from lora_engine.optimizer import make_optimizer
from lora_engine.optimizers.adamw import parameter_groups
from tests import tiny
from tests.engine.adapters import make_peft
from tests.parity.harness import (
    Case,
    batch,
    check_logits_and_gradients,
    pair,
    profile_of,
    reference_of,
    reference_tensors,
    saved,
)

QV = ["q_proj", "v_proj"]
METHODS = [
    Case("llama q,v", tiny.llama, {"target_modules": QV}),
    Case("llama all-linear", tiny.llama, {"target_modules": "all-linear", "lora_alpha": 32}),
    Case("rslora", tiny.llama, {"target_modules": QV, "use_rslora": True}),
    Case("dora", tiny.llama, {"target_modules": [*QV, "up_proj"], "use_dora": True}),
    Case("dora with bias", tiny.gpt2, {"target_modules": ["c_attn"], "use_dora": True}),
    Case("bias all", tiny.gpt2, {"target_modules": ["c_attn", "c_fc"], "bias": "all"}),
    Case("bias lora_only", tiny.gpt2, {"target_modules": ["c_attn"], "bias": "lora_only"}),
    Case("modules_to_save", tiny.untied, {"target_modules": QV, "modules_to_save": ["lm_head"]}),
    Case("patterns", tiny.llama, {
        "target_modules": [*QV, "o_proj"], "use_rslora": True,
        "rank_pattern": {"layers.1.self_attn.q_proj": 6, "o_proj": 2},
        "alpha_pattern": {"v_proj": 5}}),
    Case("one layer", tiny.llama, {"target_modules": QV, "layers_to_transform": [1]}),
    Case("regular expression", tiny.llama, {"target_modules": r".*layers\.0\..*(k|gate)_proj"}),
    Case("conv1d of gpt2", tiny.gpt2, {"target_modules": ["c_attn", "c_proj"]}),
    Case("embedding", tiny.untied, {"target_modules": ["q_proj", "embed_tokens"]}),
    Case("embedding dora", tiny.untied, {"target_modules": ["embed_tokens"], "use_dora": True}),
    Case("untied head", tiny.untied, {"target_modules": ["lm_head", "v_proj"]}),
    Case("tied head", tiny.llama, {"target_modules": ["lm_head", "embed_tokens", "v_proj"]}),
    Case("tied head saved", tiny.llama, {"target_modules": QV, "modules_to_save": ["lm_head"]}),
    Case("tied pair saved", tiny.llama,
         {"target_modules": QV, "modules_to_save": ["embed_tokens", "lm_head"]}),
    Case("resized vocabulary", tiny.resized,
         {"target_modules": QV, "modules_to_save": ["lm_head"]}),
    Case("resized embedding", tiny.resized, {"target_modules": ["embed_tokens", "lm_head"]}),
    Case("convolutions", tiny.convolutional, {"target_modules": ["first", "second", "last"]}),
    Case("convolutions dora", tiny.convolutional,
         {"target_modules": ["first", "second"], "use_dora": True}),
    Case("bert", tiny.bert, {"target_modules": ["query", "value"]}),
    Case("bert bias all", tiny.bert, {"target_modules": ["query", "value"], "bias": "all"}),
    Case("bert bias lora_only", tiny.bert,
         {"target_modules": ["query", "value"], "bias": "lora_only"}),
    Case("t5", tiny.t5, {"target_modules": ["q", "v"]}),
    Case("t5 tied head", tiny.t5, {"target_modules": ["q", "lm_head"]}),
]  # fmt: skip
cases = pytest.mark.parametrize("case", METHODS, ids=str)


@cases
def test_logits_and_gradients(case: Case) -> None:
    ours, theirs = pair(case)
    check_logits_and_gradients(ours, theirs, atol=1e-5, rtol=1e-5)


@cases
def test_twenty_steps(case: Case) -> None:
    ours, theirs = pair(case)
    inputs = batch(ours)
    found, expected = (losses_of_steps(model, inputs) for model in (ours, theirs))
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)
    assert found[-1] < found[0] - 0.02, "nothing was learned, so nothing was compared"


def losses_of_steps(model: Any, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=5e-3)
    model.train()
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    losses = []
    for _ in range(20):
        loss = model(**inputs).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.detach())
    return torch.stack(losses)


@cases
def test_counts(case: Case) -> None:
    ours, theirs = pair(case)
    count = count_parameters(profile_of(case.make()), case.lora)
    assert (count.trainable, count.total) == theirs.get_nb_trainable_parameters()
    assert count.trainable == sum(p.numel() for p in ours.parameters() if p.requires_grad)


@cases
@pytest.mark.filterwarnings("ignore:Setting `save_embedding_layers`")
def test_files_are_read_both_ways(case: Case, tmp_path: Path) -> None:
    ours, theirs = pair(case)
    inputs = batch(ours)
    with torch.no_grad():
        expected = ours.eval()(**inputs).logits
        read = peft.PeftModel.from_pretrained(case.make(), saved(ours, case, tmp_path / "ours"))
        torch.testing.assert_close(read.eval()(**inputs).logits, expected, atol=1e-5, rtol=0)
        theirs.save_pretrained(tmp_path / "theirs")
        again = case.make()
        adapter.attach(again, adapter.read(tmp_path / "theirs"))
        torch.testing.assert_close(again.eval()(**inputs).logits, expected, atol=1e-5, rtol=0)


@cases
def test_merged_equals_unmerged_and_removal_restores_the_base(case: Case) -> None:
    ours, _ = pair(case)
    inputs = batch(ours)
    base = {name: tensor.clone() for name, tensor in case.make().state_dict().items()}
    with torch.no_grad():
        expected = ours.eval()(**inputs).logits
        for _, layer in adapted(ours):
            layer.merge()
        torch.testing.assert_close(ours(**inputs).logits, expected, atol=1e-5, rtol=0)
        for _, layer in adapted(ours):
            layer.unmerge()
        torch.testing.assert_close(ours(**inputs).logits, expected, atol=1e-5, rtol=0)
        merge(ours)
        torch.testing.assert_close(ours(**inputs).logits, expected, atol=1e-5, rtol=0)
    other = case.make()
    inject_into(other, case.lora, profile_of(other))
    remove(other)
    assert other.state_dict().keys() == base.keys()
    assert all(torch.equal(tensor, base[name]) for name, tensor in other.state_dict().items())


def test_merging_an_adapted_embedding_leaves_the_tied_head_alone() -> None:
    model = tiny.llama()
    inject_into(model, LoraConfig(target_modules=("embed_tokens",)), profile_of(model))
    with torch.no_grad():
        for tensor in adapter.trained_tensors(model).values():
            tensor.add_(0.05)
        inputs = batch(model)
        expected = model(**inputs).logits
        merge(model)
        torch.testing.assert_close(model(**inputs).logits, expected, atol=1e-5, rtol=0)
    assert not model.config.tie_word_embeddings


@pytest.mark.parametrize("bias", ["none", "all"])
def test_loraplus_groups(bias: str) -> None:
    settings = {"target_modules": ["q_proj", "embed_tokens"], "loraplus_lr_ratio": 8.0}
    case = Case("loraplus", tiny.untied, settings)
    rates = groups_as_the_reference(case, {1e-3, 8e-3, 1e-6})
    settings = {"target_modules": ["query"], "loraplus_lr_ratio": 8.0, "bias": bias}
    settings |= {"modules_to_save": ["LayerNorm"], "use_dora": True}
    rates = groups_as_the_reference(Case("loraplus", tiny.bert, settings), {1e-3, 8e-3})
    assert {decay for _, decay in rates} == {0.1, 0.0}


def groups_as_the_reference(case: Case, expected_rates: set[float]) -> set[tuple[float, float]]:
    ours = case.make()
    inject_into(ours, case.lora, profile_of(ours))
    given = {"base_model": "x", "dataset": "y", "learning_rate": 1e-3, "weight_decay": 0.1}
    config = TrainConfig.parse(given | {"lora": case.lora.to_json()})
    theirs = reference_of(case)
    how = {"lr": 1e-3, "loraplus_lr_ratio": 8.0, "loraplus_weight_decay": 0.1}
    optimizer = create_loraplus_optimizer(theirs, torch.optim.AdamW, **how)
    expected = {
        reference_name(theirs, parameter): (group["lr"], group["weight_decay"])
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    names = {id(tensor): name for name, tensor in adapter.trained_tensors(ours).items()}
    found = {
        names[id(tensor)]: (group["lr"], group["weight_decay"])
        for group in parameter_groups(ours, config)
        for tensor in group["params"]
    }
    assert found == expected
    assert {rate for rate, _ in expected.values()} == expected_rates
    return set(expected.values())


@pytest.mark.parametrize("method", ["full", "galore"])
def test_what_decays_in_full_fine_tuning_is_what_decays_in_transformers(method: str) -> None:
    for make in (tiny.llama, tiny.bert, tiny.gpt2):
        model = make()
        inject_into(model, LoraConfig(method=method), profile_of(model))
        given = {"base_model": "x", "dataset": "y", "weight_decay": 0.1, "lora": {"method": method}}
        groups = make_optimizer(model, TrainConfig.parse(given)).param_groups
        found = {id(p) for group in groups if group["weight_decay"] for p in group["params"]}
        expected = Trainer.get_decay_parameter_names(None, model)  # type: ignore[arg-type]
        names = {name for name, parameter in model.named_parameters() if id(parameter) in found}
        assert names == set(expected) & {name for name, _ in model.named_parameters()}


def reference_name(theirs: Any, parameter: torch.Tensor) -> str:
    return next(n for n, p in reference_tensors(theirs).items() if p is parameter)


@pytest.mark.parametrize("start", ["pissa", "pissa_niter_8"])
@pytest.mark.parametrize("rslora", [False, True])
def test_pissa(start: str, rslora: bool, tmp_path: Path) -> None:
    """The first output is the base's, training goes as in the reference, and what is saved is a
    plain adapter for the untouched base."""
    settings = {
        "target_modules": QV, "init_lora_weights": start, "use_rslora": rslora,
        "rank_pattern": {} if rslora else {"v_proj": 2},
    }  # fmt: skip
    case = Case("pissa", tiny.llama, settings, {"init_lora_weights": "pissa"})
    ours, theirs = case.make(), reference_of(case)
    inputs = batch(ours)
    with torch.no_grad():
        base = ours(**inputs).logits
        inject_into(ours, case.lora, profile_of(ours))
        torch.testing.assert_close(ours(**inputs).logits, base, atol=1e-4, rtol=0)
    if start == "pissa":
        for name, tensor in adapter.trained_tensors(ours).items():
            torch.testing.assert_close(tensor, reference_tensors(theirs)[name], atol=1e-5, rtol=0)
        found, expected = (losses_of_steps(model, inputs) for model in (ours, theirs))
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)
    else:
        losses_of_steps(ours, inputs)
    with torch.no_grad():
        expected_logits = ours.eval()(**inputs).logits
        read = peft.PeftModel.from_pretrained(case.make(), saved(ours, case, tmp_path))
        torch.testing.assert_close(read.eval()(**inputs).logits, expected_logits, atol=1e-4, rtol=0)
        again: PreTrainedModel = case.make()
        adapter.attach(again, adapter.read(tmp_path))
        torch.testing.assert_close(again(**inputs).logits, expected_logits, atol=1e-4, rtol=0)


def test_orthogonal_and_gaussian_starts_change_nothing() -> None:
    for start in ("orthogonal", "gaussian"):
        model = tiny.llama()
        with torch.no_grad():
            before = model(**batch(model)).logits
            lora = LoraConfig.parse({"r": 4, "init_lora_weights": start})
            inject_into(model, lora, profile_of(model))
            torch.testing.assert_close(model(**batch(model)).logits, before, atol=1e-5, rtol=0)
        _, layer = next(iter(adapted(model)))
        assert layer.low_rank.lora_A.any()
        assert bool(layer.low_rank.lora_B.any()) is (start == "orthogonal")


@pytest.mark.filterwarnings("ignore:Setting `save_embedding_layers`")
@pytest.mark.parametrize(
    "settings",
    [
        {"target_modules": ["q_proj", "embed_tokens", "lm_head"]},
        {"target_modules": QV, "modules_to_save": ["embed_tokens"]},
    ],
)
def test_a_head_that_the_reference_ties_to_the_embedding_is_read(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    path = make_peft(tmp_path / "theirs", tiny.llama, ensure_weight_tying=True, **settings)
    theirs = peft.PeftModel.from_pretrained(tiny.llama(), path).eval()
    ours = tiny.llama()
    adapter.attach(ours, adapter.read(path))
    inputs = batch(ours)
    with torch.no_grad():
        expected, plain = theirs(**inputs).logits, tiny.llama().eval()(**inputs).logits
        torch.testing.assert_close(ours.eval()(**inputs).logits, expected, atol=1e-5, rtol=0)
    assert not torch.allclose(expected, plain, atol=0.1)
