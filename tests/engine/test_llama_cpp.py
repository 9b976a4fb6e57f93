"""llama.cpp itself, where its Python package is installed, answers with our GGUF as we do."""

import ctypes
from pathlib import Path
from typing import Any

import gguf
import pytest
import torch
from transformers import PreTrainedModel

from lora_engine import adapter as adapter_files
from lora_engine.gguf_export import export_gguf
from tests import tiny
from tests.engine.adapters import make
from tests.engine.test_gguf import LLAMA, our_row

llama_cpp = pytest.importorskip("llama_cpp")
IDS = torch.randint(2, tiny.VOCABULARY, (24,), generator=torch.Generator().manual_seed(4)).tolist()


def test_logits_with_an_adapter_on_every_layer(tmp_path: Path) -> None:
    model = tiny.untied()
    with torch.no_grad():  # larger weights, so that attention and rotation matter
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.copy_(torch.randn(parameter.shape) * 0.15)
    model.save_pretrained(tmp_path / "base")
    write_base(tmp_path / "base.gguf", model)
    targets = [name.rpartition(".")[2] for name in LLAMA]
    path = make(
        tmp_path / "adapter", model, str(tmp_path / "base"), size=0.3, use_rslora=True,
        target_modules=[*targets, "embed_tokens", "lm_head"],
    )  # fmt: skip
    export_gguf(path, tmp_path / "adapter.gguf", home=tmp_path)
    again = type(model).from_pretrained(tmp_path / "base").eval()
    with torch.no_grad():
        before = again(torch.tensor([IDS])).logits[0]
        adapter_files.attach(again, adapter_files.read(path))
        after = again(torch.tensor([IDS])).logits[0]
    assert (after - before).abs().max() > 1
    found = logits(tmp_path / "base.gguf", None)
    torch.testing.assert_close(found, before, atol=1e-3, rtol=0)
    found = logits(tmp_path / "base.gguf", tmp_path / "adapter.gguf")
    torch.testing.assert_close(found, after, atol=1e-3, rtol=0)


def write_base(file: Path, model: PreTrainedModel) -> None:
    """A tiny Llama as llama.cpp reads it, without a vocabulary."""
    config = model.config
    writer = gguf.GGUFWriter(file, "llama")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_dimension_count(config.hidden_size // config.num_attention_heads)
    writer.add_vocab_size(config.vocab_size)
    writer.add_tokenizer_model("none")
    names = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
    for layer in range(config.num_hidden_layers):
        ours, theirs = f"model.layers.{layer}.", f"blk.{layer}."
        names |= {ours + name: theirs + to for name, to in LLAMA.items()}
        names[f"{ours}input_layernorm"] = f"{theirs}attn_norm"
        names[f"{ours}post_attention_layernorm"] = f"{theirs}ffn_norm"
    for ours, theirs in names.items():
        weight = model.get_parameter(f"{ours}.weight").detach()
        rows = [our_row("llama", theirs.rpartition(".")[2], row) for row in range(len(weight))]
        writer.add_tensor(f"{theirs}.weight", weight[rows].numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def logits(base: Path, adapter: Path | None) -> torch.Tensor:
    """llama.cpp's logits (tokens × vocabulary), float32 on the CPU."""
    lib: Any = llama_cpp
    settings = lib.llama_model_default_params()
    settings.n_gpu_layers = 0
    model = lib.llama_model_load_from_file(str(base).encode(), settings)
    assert model
    choices = lib.llama_context_default_params()
    choices.n_ctx = choices.n_batch = choices.n_ubatch = 64
    choices.type_k = choices.type_v = gguf.GGMLQuantizationType.F32
    choices.flash_attn_type = 0
    context = lib.llama_init_from_model(model, choices)
    assert context
    if adapter is not None:
        loaded = lib.llama_adapter_lora_init(model, str(adapter).encode())
        assert loaded, "llama.cpp refuses the adapter"
        one, full = (lib.llama_adapter_lora_p_ctypes * 1)(loaded), (ctypes.c_float * 1)(1.0)
        assert lib.llama_set_adapters_lora(context, one, 1, full) == 0
    batch = lib.llama_batch_init(len(IDS), 0, 1)
    batch.n_tokens = len(IDS)
    for place, token in enumerate(IDS):
        batch.token[place], batch.pos[place] = token, place
        batch.n_seq_id[place], batch.seq_id[place][0] = 1, 0
        batch.logits[place] = 1
    assert lib.llama_decode(context, batch) == 0
    values = lib.llama_get_logits(context)[: len(IDS) * tiny.VOCABULARY]
    lib.llama_batch_free(batch)
    lib.llama_free(context)
    lib.llama_model_free(model)
    return torch.tensor(values).view(len(IDS), tiny.VOCABULARY)
