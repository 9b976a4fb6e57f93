"""Side-by-side answers: the same tokens as the reference, whatever else is in the batch."""

import itertools
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import torch.nn.functional as F
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM
from transformers.models.auto import CONFIG_MAPPING

from lora_engine import adapter as adapter_files
from lora_engine.adapter import Adapter
from lora_engine.config import LoraConfig
from lora_engine.errors import AdapterError, DataError, SettingsError
from lora_engine.generate import Decoding, Row, Speaker
from lora_engine.inspection import profile_model
from lora_engine.lora.inject import adapted, inject
from tests import tiny
from tests.engine.adapters import make

PROMPTS = [[5, 9, 200, 31], [7, 7, 300, 12, 90, 41, 8, 2, 65], [250]]


@pytest.fixture(scope="module", params=["llama", "gpt2"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    make = {"llama": tiny.llama, "gpt2": tiny.gpt2}[request.param]
    return tiny.save_model_folder(tmp_path_factory.mktemp(request.param), make())


@pytest.fixture(scope="module")
def speaker(folder: Path) -> Speaker:
    return Speaker.load(folder, torch.device("cpu"))


def make_adapter(folder: Path, out: Path, seed: int, bias: Any = "none") -> Adapter:
    """An adapter that changes answers visibly, saved and read again."""
    model = AutoModelForCausalLM.from_pretrained(folder)
    names = ("q_proj", "v_proj") if hasattr(model, "model") else ("c_attn",)
    lora = LoraConfig(r=4, bias=bias, target_modules=names)
    profile = profile_model(model, str(folder))
    inject(model, lora, profile)
    torch.manual_seed(seed)
    with torch.no_grad():
        for tensor in adapter_files.trained_tensors(model).values():
            tensor.add_(torch.randn_like(tensor) * 0.3)
    adapter_files.save(model, out, lora, profile, base_model=str(folder))
    return adapter_files.read(out)


def reference_answer(folder: Path, adapter: Path | None, prompt: list[int], new: int) -> list[int]:
    model = AutoModelForCausalLM.from_pretrained(folder)
    if adapter is not None:
        model = peft.PeftModel.from_pretrained(model, adapter)
    ids = torch.tensor([prompt])
    out = model.eval().generate(
        input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=new, do_sample=False
    )
    answer: list[int] = out[0, len(prompt) :].tolist()
    return answer[: answer.index(1)] if 1 in answer else answer


@pytest.mark.parametrize("bias", ["none", "lora_only", "all"])
def test_greedy_answers_are_the_reference_answers(
    folder: Path, speaker: Speaker, tmp_path: Path, bias: Any
) -> None:
    one = make_adapter(folder, tmp_path / "one", seed=1, bias=bias)
    two = make_adapter(folder, tmp_path / "two", seed=2)
    rows = [
        Row(PROMPTS[0]),
        Row(PROMPTS[0], one),
        Row(PROMPTS[1], two),
        Row(PROMPTS[2], one),
        Row(PROMPTS[1]),
    ]
    answers = speaker.answer(rows, Decoding(max_new_tokens=24))
    for row, tokens in zip(rows, answers.token_ids, strict=True):
        path = None if row.adapter is None else tmp_path / ("one" if row.adapter is one else "two")
        assert tokens == reference_answer(folder, path, row.prompt_ids, 24)
    assert answers.token_ids[0] != answers.token_ids[1]
    assert answers.cut == [len(tokens) == 24 for tokens in answers.token_ids]
    assert any(answers.cut)
    assert not answers.stopped


def test_base_is_untouched_by_adapters(folder: Path, speaker: Speaker, tmp_path: Path) -> None:
    before = {name: tensor.clone() for name, tensor in speaker.model.state_dict().items()}
    adapter = make_adapter(folder, tmp_path, seed=1, bias="all")
    speaker.answer([Row(PROMPTS[0], adapter)], Decoding(max_new_tokens=3))
    after = speaker.model.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert not list(adapted(speaker.model))


def test_a_whole_model_answers_beside_its_base(tmp_path: Path) -> None:
    """One after the other, each with its own weights: the head too, which is the embedding."""
    folder = tiny.save_model_folder(tmp_path / "model", tiny.llama())
    adapter = adapter_files.read(make(tmp_path / "full", tiny.llama(), str(folder), method="full"))
    speaker = Speaker.load(folder, torch.device("cpu"))
    pair = adapter_files.read(make(tmp_path / "pair", tiny.llama(), str(folder)))
    rows = [Row(PROMPTS[0]), Row(PROMPTS[0], adapter), Row(PROMPTS[1], pair)]
    together = speaker.answer(rows, Decoding(max_new_tokens=8))
    assert together.token_ids == [
        speaker.answer([row], Decoding(max_new_tokens=8)).token_ids[0] for row in rows
    ]
    trained = AutoModelForCausalLM.from_pretrained(folder).eval()
    with torch.no_grad():
        for name, tensor in adapter.tensors.items():
            trained.get_parameter(name).copy_(tensor)
        ids = torch.tensor([PROMPTS[0]])
        out = trained.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=8, do_sample=False
        )
        logits = [
            m(torch.tensor([PROMPTS[0] + [4, 8]])).logits[0, -3:].log_softmax(-1)
            for m in (AutoModelForCausalLM.from_pretrained(folder).eval(), trained)
        ]
    assert together.token_ids[1] == out[0, len(PROMPTS[0]) :].tolist()
    expected = F.kl_div(*logits, log_target=True, reduction="sum") / 3
    assert speaker.divergence(rows[1], [4, 8, 15]) == pytest.approx(float(expected), rel=1e-3)


def test_strength_zero_is_the_base(folder: Path, speaker: Speaker, tmp_path: Path) -> None:
    adapter = make_adapter(folder, tmp_path, seed=1)
    rows = [Row(PROMPTS[0]), Row(PROMPTS[0], adapter, 0.0), Row(PROMPTS[0], adapter, 0.5)]
    base, none, half = speaker.answer(rows, Decoding(max_new_tokens=12)).token_ids
    assert none == base
    full = speaker.answer([Row(PROMPTS[0], adapter)], Decoding(max_new_tokens=12)).token_ids[0]
    assert len({tuple(base), tuple(half), tuple(full)}) > 1


def test_divergence_is_the_mean_kl_of_the_first_answer_tokens(
    folder: Path, speaker: Speaker, tmp_path: Path
) -> None:
    adapter = make_adapter(folder, tmp_path, seed=1)
    answer = [4, 8, 15, 16, 23, 42] * 8
    found = speaker.divergence(Row(PROMPTS[0], adapter), answer)
    base = AutoModelForCausalLM.from_pretrained(folder).eval()
    theirs = peft.PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(folder), tmp_path
    ).eval()
    ids = torch.tensor([PROMPTS[0] + answer[:31]])
    with torch.no_grad():
        p = theirs(ids).logits[0, len(PROMPTS[0]) - 1 :].log_softmax(-1)
        q = base(ids).logits[0, len(PROMPTS[0]) - 1 :].log_softmax(-1)
    assert p.shape[0] == 32
    expected = float((p.exp() * (p - q)).sum(-1).mean())
    assert found == pytest.approx(expected, rel=1e-4)
    assert expected > 0.001
    assert speaker.divergence(Row(PROMPTS[0], adapter, 0.0), answer) == pytest.approx(0, abs=1e-7)
    assert speaker.divergence(Row(PROMPTS[0], adapter), []) is None


