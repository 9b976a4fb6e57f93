"""GGUF adapters: what llama.cpp's loader expects, by the file's own reader."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from gguf import GGMLQuantizationType, GGUFReader
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel

from lora_engine import adapter as adapter_files
from lora_engine.__main__ import main
from lora_engine.errors import AdapterError, WorkbenchError
from lora_engine.gguf_export import export_gguf
from lora_engine.gguf_families import FAMILIES
from lora_engine.inspection import profile_model
from tests import tiny
from tests.engine.adapters import delta_weights, make, make_peft
from tests.parity import test_families as families

HEADS, GROUPS, WIDTH = 4, 2, 16
"""Query heads, key heads and numbers a head of the tiny models."""
BLOCK = "model.layers.{}."
LLAMA = {
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}  # fmt: skip
ATTENTION = {name: to for name, to in LLAMA.items() if "attn" in name}
FUSED_MLP = {"mlp.gate_up_proj": "ffn_up", "mlp.down_proj": "ffn_down"}
FUSED = {"attention.query_key_value": "attn_qkv", "attention.dense": "attn_output",
         "mlp.dense_h_to_4h": "ffn_up", "mlp.dense_4h_to_h": "ffn_down"}  # fmt: skip
BY_SELF = {name.replace("attention", "self_attention"): to for name, to in FUSED.items()}
NAMES: dict[str, tuple[str, str, dict[str, str]]] = {
    "llama": ("llama", BLOCK, LLAMA),
    "mistral": ("llama", BLOCK, LLAMA),
    "mixtral": ("llama", BLOCK, ATTENTION),
    "qwen2": ("qwen2", BLOCK, LLAMA),
    "qwen3": ("qwen3", BLOCK, LLAMA),
    "qwen2_moe": ("qwen2moe", BLOCK, ATTENTION),
    "qwen3_moe": ("qwen3moe", BLOCK, ATTENTION),
    "gemma": ("gemma", BLOCK, LLAMA),
    "gemma2": ("gemma2", BLOCK, LLAMA),
    "gemma3_text": ("gemma3", BLOCK, LLAMA),
    "phi": ("phi2", BLOCK, {
        "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
        "self_attn.dense": "attn_output", "mlp.fc1": "ffn_up", "mlp.fc2": "ffn_down"}),
    "phi3": ("phi3", BLOCK, {
        "self_attn.qkv_proj": "attn_qkv", "self_attn.o_proj": "attn_output", **FUSED_MLP}),
    "glm4": ("glm4", BLOCK, {**ATTENTION, **FUSED_MLP}),
    "gpt2": ("gpt2", "transformer.h.{}.", {
        "attn.c_attn": "attn_qkv", "attn.c_proj": "attn_output", "mlp.c_fc": "ffn_up",
        "mlp.c_proj": "ffn_down"}),
    "gpt_neox": ("gptneox", "gpt_neox.layers.{}.", FUSED),
    "bloom": ("bloom", "transformer.h.{}.", BY_SELF),
    "falcon": ("falcon", "transformer.h.{}.", BY_SELF),
}  # fmt: skip
"""Family → llama.cpp's name, where its layers lie, and each layer's name there."""


def build(family: str) -> PreTrainedModel:
    if family == "gpt2":
        return tiny.gpt2()
    changes = {"gemma3_text": {"head_dim": 16}, "falcon": {
        "bias": False, "new_decoder_architecture": True, "num_kv_heads": GROUPS}}  # fmt: skip
    known = families.FAMILIES
    settings = changes.get(family) or known[family][0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(known, family, (settings, ()))
        return families.make(family)


def our_row(family: str, name: str, row: int) -> int:
    """Which of our rows llama.cpp's row is, by its place in head, half and part."""
    head, place = divmod(row, WIDTH)
    if family in ("llama", "mistral", "mixtral") and name in ("attn_q", "attn_k"):
        pair, half = divmod(place, 2)
        return head * WIDTH + half * WIDTH // 2 + pair
    if family in ("gpt_neox", "bloom") and name == "attn_qkv":
        part, head = divmod(head, HEADS)
        return (head * 3 + part) * WIDTH + place
    if family == "falcon" and name == "attn_qkv":
        shared = HEADS // GROUPS
        if head < HEADS:
            group, within = divmod(head, shared)
        else:
            part, group = divmod(head - HEADS, GROUPS)
            within = shared + part
        return (group * (shared + 2) + within) * WIDTH + place
    return row


