"""Sequence to sequence with tiny T5 and BART: the reference's loss and answers, measured runs."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from transformers import (
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    BartConfig,
    BartForConditionalGeneration,
    M2M100Config,
    M2M100ForConditionalGeneration,
    PreTrainedModel,
)

from lora_engine import adapter as adapter_files
from lora_engine.compare import compare
from lora_engine.config import LoraConfig, TrainConfig
from lora_engine.data.examples import IGNORED
from lora_engine.export import export_merged
from lora_engine.fits import check_fit
from lora_engine.generate import Answers, Decoding, Row, Speaker
from lora_engine.inspection import profile_model
from lora_engine.lora.inject import inject
from lora_engine.predict import Order, predict
from lora_engine.rewriting_loss import PaddedPairs
from lora_engine.serve import Service
from lora_engine.train import TrainResult, train
from tests import tiny
from tests.engine.runs import FILES

PROMPTS = [[5, 9, 200, 31], [7, 7, 300, 12, 90, 41, 8, 2, 65], [250]]
WORDS = ("sea", "light", "user", "system", "what", "burns")


def bart() -> PreTrainedModel:
    torch.manual_seed(0)
    config = BartConfig(
        vocab_size=tiny.VOCABULARY, d_model=64, encoder_layers=2, decoder_layers=2,
        encoder_attention_heads=4, decoder_attention_heads=4, encoder_ffn_dim=96,
        decoder_ffn_dim=96, max_position_embeddings=128, dropout=0.0, pad_token_id=3,
        bos_token_id=2, eos_token_id=1, decoder_start_token_id=1, forced_bos_token_id=2,
        forced_eos_token_id=None,
    )  # fmt: skip
    return BartForConditionalGeneration(config).eval()


def m2m() -> PreTrainedModel:
    """The family of NLLB, which does not say how it shifts labels."""
    torch.manual_seed(0)
    config = M2M100Config(
        vocab_size=tiny.VOCABULARY, d_model=64, encoder_layers=2, decoder_layers=2,
        encoder_attention_heads=4, decoder_attention_heads=4, encoder_ffn_dim=96,
        decoder_ffn_dim=96, max_position_embeddings=128, dropout=0.0, attention_dropout=0.0,
        activation_dropout=0.0, encoder_layerdrop=0.0, decoder_layerdrop=0.0, pad_token_id=3,
        bos_token_id=0, eos_token_id=1, decoder_start_token_id=1,
    )  # fmt: skip
    return M2M100ForConditionalGeneration(config).eval()


MAKES = {
    "t5": (tiny.t5, ("q", "v")),
    "bart": (bart, ("q_proj", "v_proj")),
    "m2m": (m2m, ("q_proj", "v_proj")),
}


@pytest.fixture(scope="module", params=list(MAKES))
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def folder(family: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save_model_folder(tmp_path_factory.mktemp(family) / "model", MAKES[family][0]())


def test_the_loss_is_the_reference_loss_whatever_the_padding(family: str) -> None:
    model = MAKES[family][0]()
    generator = torch.Generator().manual_seed(1)

    def some(length: int) -> list[int]:
        return torch.randint(4, 300, (length,), generator=generator).tolist()

    examples = [{"input_ids": some(a), "labels": some(b)} for a, b in ((9, 4), (3, 7), (5, 2))]
    path = PaddedPairs(model, 3, 2)
    with torch.no_grad():
        found = sum(path.loss_sum(batch) for batch in path.batches(examples))
        expected = torch.zeros(())
        for example in examples:
            labels = torch.tensor([example["labels"]])
            loss = model(input_ids=torch.tensor([example["input_ids"]]), labels=labels).loss
            expected += loss * len(example["labels"])
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)
    assert path.learned(examples) == 13
    assert path.tokens(examples) == 30
    assert IGNORED not in [label for example in examples for label in example["labels"]]


def make_adapter(family: str, folder: Path, out: Path) -> adapter_files.Adapter:
    """An adapter that changes answers visibly."""
    model = AutoModelForSeq2SeqLM.from_pretrained(folder)
    lora = LoraConfig(r=4, target_modules=MAKES[family][1])
    profile = profile_model(model, str(folder))
    inject(model, lora, profile)
    torch.manual_seed(1)
    with torch.no_grad():
        for tensor in adapter_files.trained_tensors(model).values():
            tensor.add_(torch.randn_like(tensor) * 0.5)
    adapter_files.save(model, out, lora, profile, base_model=str(folder))
    return adapter_files.read(out)


def reference_answer(folder: Path, adapter: Path | None, prompt: list[int]) -> list[int]:
    model: Any = AutoModelForSeq2SeqLM.from_pretrained(folder)
    if adapter is not None:
        model = peft.PeftModel.from_pretrained(model, adapter)
    ids = torch.tensor([prompt])
    out = model.eval().generate(
        input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=16, do_sample=False,
        num_beams=1,
    )  # fmt: skip
    answer: list[int] = out[0, 1:].tolist()  # without the decoder's start
    return answer[: answer.index(1)] if 1 in answer else answer


def test_greedy_answers_side_by_side_are_the_reference_answers(
    family: str, folder: Path, tmp_path: Path
) -> None:
    adapter = make_adapter(family, folder, tmp_path)
    assert adapter.settings.task == "seq2seq"
    speaker = Speaker.load(folder, torch.device("cpu"))
    rows = [Row(PROMPTS[0]), Row(PROMPTS[0], adapter), Row(PROMPTS[1], adapter), Row(PROMPTS[2])]
    answers = speaker.answer(rows, Decoding(max_new_tokens=16))
    for row, tokens in zip(rows, answers.token_ids, strict=True):
        path = tmp_path if row.adapter else None
        assert tokens == reference_answer(folder, path, row.prompt_ids)
    assert answers.token_ids[0] != answers.token_ids[1]

    answer = [4, 8, 15, 16]
    found = speaker.divergence(Row(PROMPTS[0], adapter), answer)
    inputs = {"input_ids": torch.tensor([PROMPTS[0]]), "labels": torch.tensor([answer])}
    base: Any = AutoModelForSeq2SeqLM.from_pretrained(folder)
    theirs = peft.PeftModel.from_pretrained(AutoModelForSeq2SeqLM.from_pretrained(folder), tmp_path)
    with torch.no_grad():
        p = theirs.eval()(**inputs).logits[0].log_softmax(-1)
        q = base.eval()(**inputs).logits[0].log_softmax(-1)
    assert found == pytest.approx(float((p.exp() * (p - q)).sum(-1).mean()), rel=1e-4)
    assert speaker.divergence(Row(PROMPTS[0], adapter, 0.0), answer) == pytest.approx(0, abs=1e-7)


@pytest.fixture(scope="module")
def t5_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save_model_folder(tmp_path_factory.mktemp("t5") / "model", tiny.t5())


@pytest.fixture
def trained(t5_folder: Path, tmp_path: Path) -> TrainResult:
    """A run that learns to repeat a word; the test rows are among those it has seen."""
    data = tmp_path / "repeat.csv"
    rows = [(f"what {word} {other}", f"the {word}") for word in WORDS for other in WORDS]
    with data.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(("prompt", "completion"))
        table.writerows(rows)
    config = TrainConfig.parse(
        {
            "base_model": str(t5_folder), "dataset": str(data), "test_dataset": str(data),
            "epochs": 20, "batch_size": 6, "learning_rate": 0.02, "max_length": 32,
            "precision": "fp32", "lora": {"r": 16, "target_modules": "all-linear"},
        }
    )  # fmt: skip
    home = tmp_path / "home"
    return train(config, tmp_path / "out", lambda _: None, lambda: False, home=home, device="cpu")


def test_a_run_learns_measures_and_answers_as_the_reference(
    trained: TrainResult, t5_folder: Path, tmp_path: Path
) -> None:
    folder = t5_folder
    metrics = trained.metrics
    assert metrics["task"] == "seq2seq"
    assert metrics["eval_loss_after"] < metrics["eval_loss_before"] - 1
    test, validation = metrics["test"], metrics["validation"]
    assert (test["rows"], test["answered_rows"], validation["rows"]) == (36, 36, 4)
    assert test["exact_match"] > 0.3
    assert test["rouge_l"] > test["exact_match"]
    equal = [sample["answer"] == sample["expected"] for sample in test["samples"]]
    assert len(equal) == 20
    assert any(equal)
    assert {p.name for p in (tmp_path / "out" / "adapter").iterdir()} == FILES
    readme = (tmp_path / "out" / "adapter" / "README.md").read_text("utf-8")
    assert "AutoModelForSeq2SeqLM" in readme
    assert f"exact match {test['exact_match']:.1%}, ROUGE-L" in readme

    tokenizer = AutoTokenizer.from_pretrained(folder)
    sample = next(s for s in test["samples"] if s["answer"] == s["expected"])
    answers = compare(
        tmp_path / "out" / "adapter.zip", sample["source"], Decoding(max_new_tokens=16),
        home=tmp_path / "home",
    )  # fmt: skip
    assert answers["adapted"] == sample["expected"] != answers["base"]
    assert answers["divergence"] > 0.1
    prompt = tokenizer(sample["source"])["input_ids"]
    ids = reference_answer(folder, tmp_path / "out" / "adapter", prompt)
    assert tokenizer.decode(ids, skip_special_tokens=True) == answers["adapted"]

    out = io.StringIO()
    messages = [{"role": "user", "content": sample["source"]}]
    zipped = str(tmp_path / "out" / "adapter.zip")
    Service(tmp_path / "home", out, "cpu").handle(
        {
            "id": 1, "op": "answer", "base_model": str(folder), "divergence": True,
            "rows": [{"adapter": None, "messages": messages},
                     {"adapter": zipped, "messages": messages}],
            "options": {"max_new_tokens": 16},
        }
    )  # fmt: skip
    done = json.loads(out.getvalue().splitlines()[-1])
    assert done["texts"] == [answers["base"], answers["adapted"]]
    assert done["divergence"] == pytest.approx(answers["divergence"], rel=1e-4)


@pytest.mark.parametrize("family", MAKES)
def test_whole_weights_are_known_to_be_an_encoder_decoders(family: str, tmp_path: Path) -> None:
    """No file of PEFT's says so."""
    folder = tiny.save_model_folder(tmp_path / "model", MAKES[family][0]())
    data = tmp_path / "d.csv"
    data.write_text("prompt,completion\n" + "".join(f"what {w},the {w}\n" for w in WORDS))
    config = {
        "base_model": str(folder), "dataset": str(data), "max_steps": 2, "learning_rate": 0.01,
        "precision": "fp32", "lora": {"method": "full"},
    }  # fmt: skip
    home, out = tmp_path / "home", tmp_path / "out"
    train(TrainConfig.parse(config), out, lambda _: None, lambda: False, home=home, device="cpu")
    assert check_fit(out / "adapter.zip", None, home).task == "seq2seq"
    merged = export_merged(
        out / "adapter.zip", tmp_path / "merged", home=home, report=lambda _: None
    )
    assert merged.difference == 0
    assert merged.adapter_change > 0
    order = Order(data=str(data), out=tmp_path / "a.csv", decoding=Decoding(max_new_tokens=4))
    found = predict(out / "adapter.zip", order, home=home, report=lambda _: None, device="cpu")
    assert (found.task, found.rows) == ("seq2seq", len(WORDS))


@pytest.mark.usefixtures("trained")
def test_answers_may_be_as_long_as_what_is_expected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def answer(_: Speaker, rows: list[Row], decoding: Decoding, on_text: object) -> Answers:
        assert on_text, "or a stop would have to wait"
        asked.append(decoding.max_new_tokens)
        return Answers([""] * len(rows), [[]] * len(rows), 1.0)

    monkeypatch.setattr(Speaker, "answer", answer)
    long = tmp_path / "long.csv"
    long.write_text("prompt,completion\nwhat,the sea\nwho," + "the light " * 200 + "\n")
    settings = json.loads((tmp_path / "out" / "adapter" / "train_config.json").read_text())
    changed = {"test_dataset": str(long), "max_length": 512, "max_steps": 1}
    train(
        TrainConfig.parse(settings | changed), tmp_path / "again", lambda _: None, lambda: False,
        home=tmp_path / "home", device="cpu",
    )  # fmt: skip
    assert max(asked) > 200
    assert min(asked) == 128, "the validation share's are short"
