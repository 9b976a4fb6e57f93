"""Turn an adapter into a full model that needs no adapter, and check that it answers the same."""

import gc
import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn
from transformers import GenerationConfig

from lora_engine import adapter as adapter_files
from lora_engine import catalog
from lora_engine.data.chat import ChatFormat
from lora_engine.derived import check_free
from lora_engine.errors import AdapterError, SettingsError
from lora_engine.folders import most_positions, read_config, tensor_formats, weight_files
from lora_engine.lora.inject import merge
from lora_engine.model import load_base, load_tokenizer
from lora_engine.progress import Progress, Report
from lora_engine.tasks.base import Words
from lora_engine.tasks.registry import TASKS

SIZE = re.compile(r"(\d+(?:\.\d+)?)[KMG]i?B", re.IGNORECASE)
PROMPTS = (
    "The lighthouse keeper looked at the sea and said:",
    "Question: what is seven times eight?\nAnswer:",
    "def average(numbers):\n    return sum(numbers)",
)
LONGEST_PROMPT = 64
TOLERANCE = {torch.float32: 1e-3, torch.float16: 2e-2, torch.bfloat16: 1e-1}
"""Largest difference of logits that rounding explains, as a share of the largest logit."""
ROUNDED = "In {dtype} rounding changes about as much as the adapter does; float32 keeps all of it."
GENERATION = "generation_config.json"


@dataclass(frozen=True)
class Form:
    """How a full model is written."""

    dtype: Literal["base", "float32", "bfloat16"] = "base"
    """Of the weights; ``base``: as the base model's files are."""
    max_shard_size: str = "5GB"
    """The largest safetensors file."""


AS_THE_BASE = Form()


class MergeReport(BaseModel):
    """What was written, and how near its answers are to base and adapter apart."""

    model_config = ConfigDict(frozen=True)

    folder: str
    dtype: str
    shards: int
    """Safetensors files."""
    mb: float
    """Their size, in MB of 10**6 bytes."""
    difference: float
    """Largest difference of a logit, merged or apart, as a share of the largest logit."""
    tolerance: float
    """What ``difference`` may be with this dtype."""
    adapter_change: float = 0.0
    """The same measure between the base and the adapter: what the adapter changes at all."""
    sentence: str
    note: str = ""
    """What to mind; empty where there is nothing."""


def export_merged(
    path: Path,
    out: Path,
    *,
    home: Path,
    report: Report,
    base_model: str | None = None,
    form: Form = AS_THE_BASE,
) -> MergeReport:
    """Write base and adapter, merged, as one model folder that transformers and vLLM load.

    Sharded safetensors, config, tokenizer with its chat template, generation config. Weights are
    merged in float32 and kept in the dtype of ``form``. Then the folder is loaded anew and its
    logits on three prompts compared with those of base and adapter apart; a folder that answers
    differently is not kept. Needs the memory of one model, in float32 where the dtype is another
    than the base's.

    Raises:
        WorkbenchError: the adapter or its base cannot be used, ``out`` has something in it, or
            the merged model answers differently.
    """
    check_free(out)
    _check_size(form.max_shard_size)
    adapter = adapter_files.read(path)
    base_model = base_model or adapter.settings.base_model_name(path)
    folder = catalog.resolve(base_model, home, report).path
    config = read_config(folder)
    words = Words(load_tokenizer(folder), most_positions(config), config)
    name = adapter.settings.task
    task = TASKS[name].of_adapter(name, adapter, folder)
    stored = stored_dtype(folder)
    kept = stored if form.dtype == "base" else getattr(torch, form.dtype)
    report(Progress(phase="preparing", message="Loading the model"))
    load_as = kept if kept == stored else torch.float32
    model: Any = task.load(folder, torch.device("cpu"), load_as, words)
    before = _logits(model, words)
    adapter_files.attach(model, adapter)
    apart = _logits(model.eval(), words)

    report(Progress(phase="saving", message="Merging and saving"))
    merge(model)
    with _unfinished(out) as made:
        _save(model.to(kept), folder, made, form.max_shard_size)
        if name == "chat":
            _end_as_learned(made, words.tokenizer)
        words.tokenizer.save_pretrained(made)
        del model
        gc.collect()
        report(Progress(phase="evaluating", message="Checking the answers"))
        together = _logits(load_base(made, torch.device("cpu"), kept, task=name), words)
        found = _report(out, weight_files(made), kept, _apart(together, apart))
    change = _apart(before, apart)
    note = ROUNDED.format(dtype=found.dtype) if change < 2 * found.difference else ""
    return found.model_copy(update={"adapter_change": change, "note": note})


