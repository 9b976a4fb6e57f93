"""Samples become examples: what is learned, what is cut, what is left out and why."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import datasets
import pytest
from transformers import PreTrainedTokenizerFast

from lora_engine.data import Library, Sample, Turn
from lora_engine.data.encode import Encoded, encode_dataset, split
from lora_engine.data.examples import IGNORED
from lora_engine.errors import DataError
from tests.data import templates
from tests.data.conftest import CHATML, make_tokenizer


def chat(line: int, *contents: str) -> Sample:
    roles = ("user", "assistant") * len(contents)
    turns = [
        Turn.model_validate({"role": role, "content": content})
        for role, content in zip(roles, contents, strict=False)
    ]
    return Sample(line=line, messages=tuple(turns))


def encode(samples: list[Sample], tokenizer: Any, tmp_path: Path, max_length: int = 200) -> Encoded:
    return encode_dataset(samples, tokenizer, max_length=max_length, cache_dir=tmp_path / "cache")


def learned(tokenizer: Any, example: dict[str, list[int]]) -> str:
    return str(tokenizer.decode([label for label in example["labels"] if label != IGNORED]))


def test_a_conversation_becomes_an_example(
    tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    sample = chat(7, "What is it?", "A light.", "Where?", "Here.")
    encoded = encode([sample], tokenizer, tmp_path)
    (example,) = list(encoded.dataset)
    messages = [turn.model_dump() for turn in sample.messages]
    assert example["input_ids"] == tokenizer.apply_chat_template(messages, return_dict=False)
    assert len(example["labels"]) == len(example["input_ids"])
    assert learned(tokenizer, example) == "A light.<|im_end|>Here.<|im_end|>"
    assert all(
        label in (IGNORED, token)
        for token, label in zip(example["input_ids"], example["labels"], strict=True)
    )
    assert example["line"] == 7
    assert encoded.tokens == len(example["input_ids"])
    assert encoded.learned_tokens == sum(label != IGNORED for label in example["labels"])
    assert (encoded.problem_count, encoded.rows_left_out, encoded.longest) == (0, 0, encoded.tokens)


def weighted(line: int, *said: tuple[str, int]) -> Sample:
    """Questions, and answers with their weights."""
    sample = chat(line, *(text for answer, _ in said for text in ("Why?", answer)))
    weights = {2 * place + 1: weight for place, (_, weight) in enumerate(said)}
    turns = [
        turn.model_copy(update={"weight": weights.get(place, 1)})
        for place, turn in enumerate(sample.messages)
    ]
    return sample.model_copy(update={"messages": tuple(turns)})


@pytest.mark.parametrize(
    ("template", "said", "expected"),
    [
        (CHATML, (("A light.", 0), ("Here.", 1)), "Here.<|im_end|>"),
        (CHATML, (("A light.", 1), ("Here.", 0)), "A light.<|im_end|>"),
        (CHATML, (("One.", 1), ("Two.", 0), ("Here.", 1)), "One.<|im_end|>Here.<|im_end|>"),
        (None, (("A light.", 0), ("Here.", 1)), " Here.<|im_end|>"),
        (templates.GLM, (("A light.", 0), ("Here.", 1)), "Here.<|im_end|>"),  # the end is added
        (templates.GLM, (("A light.", 1), ("Here.", 0)), "A light.<|im_start|>"),
    ],
)
def test_an_answer_of_weight_0_is_read_and_not_learned(
    tmp_path: Path, template: str | None, said: tuple[tuple[str, int], ...], expected: str
) -> None:
    tokenizer = make_tokenizer(template)
    encoded = encode([weighted(2, *said)], tokenizer, tmp_path)
    (example,) = list(encoded.dataset)
    assert learned(tokenizer, example) == expected
    text = tokenizer.decode(example["input_ids"])
    assert all(answer in text for answer, _ in said)
    assert (encoded.missed_answers, encoded.problem_count) == (0, 0)
    assert encoded.learned_tokens == sum(label != IGNORED for label in example["labels"])


def test_the_examples_are_a_datasets_file_of_small_numbers(
    tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    encoded = encode([chat(1, "a", "b")] * 3, tokenizer, tmp_path)
    assert isinstance(encoded.dataset, datasets.Dataset)
    assert encoded.dataset.features["input_ids"].feature.dtype == "int32"
    assert encoded.dataset.features["labels"].feature.dtype == "int32"
    assert [Path(file["filename"]).parent for file in encoded.dataset.cache_files] == [
        tmp_path / "cache"
    ]
    assert encoded.dataset[[0, 2]]["line"] == [1, 1]


def test_encoding_again_replaces_the_file(
    tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    first = encode([chat(1, "a", "b")], tokenizer, tmp_path)
    second = encode([chat(2, "a", "b")], tokenizer, tmp_path)
    assert len(list((tmp_path / "cache").iterdir())) == 1
    assert (first.rows["line"], second.rows["line"]) == ([1], [2])


def test_many_samples_keep_their_order_and_are_counted(
    tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    samples = [
        chat(line, f"q{line}", "a") if line % 3 else Sample(line=line, text=f"text {line}")
        for line in range(600)
    ]
    heard: list[int] = []
    encoded = encode_dataset(
        iter(samples), tokenizer, max_length=99, cache_dir=tmp_path, on_progress=heard.append
    )
    assert list(encoded.dataset["line"]) == list(range(600))
    assert heard == [256, 512, 600]


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        (None, " A light.<|im_end|> Here.<|im_end|>"),
        (templates.QWEN3, "A light.<|im_end|><think>\n\n</think>\n\nHere.<|im_end|>"),
        (templates.LLAMA3, "A light.<|im_end|>Here.<|im_end|>"),
        (templates.GLM, "A light.<|im_start|>Here.<|im_end|>"),  # the end is added
        (templates.LATER_CHANGED, "Here.<|im_end|>"),
    ],
)
def test_other_chat_formats(tmp_path: Path, template: str | None, expected: str) -> None:
    tokenizer = make_tokenizer(template)
    encoded = encode([chat(1, "What is it?", "A light.", "Where?", "Here.")], tokenizer, tmp_path)
    assert learned(tokenizer, encoded.dataset[0]) == expected
    assert encoded.missed_answers == (template == templates.LATER_CHANGED)


def test_a_row_that_the_template_refuses_is_a_problem(tmp_path: Path) -> None:
    good, system = chat(2, "a", "b"), Turn(role="system", content="s")
    refused = Sample(line=3, messages=(system, *good.messages))
    encoded = encode([good, refused], make_tokenizer(templates.GEMMA), tmp_path)
    assert list(encoded.dataset["line"]) == [2]
    (problem,) = encoded.problems
    assert (problem.line, problem.kind) == (3, "broken")
    assert problem.message == (
        "Line 3 does not fit this model's chat format: System role not supported."
    )
    with pytest.raises(DataError, match="No row can be learned by this model; the first: Line 3"):
        encode([refused], make_tokenizer(templates.GEMMA), tmp_path)


def test_a_row_without_learnable_answer_is_a_problem(tmp_path: Path) -> None:
    tokenizer = make_tokenizer(templates.LATER_CHANGED)
    encoded = encode([chat(2, "a", "b", "c"), chat(3, "a", "b")], tokenizer, tmp_path)
    assert list(encoded.dataset["line"]) == [3]
    assert encoded.problems[0].message == (
        "Line 2 has no answer that this model's chat format lets it learn."
    )


def test_long_rows_are_cut_or_left_out(tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    samples = [chat(2, "a", "b"), chat(3, "a", "b" * 100), chat(4, "a" * 100, "b")]
    encoded = encode(samples, tokenizer, tmp_path, max_length=60)
    assert list(encoded.dataset["line"]) == [2, 3]
    assert len(encoded.dataset[1]["input_ids"]) == 60
    assert (encoded.rows_cut, encoded.rows_left_out, encoded.problem_count) == (1, 1, 2)
    size = encoded.longest
    assert [(p.line, p.kind) for p in encoded.problems] == [(3, "too_long"), (4, "too_long")]
    assert encoded.problems[0].message == f"Line 3 has {size} tokens and is cut to 60."
    assert encoded.problems[1].message.startswith(f"Line 4 has {size} tokens and its first answer")


def test_a_limit_shorter_than_every_prompt_says_which_would_do(
    tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    samples = [chat(2, "a" * 50, "b"), chat(3, "a" * 90, "b")]
    with pytest.raises(DataError, match="Every row is too long") as caught:
        encode(samples, tokenizer, tmp_path, max_length=10)
    numbers = [int(word) for word in str(caught.value).replace(";", "").split() if word.isdigit()]
    limit, least, whole = numbers
    assert limit == 10
    assert len(encode(samples, tokenizer, tmp_path, max_length=least).dataset) == 1
    with pytest.raises(DataError, match="Every row is too long"):
        encode(samples, tokenizer, tmp_path, max_length=least - 1)
    assert encode(samples, tokenizer, tmp_path, max_length=whole).problem_count == 0
    assert encode(samples, tokenizer, tmp_path, max_length=whole - 1).problem_count == 1


def test_no_samples_are_one_sentence(tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No row of the data set can be used"):
        encode([], tokenizer, tmp_path)
    assert list((tmp_path / "cache").iterdir()) == []


def test_long_texts_are_cut_into_pieces(tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    text = "zyx" * 9  # 27 tokens and the end
    encoded = encode([Sample(line=4, text=text)], tokenizer, tmp_path, max_length=9)
    assert [len(example["input_ids"]) for example in encoded.dataset] == [9, 9, 9]
    assert encoded.tokens == 27  # a piece of the end token alone teaches nothing
    assert encoded.learned_tokens == 24
    encoded = encode([Sample(line=4, text=text)], tokenizer, tmp_path, max_length=10)
    joined = [token for example in encoded.dataset for token in example["labels"]]
    assert tokenizer.decode(joined) == text + "<|im_end|>"
    assert len(set(encoded.dataset["group"])) == 1
    assert encoded.problem_count == 0


def test_a_text_of_one_token_teaches_nothing(tmp_path: Path) -> None:
    tokenizer = make_tokenizer()
    tokenizer.eos_token = None
    samples = [Sample(line=2, text="z"), Sample(line=3, text="zy")]
    encoded = encode(samples, tokenizer, tmp_path)
    assert list(encoded.dataset["line"]) == [3]
    assert encoded.problems[0].message == "Line 2 has too few tokens to learn from."


SAME = "What do all of them ask in the same words?"


def test_the_group_is_what_comes_before_the_first_answer(
    tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    greeting = Turn(role="assistant", content="Welcome!")
    samples = [
        chat(1, SAME, "a"),
        chat(2, f"{SAME} ", "b", "more", "c"),
        chat(3, "other", "a"),
        Sample(line=4, messages=(greeting, *chat(4, SAME, "a").messages)),
        Sample(line=5, messages=(greeting, *chat(5, "other", "a").messages)),
    ]
    one, two, three, four, five = encode(samples, tokenizer, tmp_path).dataset["group"][:]
    assert one == two
    assert len({one, three, four, five}) == 4


def test_a_greeting_is_not_yet_a_question(
    tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    samples = [
        chat(1, "Hi!", "Hello.", SAME, "a"),
        chat(2, "Hi!", "Welcome.", SAME, "b", "more", "c"),
        chat(3, "Hi!", "Hello.", "What is quite another question?", "a"),
    ]
    one, two, three = encode(samples, tokenizer, tmp_path).dataset["group"][:]
    assert one == two != three


def test_examples_are_the_same_in_every_process(tmp_path: Path) -> None:
    code = (
        "import json, sys; from pathlib import Path; from tests.data.test_encode import *;"
        "samples = [chat(1, 'a', 'b'), Sample(line=2, text='t')];"
        "e = encode(samples, make_tokenizer(), Path(sys.argv[1]));"
        "print(json.dumps([list(e.dataset), split(e.dataset, 0.5, 1)]))"
    )
    root = Path(__file__).parents[2]
    said = [
        subprocess.run(
            [sys.executable, "-c", code, str(tmp_path)],
            capture_output=True, text=True, check=True, cwd=root, encoding="utf-8",
        ).stdout
        for _ in range(2)
    ]  # fmt: skip
    assert said[0] == said[1]
    assert len(json.loads(said[0])[0]) == 2


@pytest.mark.parametrize("name", ["alpaca_en_demo.json", "alpaca_zh_demo.json"])
def test_real_rows_are_learned_and_split_without_overlap(
    tokenizer: PreTrainedTokenizerFast,
    library: Library,
    real_data: Path,
    tmp_path: Path,
    name: str,
) -> None:
    dataset = library.add(real_data / name)
    samples = list(library.samples(dataset.dataset_id, limit=200))
    encoded = encode(samples, tokenizer, tmp_path, max_length=10_000)
    assert len(encoded.dataset) == 200
    for example, sample in zip(encoded.dataset, samples, strict=True):
        assert learned(tokenizer, example) == sample.messages[-1].content + "<|im_end|>"
    training, validation = split(encoded.dataset, 0.1, 42)
    assert len(validation) == 20
    groups = encoded.dataset["group"][:]
    assert not {groups[row] for row in training} & {groups[row] for row in validation}
