"""Labelled texts and question–answer pairs become the tokens that encoders read."""

from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerFast

from lora_engine.data.classes import ClassMaker, Reader
from lora_engine.data.encode import Encoded, encode
from lora_engine.data.nouns import Sample, Turn
from lora_engine.data.sources import SourceMaker
from lora_engine.errors import DataError
from tests import tiny


@pytest.fixture(scope="module")
def words() -> PreTrainedTokenizerFast:
    return tiny.pair_tokenizer()


def labelled(
    words: PreTrainedTokenizerFast, folder: Path, *samples: Sample, max_length: int = 64
) -> Encoded:
    reader = Reader(words, max_length, with_types=True)
    return encode(samples, ClassMaker(reader, ("no", "yes")), cache_dir=folder)


def test_a_pair_is_read_as_the_tokenizer_reads_it(
    words: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    pair = Sample(line=2, text="the sea is calm", text_pair="is the sea calm?", label="yes")
    single = Sample(line=3, text="a boat comes home", label="no")
    encoded = labelled(words, tmp_path, pair, single)
    both = words("the sea is calm", "is the sea calm?")
    assert encoded.dataset[0]["input_ids"] == both["input_ids"]
    assert encoded.dataset[0]["token_type_ids"] == both["token_type_ids"]
    assert encoded.dataset[1]["input_ids"] == words("a boat comes home")["input_ids"]
    assert list(encoded.dataset["labels"]) == [[1], [0]]
    assert list(encoded.dataset["line"]) == [2, 3]
    assert encoded.learned_tokens == 2
    assert encoded.longest == len(both["input_ids"])


def test_the_longer_text_of_a_pair_is_cut_and_told(
    words: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    long = Sample(line=2, text="the sea " * 20, text_pair="who asks", label="yes")
    encoded = labelled(words, tmp_path, long, max_length=16)
    ids = encoded.dataset[0]["input_ids"]
    assert ids == words("the sea " * 20, "who asks", truncation=True, max_length=16)["input_ids"]
    assert words.decode(ids).endswith("[SEP] who asks [SEP]")
    assert (encoded.rows_cut, encoded.rows_left_out, encoded.longest) == (1, 0, 45)
    assert encoded.problems[0].message == "Line 2 has 45 tokens and is cut to 16."
    assert encoded.problems[0].kind == "too_long"


def test_control_tokens_in_a_text_stay_text(words: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    encoded = labelled(words, tmp_path, Sample(line=2, text="is [SEP] calm", label="no"))
    assert encoded.dataset[0]["input_ids"].count(words.sep_token_id) == 1


@pytest.mark.parametrize(("label", "learned"), [("TRUE", 1), ("0.0", 0), ("00", None)])
def test_a_label_may_be_written_in_another_way_than_in_training(
    words: PreTrainedTokenizerFast, label: str, learned: int | None
) -> None:
    maker = ClassMaker(Reader(words, 20, with_types=False), ("0", "true"))
    made = list(maker.examples([Sample(line=4, text="a light", label=label)]))
    assert [example["labels"] for example in made] == ([] if learned is None else [[learned]])


def test_a_label_that_was_never_trained_is_left_out(
    words: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    strange = Sample(line=9, text="the sea", label="maybe")
    encoded = labelled(words, tmp_path, strange, Sample(line=10, text="a boat", label="no"))
    assert encoded.problems[0].message == (
        "Line 9 has the label “maybe”, which is not in the training data."
    )
    assert (encoded.rows_left_out, len(encoded.dataset)) == (1, 1)
    with pytest.raises(DataError, match="No row can be used; the first: Line 9"):
        labelled(words, tmp_path, strange)
    with pytest.raises(DataError, match="No row has a text and a label"):
        labelled(words, tmp_path)


def test_equal_texts_are_one_group_whatever_their_label(
    words: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    encoded = labelled(
        words,
        tmp_path,
        Sample(line=2, text="the sea", label="no"),
        Sample(line=3, text="the sea ", label="yes"),
        Sample(line=4, text="the sea", text_pair="a boat", label="yes"),
    )
    one, same, other = encoded.dataset["group"]
    assert one == same != other


def test_a_decoder_reads_a_pair_as_two_lines() -> None:
    tokenizer = tiny.tokenizer()
    reader = Reader(tokenizer, 64, with_types=False)
    assert not reader.separates
    (reading,) = reader([("the light", "burns")])
    assert tokenizer.decode(reading.ids) == "the light\nburns"
    assert reading.types == []


def answered(*said: tuple[str, str]) -> Sample:
    turns = [Turn.model_validate({"role": role, "content": text}) for role, text in said]
    return Sample(line=2, messages=tuple(turns))


def test_all_before_the_last_answer_is_read_and_the_answer_written(tmp_path: Path) -> None:
    tokenizer = tiny.tokenizer()
    sample = answered(
        ("system", "Be brief."), ("user", "what"), ("assistant", "that"), ("user", "why"),
        ("assistant", "the sea"),
    )  # fmt: skip
    encoded = encode([sample], SourceMaker(tokenizer, 64), cache_dir=tmp_path)
    (row,) = encoded.dataset
    assert tokenizer.decode(row["input_ids"]) == "Be brief.\nwhat\nthat\nwhy"
    assert row["labels"] == [*tokenizer("the sea")["input_ids"], tokenizer.eos_token_id]
    assert encoded.learned_tokens == len(row["labels"])
    assert encoded.tokens == len(row["labels"]) + len(row["input_ids"])


def test_the_last_answer_that_is_learned_is_written(tmp_path: Path) -> None:
    tokenizer = tiny.tokenizer()
    sample = answered(
        ("user", "what"), ("assistant", "that"), ("user", "why"), ("assistant", "go away"),
    )  # fmt: skip
    bad = sample.messages[3].model_copy(update={"weight": 0})
    sample = sample.model_copy(update={"messages": (*sample.messages[:3], bad)})
    encoded = encode([sample], SourceMaker(tokenizer, 64), cache_dir=tmp_path)
    (row,) = encoded.dataset
    assert tokenizer.decode(row["input_ids"]) == "what"
    assert tokenizer.decode(row["labels"][:-1]) == "that"


def test_long_questions_and_answers_are_cut_and_told(tmp_path: Path) -> None:
    tokenizer = tiny.tokenizer()
    samples = [
        answered(("user", "q" * 30), ("assistant", "a")),
        answered(("user", "q"), ("assistant", "x" * 16)),
        answered(("user", "q"), ("assistant", "x" * 15)),
        answered(("assistant", "a")),
    ]
    encoded = encode(samples, SourceMaker(tokenizer, 16), cache_dir=tmp_path)
    assert [problem.message for problem in encoded.problems] == [
        "Line 2 has no question before its last answer.",
        "Line 2 has a question of 30 tokens and is cut to 16.",
        "Line 2 has an answer of 16 tokens and is cut to 15.",
    ]
    assert [len(row["labels"]) for row in encoded.dataset] == [2, 16, 16]
    assert all(row["labels"][-1] == tokenizer.eos_token_id for row in encoded.dataset)
    with pytest.raises(DataError, match="No row can be used; the first: Line 2 has no question"):
        encode(samples[3:], SourceMaker(tokenizer, 16), cache_dir=tmp_path)