def stored_dtype(folder: Path) -> torch.dtype:
    """The dtype in which a model folder keeps most of its weights; float32 for one that is none
    of float32, float16 and bfloat16.
    """
    sizes: dict[str, int] = {}
    for kind, size in tensor_formats(folder).values():
        sizes[kind] = sizes.get(kind, 0) + size
    most = max(sizes, key=lambda kind: sizes[kind], default="F32")
    return {"F16": torch.float16, "BF16": torch.bfloat16}.get(most, torch.float32)


@contextmanager
def _unfinished(out: Path) -> Iterator[Path]:
    """A folder beside ``out`` that takes its place when all has gone well."""
    made = out.with_name(f".{out.name}.part")
    shutil.rmtree(made, ignore_errors=True)
    try:
        yield made
        if out.exists():
            out.rmdir()
        made.rename(out)
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _check_size(size: str) -> None:
    """Raise SettingsError where ``size`` is no size of a file."""
    found = SIZE.fullmatch(size)
    if found is None or not float(found.group(1)):
        raise SettingsError("max_shard_size", f"{size!r} is no size; write one like 500MB or 5GB.")


def _save(model: Any, base: Path, folder: Path, max_shard_size: str) -> None:
    own = base / GENERATION
    if own.is_file() and model.can_generate():
        model.generation_config = GenerationConfig()  # the base's own file follows, as it is
    model.save_pretrained(folder, max_shard_size=max_shard_size)
    if own.is_file():
        shutil.copyfile(own, folder / GENERATION)


def _end_as_learned(folder: Path, tokenizer: Any) -> None:
    """Let ``generate`` stop where chat answers were taught to end; base models may know nothing
    of the end that their own template writes."""
    chat = ChatFormat(tokenizer)
    tokenizer.chat_template = tokenizer.chat_template or chat.template
    file = folder / GENERATION
    end = chat.end_of_answer()
    if end is None or not file.is_file():
        return
    said = json.loads(file.read_text(encoding="utf-8"))
    known = said.get("eos_token_id")
    ids = known if isinstance(known, list) else [] if known is None else [known]
    learned = tokenizer.convert_tokens_to_ids(end)
    if learned not in ids:
        said["eos_token_id"] = [*ids, learned]
        file.write_text(json.dumps(said, indent=2) + "\n", encoding="utf-8")


@torch.no_grad()
def _logits(model: nn.Module, words: Words) -> Tensor:
    """The logits for ``PROMPTS``, one after another: positions (or prompts) × outputs, float32."""
    found = []
    for prompt in PROMPTS:
        ids = words.tokenizer(prompt).input_ids[: min(LONGEST_PROMPT, words.max_length)]
        inputs = {"input_ids": torch.tensor([ids])}
        if model.config.is_encoder_decoder:  # type: ignore[union-attr]
            inputs["labels"] = inputs["input_ids"]  # from which it makes the decoder's inputs
        logits = model(**inputs).logits.float()
        found.append(logits.reshape(-1, logits.shape[-1]))
    return torch.cat(found)


def _apart(one: Tensor, other: Tensor) -> float:
    """The largest difference as a share of the largest logit; infinite where shapes differ."""
    if one.shape != other.shape:
        return float("inf")
    return float((one - other).abs().max() / other.abs().max())


def _report(folder: Path, shards: list[Path], dtype: torch.dtype, difference: float) -> MergeReport:
    """Raises AdapterError where the difference is more than rounding."""
    if not difference <= TOLERANCE[dtype]:
        raise AdapterError(
            f"The merged model answers differently from base and adapter (by {difference:.1%} of "
            f"the largest logit; {TOLERANCE[dtype]:.1%} can be rounding), so it was not kept."
        )
    mb = sum(file.stat().st_size for file in shards) / 1e6
    name = str(dtype).removeprefix("torch.")
    return MergeReport(
        folder=str(folder),
        dtype=name,
        shards=len(shards),
        mb=mb,
        difference=difference,
        tolerance=TOLERANCE[dtype],
        sentence=f"A whole model of {mb:,.0f} MB ({name}). It was loaded and asked, and answers as "
        f"base and adapter do together, up to rounding ({difference:.0e} of the largest logit).",
    )