def test_sampling_is_repeatable_and_the_same_for_equal_rows(speaker: Speaker) -> None:
    warm = Decoding(max_new_tokens=20, temperature=1.2, top_p=0.95, seed=3)
    rows = [Row(PROMPTS[0]), Row(PROMPTS[0])]
    first = speaker.answer(rows, warm).token_ids
    assert first[0] == first[1]
    assert speaker.answer(rows, warm).token_ids == first
    other = Decoding(max_new_tokens=20, temperature=1.2, top_p=0.95, seed=4)
    assert speaker.answer(rows, other).token_ids != first


def test_text_streams_and_stops(speaker: Speaker) -> None:
    seen: list[tuple[int, str]] = []
    answers = speaker.answer(
        [Row(PROMPTS[0]), Row(PROMPTS[1])],
        Decoding(max_new_tokens=200, temperature=1.0),
        on_text=lambda row, text: seen.append((row, text)),
        should_stop=lambda: len(seen) >= 6,
    )
    assert answers.stopped
    assert not any(answers.cut), "it was stopped before it was cut"
    assert {row for row, _ in seen} == {0, 1}
    for row in (0, 1):
        texts = [text for number, text in seen if number == row]
        assert all(a != b for a, b in itertools.pairwise(texts))
        assert answers.texts[row].startswith(texts[0])


def test_an_adapter_of_another_model_is_refused_with_every_tensor_named(
    speaker: Speaker, tmp_path: Path
) -> None:
    wide = tiny.save_model_folder(tmp_path / "wide", tiny.llama(hidden_size=128))
    adapter = make_adapter(wide, tmp_path / "adapter", seed=1)
    with pytest.raises(AdapterError) as refusal:
        speaker.answer([Row(PROMPTS[0], adapter)], Decoding(max_new_tokens=3))
    if hasattr(speaker.model, "model"):
        assert "layers.0.self_attn.q_proj.lora_A.weight is 4×128, not 4×64" in str(refusal.value)
        assert "layers.1.self_attn.v_proj.lora_B.weight" in str(refusal.value)
    else:
        assert "no module named 'q_proj'" in str(refusal.value)
    assert speaker.answer([Row(PROMPTS[0])], Decoding(max_new_tokens=3)).token_ids