def read(file: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    reader = GGUFReader(file)
    tensors = {}
    for tensor in reader.tensors:
        assert tensor.tensor_type is GGMLQuantizationType.F32
        tensors[tensor.name] = torch.tensor(tensor.data.reshape(*reversed(tensor.shape.tolist())))
    return {name: field.contents() for name, field in reader.fields.items()}, tensors


def applied(fields: dict[str, Any], tensors: dict[str, torch.Tensor], name: str) -> torch.Tensor:
    """ΔW as llama.cpp applies it: alpha over the rows of A, times B·A."""
    a, b = tensors[f"{name}.lora_a"].double(), tensors[f"{name}.lora_b"].double()
    assert a.shape[0] == b.shape[1]
    return fields["adapter.lora.alpha"] / b.shape[1] * b @ a


def saved_base(folder: Path, model: PreTrainedModel) -> str:
    model.save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize("family", NAMES)
def test_names_shapes_and_what_it_adds(family: str, tmp_path: Path) -> None:
    model = build(family)
    base = saved_base(tmp_path / "base", model)
    architecture, block, layers = NAMES[family]
    targets = sorted({name.rpartition(".")[2] for name in layers})
    path = make(tmp_path / "adapter", model, base, target_modules=targets, lora_alpha=12)
    report = export_gguf(path, tmp_path / "out", home=tmp_path)
    fields, tensors = read(tmp_path / "out" / "adapter.gguf")
    assert fields["general.architecture"] == report.architecture == architecture
    assert (fields["general.type"], fields["adapter.type"]) == ("adapter", "lora")
    assert fields["adapter.lora.alpha"] == report.alpha == 12
    expected = delta_weights(adapter_files.read(path))
    assert len(tensors) == report.tensors == 2 * len(expected) == 4 * len(layers)
    for number in range(2):
        for ours, theirs in layers.items():
            name = f"blk.{number}.{theirs}.weight"
            full = expected[f"{block.format(number)}{ours}"]
            assert tensors[f"{name}.lora_a"].shape == (4, full.shape[1])
            assert tensors[f"{name}.lora_b"].shape == (full.shape[0], 4)
            turned = full[[our_row(family, theirs, row) for row in range(len(full))]]
            torch.testing.assert_close(applied(fields, tensors, name), turned, atol=1e-6, rtol=0)


def test_every_family_is_tested() -> None:
    assert {type(build(family)).__name__ for family in NAMES} == FAMILIES.keys()


def test_scalings_that_llama_cpp_does_not_know_are_folded_in(tmp_path: Path) -> None:
    """It scales by alpha / r of each tensor; rsLoRA and patterns must come out the same."""
    model = tiny.llama()
    base = saved_base(tmp_path / "base", model)
    path = make(
        tmp_path / "a", model, base, target_modules=["k_proj", "v_proj", "o_proj"],
        use_rslora=True, rank_pattern={"k_proj": 2}, alpha_pattern={"v_proj": 3},
    )  # fmt: skip
    export_gguf(path, tmp_path / "out.gguf", home=tmp_path)
    fields, tensors = read(tmp_path / "out.gguf")
    expected = delta_weights(adapter_files.read(path))
    for ours, theirs in (("k_proj", "attn_k"), ("v_proj", "attn_v"), ("o_proj", "attn_output")):
        full = expected[f"model.layers.1.self_attn.{ours}"]
        turned = full[[our_row("llama", theirs, row) for row in range(len(full))]]
        found = applied(fields, tensors, f"blk.1.{theirs}.weight")
        torch.testing.assert_close(found, turned, atol=1e-6, rtol=0)
    assert tensors["blk.0.attn_k.weight.lora_a"].shape[0] == 2


@pytest.mark.filterwarnings("ignore:Setting `save_embedding_layers`")
def test_an_embedding_and_a_head_of_the_reference(tmp_path: Path) -> None:
    base = saved_base(tmp_path / "base", tiny.untied())
    path = make_peft(tmp_path / "a", tiny.untied, target_modules=["embed_tokens", "lm_head"])
    export_gguf(path, tmp_path / "out.gguf", home=tmp_path, base_model=base)
    fields, tensors = read(tmp_path / "out.gguf")
    expected = delta_weights(adapter_files.read(path))
    assert tensors["token_embd.weight.lora_a"].shape == (tiny.VOCABULARY, 4)  # turned
    embedding = tensors["token_embd.weight.lora_b"] @ tensors["token_embd.weight.lora_a"].T
    scale = fields["adapter.lora.alpha"] / 4
    torch.testing.assert_close(
        scale * embedding.double(), expected["model.embed_tokens"], atol=1e-6, rtol=0
    )
    head = applied(fields, tensors, "output.weight")
    torch.testing.assert_close(head, expected["lm_head"], atol=1e-6, rtol=0)


def test_pissa_is_a_plain_adapter(tmp_path: Path) -> None:
    model = tiny.llama()
    base = saved_base(tmp_path / "base", model)
    path = make(tmp_path / "a", model, base, init_lora_weights="pissa", target_modules=["v_proj"])
    export_gguf(path, tmp_path / "out.gguf", home=tmp_path)
    fields, tensors = read(tmp_path / "out.gguf")
    full = delta_weights(adapter_files.read(path))["model.layers.0.self_attn.v_proj"]
    found = applied(fields, tensors, "blk.0.attn_v.weight")
    torch.testing.assert_close(found, full, atol=1e-6, rtol=0)


REFUSED: dict[str, tuple[Any, dict[str, Any], str]] = {
    "dora": (tiny.llama, {"use_dora": True}, "DoRA learns more than pairs"),
    "biases": (tiny.gpt2, {"target_modules": ["c_attn"], "bias": "all"}, "13 other tensors"),
    "saved module": (tiny.untied, {"modules_to_save": ["lm_head"]}, "such as lm_head.weight"),
    "tied embedding": (tiny.llama, {"target_modules": ["embed_tokens", "q_proj"]},
                       "no adapter on model.embed_tokens"),
    "tied head": (tiny.llama, {"target_modules": ["lm_head", "q_proj"]},
                  "no adapter on lm_head"),
    "family": (lambda: families.make("opt"), {}, "class OPTForCausalLM"),
    "positions": (tiny.gpt2, {"target_modules": ["wpe"]}, "no adapter on transformer.wpe"),
    "whole layers": (tiny.llama, {"method": "freeze"}, "trained the weights themselves"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused(case: str, tmp_path: Path) -> None:
    make_model, settings, said = REFUSED[case]
    model = make_model()
    base = saved_base(tmp_path / "base", model)
    path = make(tmp_path / "a", model, base, **settings)
    if case == "whole layers":
        training = {"base_model": base, "lora": {"method": "freeze"}}
        (path / "train_config.json").write_text(json.dumps(training))
    with pytest.raises(WorkbenchError, match="merged model instead") as refusal:
        export_gguf(path, tmp_path / "out", home=tmp_path)
    assert said in str(refusal.value)
    assert not (tmp_path / "out").exists()


def test_missing_pairs_are_told(tmp_path: Path) -> None:
    path = make(tmp_path / "a", tiny.llama())
    tensors = load_file(path / "adapter_model.safetensors")
    first = "base_model.model.model.layers.0.self_attn.q_proj"
    left = {name: tensor for name, tensor in tensors.items() if not name.startswith(first)}
    save_file(left, path / "adapter_model.safetensors")
    base = saved_base(tmp_path / "base", tiny.llama())
    with pytest.raises(AdapterError, match=r"layers\.0\.self_attn\.q_proj has no pair"):
        export_gguf(path, tmp_path / "out", home=tmp_path, base_model=base)


def test_wrong_base_is_told_with_every_layer(tmp_path: Path) -> None:
    path = make(tmp_path / "a", tiny.llama(), target_modules=["q_proj", "down_proj"])
    wide = saved_base(tmp_path / "base", tiny.llama(hidden_size=128))
    with pytest.raises(AdapterError) as refusal:
        export_gguf(path, tmp_path / "out", home=tmp_path, base_model=wide)
    assert "layers.0.self_attn.q_proj is 64×64, not 128×128" in str(refusal.value)
    assert "layers.1.mlp.down_proj is 64×96, not 128×96" in str(refusal.value)
    other = saved_base(tmp_path / "other", tiny.gpt2())
    with pytest.raises(AdapterError, match=r"q_proj is no layer of the model"):
        export_gguf(path, tmp_path / "out", home=tmp_path, base_model=other)


def test_command_line_and_modelfile(tmp_path: Path, model_folder: Path, capsys: Any) -> None:
    path = make(tmp_path / "a", tiny.llama(), str(model_folder))
    command = ["export", "--adapter", str(path), "--format", "gguf", "--json"]
    command += ["--out", str(tmp_path / "out" / "mine.gguf"), "--data-dir", str(tmp_path)]
    assert main(command) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["file"] == str(tmp_path / "out" / "mine.gguf")
    said = (tmp_path / "out" / "Modelfile").read_text(encoding="utf-8").splitlines()
    assert [line for line in said if not line.startswith("#")] == [
        f"FROM {model_folder}",
        "ADAPTER ./mine.gguf",
    ]
    assert main(command) == 1
    assert "is there already" in capsys.readouterr().err
    profile = profile_model(tiny.llama(), "x")
    assert found["tensors"] == 4 * len(profile.default_targets)
