"""Every decoder family: profile, counts, three training steps, saving, loading and merging."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.models.auto import CONFIG_MAPPING

from tests import tiny
from tests.parity.harness import Case, check_family, profile_of

COMMON = {
    "vocab_size": tiny.VOCABULARY,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "pad_token_id": 0,
    "bos_token_id": 0,
    "eos_token_id": 1,
}
FAMILIES: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "llama": ({}, ("q_proj", "v_proj")),
    "qwen2": ({}, ("q_proj", "v_proj")),
    "qwen3": ({"head_dim": 16}, ("q_proj", "v_proj")),
    "mistral": ({}, ("q_proj", "v_proj")),
    "gemma": ({"head_dim": 16}, ("q_proj", "v_proj")),
    "gemma2": ({"head_dim": 16}, ("q_proj", "v_proj")),
    "gemma3_text": ({"head_dim": 16}, ("q_proj", "v_proj")),
    "phi": ({}, ("q_proj", "v_proj")),
    "phi3": ({}, ("qkv_proj",)),
    "gpt2": ({"n_embd": 64, "n_layer": 2, "n_head": 4}, ("c_attn",)),
    "gpt_neox": ({}, ("query_key_value",)),
    "bloom": ({"n_layer": 2, "n_head": 4}, ("query_key_value",)),
    "falcon": ({"bias": True}, ("query_key_value",)),
    "opt": ({"ffn_dim": 96, "word_embed_proj_dim": 64}, ("q_proj", "v_proj")),
    "glm": ({"head_dim": 16}, ("q_proj", "v_proj")),
    "glm4": ({"head_dim": 16}, ("q_proj", "v_proj")),
    "qwen2_moe": (
        {"num_experts": 4, "moe_intermediate_size": 32, "shared_expert_intermediate_size": 32},
        ("q_proj", "v_proj"),
    ),
    "qwen3_moe": (
        {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32},
        ("q_proj", "v_proj"),
    ),
    "mixtral": ({"num_local_experts": 4}, ("q_proj", "v_proj")),
}
GPT2_DROPOUTS = ("attn_pdrop", "resid_pdrop", "embd_pdrop")
MIXTURES = {"qwen2_moe", "qwen3_moe", "mixtral"}


def make(family: str) -> PreTrainedModel:
    torch.manual_seed(0)
    config = CONFIG_MAPPING[family](**COMMON | FAMILIES[family][0])
    for name in ("attention_dropout", "hidden_dropout", "dropout", *GPT2_DROPOUTS):
        if hasattr(config, name):
            setattr(config, name, 0.0)
    model: PreTrainedModel = AutoModelForCausalLM.from_config(config).eval()
    return model


@pytest.mark.parametrize("family", FAMILIES)
def test_family(family: str, tmp_path: Path) -> None:
    profile = profile_of(make(family))
    assert profile.default_targets == FAMILIES[family][1]
    case = Case(family, lambda: make(family), {"target_modules": list(profile.default_targets)})
    check_family(case, tmp_path)


@pytest.mark.parametrize("family", FAMILIES)
def test_experts_held_as_one_tensor_are_not_offered_and_the_profile_says_why(family: str) -> None:
    profile = profile_of(make(family))
    stacked = [t for t in profile.tensors if len(t.shape) == 3 and "expert" in t.name]
    assert bool(stacked) is (family in MIXTURES)
    assert bool(profile.notes) is bool(stacked)
    offered = {path for group in profile.groups for path in group.paths}
    assert not any(t.name.rpartition(".")[0] in offered for t in stacked)
    if stacked:
        assert "stay as they are" in profile.notes[0]


LLAMA4 = {
    "head_dim": 16, "num_local_experts": 2, "intermediate_size_mlp": 96, "attention_chunk_size": 64,
}  # fmt: skip


@pytest.mark.parametrize(("family", "settings"), [("llama4_text", LLAMA4), ("phimoe", {})])
def test_a_router_that_is_a_linear_layer_by_name_only_is_not_offered(
    family: str, settings: dict[str, Any]
) -> None:
    model = AutoModelForCausalLM.from_config(CONFIG_MAPPING[family](**COMMON | settings))
    routers = [path for path, _ in model.named_modules() if path.endswith("router")]
    assert routers
    profile = profile_of(model)
    offered = {path for group in profile.groups for path in group.paths}
    assert offered.isdisjoint(routers)
    assert profile.default_targets == ("q_proj", "v_proj")
