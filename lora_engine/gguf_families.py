"""How llama.cpp lays out each model family: its name there, and the order of fused or turned rows.

Read from llama.cpp's own sources (conversion/*.py, src/llama-adapter.cpp, src/llama-graph.cpp of
September 2026) and checked there: each family's logits with an adapter on every layer are ours.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gguf
import torch
from torch import Tensor

from lora_engine.errors import ModelError

ADAPTABLE = re.compile(r"blk\.\d+\.(attn_(q|k|v|qkv|output)|ffn_(gate|up|down))|output|token_embd")
"""The tensors to which llama.cpp applies an adapter in every family listed here."""

RowOrder = Callable[[Any, str, int], Tensor | None]
"""(transformers config, module path, rows) → row i of llama.cpp's tensor is this row of ours;
None where the order is the same."""


@dataclass(frozen=True)
class Family:
    """A model class of transformers as llama.cpp knows it."""

    arch: gguf.MODEL_ARCH
    order: RowOrder = lambda _config, _path, _rows: None
    prefix: str = ""
    """What llama.cpp's name map leaves away at the start of a path."""

    @property
    def name(self) -> str:
        """``general.architecture``."""
        return gguf.MODEL_ARCH_NAMES[self.arch]

    def tensor_name(self, path: str, layers: int) -> str | None:
        """llama.cpp's name for the weight of the module at ``path``, such as
        ``blk.0.attn_q.weight``; None where it applies no adapter to it."""
        found = gguf.get_tensor_name_map(self.arch, layers).get_name(path.removeprefix(self.prefix))
        return f"{found}.weight" if found and ADAPTABLE.fullmatch(found) else None


def _turned_heads(config: Any, path: str, rows: int) -> Tensor | None:
    """Llama rotates neighbouring rows in llama.cpp, the two halves of a head in transformers:
    query and key rows h·d + half·d/2 + i go to h·d + 2i + half."""
    heads = {
        "q_proj": config.num_attention_heads,
        "k_proj": config.num_key_value_heads or config.num_attention_heads,
    }.get(path.rpartition(".")[2])
    if heads is None:
        return None
    return torch.arange(rows).view(heads, 2, -1).transpose(1, 2).flatten()


def _heads_apart(config: Any, path: str, rows: int) -> Tensor | None:
    """Bloom and GPT-NeoX hold query, key and value head by head; llama.cpp all queries first."""
    if not path.endswith("query_key_value"):
        return None
    return torch.arange(rows).view(config.num_attention_heads, 3, -1).transpose(0, 1).flatten()


def _groups_apart(config: Any, path: str, rows: int) -> Tensor | None:
    """Falcon holds groups of queries with their one key and value; llama.cpp all queries first."""
    if not path.endswith("query_key_value"):
        return None
    if not (config.new_decoder_architecture or config.multi_query):
        raise ModelError("llama.cpp does not run Falcon models without shared keys and values.")
    groups = config.num_kv_heads if config.new_decoder_architecture else 1
    per_group = config.num_attention_heads // groups + 2
    order = torch.arange(rows).view(groups, per_group, -1)
    return torch.cat([order[:, :-2].flatten(), order[:, -2].flatten(), order[:, -1].flatten()])


FAMILIES: dict[str, Family] = {
    "LlamaForCausalLM": Family(gguf.MODEL_ARCH.LLAMA, _turned_heads),
    "MistralForCausalLM": Family(gguf.MODEL_ARCH.LLAMA, _turned_heads),
    "MixtralForCausalLM": Family(gguf.MODEL_ARCH.LLAMA, _turned_heads),
    "Qwen2ForCausalLM": Family(gguf.MODEL_ARCH.QWEN2),
    "Qwen3ForCausalLM": Family(gguf.MODEL_ARCH.QWEN3),
    "Qwen2MoeForCausalLM": Family(gguf.MODEL_ARCH.QWEN2MOE),
    "Qwen3MoeForCausalLM": Family(gguf.MODEL_ARCH.QWEN3MOE),
    "GemmaForCausalLM": Family(gguf.MODEL_ARCH.GEMMA),
    "Gemma2ForCausalLM": Family(gguf.MODEL_ARCH.GEMMA2),
    "Gemma3ForCausalLM": Family(gguf.MODEL_ARCH.GEMMA3),
    "PhiForCausalLM": Family(gguf.MODEL_ARCH.PHI2),
    "Phi3ForCausalLM": Family(gguf.MODEL_ARCH.PHI3),
    "Glm4ForCausalLM": Family(gguf.MODEL_ARCH.GLM4),
    "GPT2LMHeadModel": Family(gguf.MODEL_ARCH.GPT2),
    "GPTNeoXForCausalLM": Family(gguf.MODEL_ARCH.GPTNEOX, _heads_apart),
    "BloomForCausalLM": Family(gguf.MODEL_ARCH.BLOOM, _heads_apart, "transformer."),
    "FalconForCausalLM": Family(gguf.MODEL_ARCH.FALCON, _groups_apart),
}
"""Model classes whose adapters llama.cpp runs as we do."""