@pytest.mark.parametrize("bad", [{"temperature": -1}, {"max_new_tokens": 0}, {"top_p": 0}])
def test_bad_decoding_is_a_sentence(bad: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match=next(iter(bad))):
        Decoding.parse(bad)


def test_an_answer_ends_where_the_chat_template_says(folder: Path) -> None:
    speaker = Speaker.load(folder, torch.device("cpu"))
    end = speaker.tokenizer.convert_tokens_to_ids("<|im_end|>")
    speaker.tokenizer.eos_token = "<|im_start|>"  # as base models have another end than their chats
    assert Speaker(speaker.model, speaker.tokenizer).stop_ids >= {1, end}


def test_a_model_without_a_cache_of_keys_gives_the_reference_answers(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = CONFIG_MAPPING["mamba"](
        vocab_size=tiny.VOCABULARY, hidden_size=32, state_size=8, num_hidden_layers=2,
        bos_token_id=0, eos_token_id=1, pad_token_id=0,
    )  # fmt: skip
    model = AutoModelForCausalLM.from_config(config).eval()
    folder = tiny.save_model_folder(tmp_path / "model", model)
    path = make(tmp_path / "a", model, str(folder), target_modules=["in_proj"], size=0.3)
    speaker = Speaker.load(folder, torch.device("cpu"))
    rows = [Row(PROMPTS[0]), Row(PROMPTS[1], adapter_files.read(path)), Row(PROMPTS[1])]
    found = speaker.answer(rows, Decoding(max_new_tokens=8)).token_ids
    assert found == [
        reference_answer(folder, path if row.adapter else None, row.prompt_ids, 8) for row in rows
    ]
    assert found[1] != found[2]
    assert speaker.divergence(rows[1], found[1]) > 0


OPT = {
    "vocab_size": tiny.VOCABULARY, "hidden_size": 32, "ffn_dim": 64, "num_hidden_layers": 2,
    "num_attention_heads": 2, "max_position_embeddings": 512, "word_embed_proj_dim": 32,
    "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 3,
}  # fmt: skip
BART = {
    "vocab_size": tiny.VOCABULARY, "d_model": 32, "encoder_layers": 1, "decoder_layers": 1,
    "encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64, "max_position_embeddings": 64, "pad_token_id": 3,
}  # fmt: skip


@pytest.mark.parametrize("family", ["gpt2", "opt"])
def test_an_answer_ends_at_the_last_position_of_the_model(family: str, tmp_path: Path) -> None:
    """Others of the batch go on, and nothing reaches beyond."""
    torch.manual_seed(0)
    config = CONFIG_MAPPING["opt"](**OPT)
    model = tiny.gpt2() if family == "gpt2" else AutoModelForCausalLM.from_config(config).eval()
    folder = tiny.save_model_folder(tmp_path / "model", model)
    speaker = Speaker.load(folder, torch.device("cpu"))
    speaker.stop_ids = set()
    prompts = [[7 + n % 300 for n in range(502)], PROMPTS[0]]
    found = speaker.answer([Row(ids) for ids in prompts], Decoding(max_new_tokens=24))
    assert found.cut == [True, True]
    assert [len(ids) for ids in found.token_ids] == [10, 24]
    for ids, written in zip(prompts, found.token_ids, strict=True):
        expected = reference_answer(folder, None, ids, len(written))
        assert written[: len(expected)] == expected
    assert speaker.divergence(Row(prompts[0]), found.token_ids[0]) == 0


def test_an_encoder_decoder_writes_as_far_as_it_has_positions(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = AutoModelForSeq2SeqLM.from_config(CONFIG_MAPPING["bart"](**BART)).eval()
    folder = tiny.save_model_folder(tmp_path / "model", model)
    speaker = Speaker.load(folder, torch.device("cpu"))
    speaker.stop_ids = set()
    rows = [Row(speaker.prompt_ids([{"role": "user", "content": "the sea " * n}])) for n in (2, 99)]
    found = speaker.answer(rows, Decoding(max_new_tokens=100))
    assert [len(ids) for ids in found.token_ids] == [64, 64]
    assert found.cut == [True, True]


def test_a_question_without_room_for_an_answer_is_one_sentence(tmp_path: Path) -> None:
    folder = tiny.save_model_folder(tmp_path / "model", tiny.gpt2())
    speaker = Speaker.load(folder, torch.device("cpu"))
    message = {"role": "user", "content": "x" * 600}
    with pytest.raises(DataError, match=r"The question has 6\d\d tokens, .* room for 512 with"):
        speaker.prompt_ids([message])


def test_nothing_can_be_gone_on_with(speaker: Speaker) -> None:
    ids = speaker.prompt_ids([{"role": "user", "content": ""}], as_text=True)
    assert len(speaker.answer([Row(ids)], Decoding(max_new_tokens=4)).token_ids[0]) <= 4
