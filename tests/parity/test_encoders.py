"""Classifiers of every family, and encoder-decoders: profile, counts, training, files, merging."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    PreTrainedModel,
)
from transformers.models.auto import CONFIG_MAPPING

from tests import tiny
from tests.parity.harness import Case, check_family, profile_of

COMMON = {
    "vocab_size": tiny.VOCABULARY,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 128,
    "pad_token_id": 0,
    "bos_token_id": 0,
    "eos_token_id": 1,
}
T5 = {
    "d_model": 64, "d_kv": 16, "d_ff": 96, "num_layers": 2, "num_heads": 4,
    "decoder_start_token_id": 0,
}  # fmt: skip
BART = {
    "d_model": 64, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4,
    "decoder_attention_heads": 4, "encoder_ffn_dim": 96, "decoder_ffn_dim": 96,
}  # fmt: skip
CLASSIFIERS: dict[str, tuple[dict[str, Any], tuple[str, ...], tuple[str, ...]]] = {
    "bert": ({}, ("query", "value"), ("classifier",)),
    "roberta": ({}, ("query", "value"), ("classifier",)),
    "xlm-roberta": ({}, ("query", "value"), ("classifier",)),
    "distilbert": (
        {"dim": 64, "hidden_dim": 96, "n_layers": 2, "n_heads": 4},
        ("q_lin", "v_lin"),
        ("pre_classifier", "classifier"),
    ),
    "deberta-v2": (
        {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_buckets": 16},
        ("query_proj", "value_proj"),
        ("pooler", "classifier"),
    ),
    "electra": ({"embedding_size": 64}, ("query", "value"), ("classifier",)),
    "albert": ({"embedding_size": 64}, ("query", "value"), ("classifier",)),
    "modernbert": ({"global_attn_every_n_layers": 2}, ("Wqkv",), ("classifier",)),
    "llama": ({}, ("q_proj", "v_proj"), ("score",)),
    "qwen2": ({"num_key_value_heads": 2}, ("q_proj", "v_proj"), ("score",)),
    "gpt2": ({"n_embd": 64, "n_layer": 2, "n_head": 4}, ("c_attn",), ("score",)),
    "bart": (BART, ("q_proj", "v_proj"), ("classification_head",)),
    "t5": (T5, ("q", "v"), ("classification_head",)),
}
REWRITERS = {"t5": (T5, ("q", "v")), "bart": (BART, ("q_proj", "v_proj"))}


def make(auto: Any, family: str, settings: dict[str, Any]) -> PreTrainedModel:
    """A tiny model of a family, without dropout."""
    torch.manual_seed(0)
    config = CONFIG_MAPPING[family](**COMMON | settings)
    for name in vars(config):
        if "drop" in name and isinstance(getattr(config, name), float):
            setattr(config, name, 0.0)
    model: PreTrainedModel = auto.from_config(config).eval()
    return model


@pytest.mark.parametrize("family", CLASSIFIERS)
def test_classifier(family: str, tmp_path: Path) -> None:
    settings, targets, head = CLASSIFIERS[family]

    def classifier() -> PreTrainedModel:
        return make(AutoModelForSequenceClassification, family, settings)

    profile = profile_of(classifier())
    assert (profile.task, profile.default_targets) == ("classification", targets)
    assert profile.always_saved == head
    saved = {"modules_to_save": list(head)}  # of some families the reference forgets a part
    check_family(Case(family, classifier, {"target_modules": list(targets)}, saved), tmp_path)


@pytest.mark.parametrize("family", REWRITERS)
def test_encoder_decoder(family: str, tmp_path: Path) -> None:
    settings, targets = REWRITERS[family]

    def rewriter() -> PreTrainedModel:
        return make(AutoModelForSeq2SeqLM, family, settings)

    profile = profile_of(rewriter())
    assert (profile.task, profile.default_targets) == ("seq2seq", targets)
    assert profile.always_saved == ()
    check_family(Case(family, rewriter, {"target_modules": list(targets)}), tmp_path)
