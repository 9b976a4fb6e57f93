"""Merged models: a whole folder whose answers are those of base and adapter apart."""

import json
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from safetensors import safe_open
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    GenerationConfig,
)

from lora_engine import adapter as adapter_files
from lora_engine import export
from lora_engine.__main__ import main
from lora_engine.errors import AdapterError
from lora_engine.export import Form, export_merged
from tests import tiny
from tests.engine.adapters import make, make_peft

CASES: dict[str, tuple[Any, dict[str, Any]]] = {
    "plain": (tiny.llama, {}),
    "dora": (tiny.llama, {"use_dora": True, "target_modules": ["q_proj", "down_proj"]}),
    "pissa": (tiny.llama, {"init_lora_weights": "pissa"}),
    "rslora, patterns": (tiny.llama, {"use_rslora": True, "rank_pattern": {"q_proj": 2}}),
    "biases": (tiny.gpt2, {"target_modules": ["c_attn", "c_fc"], "bias": "all"}),
    "tied embedding": (tiny.llama, {"target_modules": ["embed_tokens", "v_proj"]}),
    "saved tied embedding": (tiny.llama, {"modules_to_save": ["embed_tokens"]}),
    "saved head": (tiny.untied, {"modules_to_save": ["lm_head"]}),
    "adapted head": (tiny.untied, {"target_modules": ["lm_head", "q_proj"]}),
    "freeze": (tiny.llama, {"method": "freeze", "freeze_trainable_layers": 1}),
    "full": (tiny.llama, {"method": "full"}),
}
UNTIED = ("tied embedding", "saved tied embedding", "saved head", "adapted head")
cases = pytest.mark.parametrize("case", CASES)


def quiet(_: Any) -> None:
    """Nobody listens."""


def made(case: str, folder: Path) -> tuple[Path, Path]:
    """A base model's folder and an adapter on it."""
    build, settings = CASES[case]
    base = tiny.save_model_folder(folder / "base", build())
    path = make(folder / "adapter", build(), str(base), **settings)
    if "method" in settings:
        training = {"base_model": str(base), "lora": settings}
        (path / "train_config.json").write_text(json.dumps(training))
    return base, path


def logits(model: Any, **more: Any) -> torch.Tensor:
    ids = torch.arange(2, 40)[None]
    with torch.no_grad():
        found: torch.Tensor = model.eval()(input_ids=ids, **more).logits.float()
    return found


@cases
def test_answers_as_base_and_adapter_do(case: str, tmp_path: Path) -> None:
    base, path = made(case, tmp_path)
    out = tmp_path / "merged"
    report = export_merged(path, out, home=tmp_path, report=quiet)
    apart = AutoModelForCausalLM.from_pretrained(base)
    expected_base = logits(apart)
    adapter_files.attach(apart, adapter_files.read(path))
    merged = AutoModelForCausalLM.from_pretrained(out)
    torch.testing.assert_close(logits(merged), logits(apart), atol=1e-4, rtol=0)
    assert (logits(merged) - expected_base).abs().max() > 0.01
    assert report.difference < 1e-5
    assert report.adapter_change > 0.01
    assert (report.dtype, report.shards) == ("float32", 1)
    is_tied = merged.get_output_embeddings().weight is merged.get_input_embeddings().weight
    assert merged.config.tie_word_embeddings is is_tied is (case not in UNTIED)
    tokenizer = AutoTokenizer.from_pretrained(out)
    assert tokenizer.chat_template == tiny.CHATML
    assert (out / "generation_config.json").is_file()
    assert not list(tmp_path.glob(".*.part"))


@pytest.mark.filterwarnings("ignore:Setting `save_embedding_layers`")
def test_an_adapter_of_the_reference_merges_as_the_reference_merges_it(tmp_path: Path) -> None:
    base = tiny.save_model_folder(tmp_path / "base", tiny.untied())
    path = make_peft(
        tmp_path / "theirs", tiny.untied, target_modules=["q_proj", "embed_tokens"],
        use_dora=True, modules_to_save=["lm_head"],
    )  # fmt: skip
    export_merged(path, tmp_path / "merged", home=tmp_path, report=quiet, base_model=str(base))
    theirs = peft.PeftModel.from_pretrained(tiny.untied(), path).merge_and_unload()
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    torch.testing.assert_close(logits(merged), logits(theirs), atol=1e-4, rtol=0)


def test_a_classifier_keeps_its_head_and_labels(tmp_path: Path) -> None:
    base = tiny.save_model_folder(tmp_path / "base", tiny.bert())
    path = make(tmp_path / "adapter", tiny.bert(), str(base), target_modules=["query", "value"])
    (path / "task.json").write_text(
        json.dumps({"task": "classification", "labels": ["sea", "land"]})
    )
    export_merged(path, tmp_path / "merged", home=tmp_path, report=quiet)
    merged = AutoModelForSequenceClassification.from_pretrained(tmp_path / "merged")
    apart = tiny.bert()
    adapter_files.attach(apart, adapter_files.read(path))
    torch.testing.assert_close(logits(merged), logits(apart), atol=1e-4, rtol=0)
    assert merged.config.id2label == {0: "sea", 1: "land"}


def test_a_rewriting_model(tmp_path: Path) -> None:
    base = tiny.save_model_folder(tmp_path / "base", tiny.t5())
    path = make(tmp_path / "adapter", tiny.t5(), str(base), target_modules=["q", "v"])
    export_merged(path, tmp_path / "merged", home=tmp_path, report=quiet)
    merged = AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "merged")
    apart = tiny.t5()
    adapter_files.attach(apart, adapter_files.read(path))
    labels = torch.arange(5, 20)[None]
    found, expected = (logits(model, labels=labels) for model in (merged, apart))
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("stored", "asked", "kept"),
    [
        (torch.bfloat16, "base", torch.bfloat16),
        (torch.bfloat16, "float32", torch.float32),
        (torch.float32, "bfloat16", torch.bfloat16),
        (torch.float16, "base", torch.float16),
    ],
)
def test_dtype(stored: Any, asked: Any, kept: Any, tmp_path: Path) -> None:
    base = tiny.save_model_folder(tmp_path / "base", tiny.untied().to(stored))
    path = make(tmp_path / "adapter", tiny.untied(), str(base), modules_to_save=["lm_head"])
    report = export_merged(
        path, tmp_path / "merged", home=tmp_path, report=quiet, form=Form(dtype=asked)
    )
    assert report.dtype == str(kept).removeprefix("torch.")
    with safe_open(tmp_path / "merged" / "model.safetensors", "pt") as file:
        found = {file.get_tensor(name).dtype for name in file.keys()}  # noqa: SIM118
    assert found == {kept}
    assert json.loads((tmp_path / "merged" / "config.json").read_text())["dtype"] == report.dtype


def test_a_merged_chat_model_ends_where_its_template_does(tmp_path: Path) -> None:
    base, path = made("plain", tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(base)
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    for known in (0, [0, end], None):
        said = {"do_sample": True} | ({} if known is None else {"eos_token_id": known})
        (base / "generation_config.json").write_text(json.dumps(said))
        out = tmp_path / f"merged {known}"
        export_merged(path, out, home=tmp_path, report=quiet)
        found = json.loads((out / "generation_config.json").read_text())
        assert found == {"do_sample": True, "eos_token_id": [end] if known is None else [0, end]}


def test_shards_and_the_bases_own_generation_config(tmp_path: Path, capsys: Any) -> None:
    base, path = made("plain", tmp_path)
    said = {"temperature": 0.6, "do_sample": False, "top_p": 0.9, "eos_token_id": [1, 2]}
    (base / "generation_config.json").write_text(json.dumps(said))
    command = ["export", "--adapter", str(path), "--format", "merged", "--data-dir", str(tmp_path)]
    command += ["--out", str(tmp_path / "merged"), "--max-shard-size", "100KB", "--json"]
    assert main(command) == 0
    report = json.loads(capsys.readouterr().out)
    shards = sorted((tmp_path / "merged").glob("*.safetensors"))
    assert len(shards) == report["shards"] > 1
    assert all(shard.stat().st_size < 120_000 for shard in shards)
    assert (tmp_path / "merged" / "model.safetensors.index.json").is_file()
    assert json.loads((tmp_path / "merged" / "generation_config.json").read_text()) == said
    assert GenerationConfig.from_pretrained(tmp_path / "merged").eos_token_id == [1, 2]
    assert main(command) == 1
    assert "is not empty" in capsys.readouterr().err
    command[command.index("100KB")] = "huge"
    command[command.index(str(tmp_path / "merged"))] = str(tmp_path / "other")
    assert main(command) == 1
    assert "'huge' is no size" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()


def test_a_model_that_answers_differently_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lora_engine.lora.inject import remove

    _, path = made("plain", tmp_path)
    monkeypatch.setattr(export, "merge", remove)
    with pytest.raises(AdapterError, match="answers differently from base and adapter"):
        export_merged(path, tmp_path / "merged", home=tmp_path, report=quiet)
    assert {found.name for found in tmp_path.iterdir()} == {"base", "adapter"}


def test_an_adapter_that_drowns_in_rounding_is_told(tmp_path: Path) -> None:
    base = tiny.save_model_folder(tmp_path / "base", tiny.llama())
    path = make(tmp_path / "adapter", tiny.llama(), str(base), size=0.0003)
    kept = export_merged(path, tmp_path / "kept", home=tmp_path, report=quiet)
    assert kept.note == ""
    form = Form(dtype="bfloat16")
    rounded = export_merged(path, tmp_path / "rounded", home=tmp_path, report=quiet, form=form)
    assert "rounding changes about as much" in rounded.note
