"""Labels: the order of the classes, their balance, and columns that hold something else."""

from pathlib import Path

import pytest

from lora_engine.data import Library
from lora_engine.data import labels as labels_module
from lora_engine.data.labels import Classes, canonical, counted, merged, ordered, remarks
from lora_engine.errors import DataError


@pytest.mark.parametrize(
    ("labels", "order"),
    [
        (["1", "0"], ("0", "1")),
        (["10", "9", "-1"], ("-1", "9", "10")),
        (["positive", "negative"], ("negative", "positive")),
        (["true", "false"], ("false", "true")),
        (["b", "A", "a"], ("A", "a", "b")),
        (["1", "one"], ("1", "one")),
        (["10.0", "9.0", "2.5"], ("2.5", "9.0", "10.0")),
    ],
)
def test_the_positive_label_is_the_second(labels: list[str], order: tuple[str, ...]) -> None:
    assert ordered(labels) == order
    assert list(counted(dict.fromkeys(labels, 3))) == list(order)


@pytest.mark.parametrize(
    "same",
    [
        ("1", "1.0", "1.000", "+1"),
        ("0", "-0", "0.0"),
        ("-2", "-2.0"),
        ("100", "100.0"),
        ("true", "True", "TRUE"),
        ("False", "false"),
    ],
)
def test_one_number_and_one_truth_value_are_one_label(same: tuple[str, ...]) -> None:
    assert len(set(map(canonical, same))) == 1
    together, said = merged(dict.fromkeys(same, 2))
    assert list(together.values()) == [2 * len(same)]
    assert said.startswith("Labels that differ only in how they are written count as one: “")
    assert {Classes(["other", *together]).place(label) for label in same} == {1}


@pytest.mark.parametrize(
    "apart",
    [
        ("1", "true", "01", "001", "1e0", "1,0", "1.", "1.0.0", "１", "one"),
        ("3.1", "3.10", "0.5", "0.50", ".5"),
        ("US", "us", "Yes", "yes", "TRUE ish", "wahr"),
        ("1234567890123456", "1234567890123456.0"),
        ("a" * 200, "A" * 200),
    ],
)
def test_codes_and_words_are_not_merged(apart: tuple[str, ...]) -> None:
    counts = dict.fromkeys(apart, 3)
    assert merged(counts) == (counts, "")
    assert [Classes(apart).place(label) for label in apart] == list(range(len(apart)))
    assert Classes(apart).place("else") is None


def test_the_shortest_number_and_the_usual_truth_value_are_shown() -> None:
    counts = {"1.0": 9, "1": 2, "True": 5, "TRUE": 4, "true": 3, "02": 1}
    together, said = merged(counts)
    assert together == {"1": 11, "True": 12, "02": 1}
    assert said == (
        "Labels that differ only in how they are written count as one: “1” (also written “1.0”), "
        "“True” (also written “TRUE”, “true”)."
    )
    many = {f"{number}{end}": 1 for number in range(7) for end in ("", ".0")}
    assert merged(many)[1].endswith("“4” (also written “4.0”) and 2 more.")


def test_an_adapter_that_learned_them_apart_still_tells_them_apart() -> None:
    assert [Classes(("1", "1.0")).place(label) for label in ("1", "1.0", "1.00")] == [0, 1, 0]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", "review,label\nGood,1\nBad,0\nFine,1.0\nPoor, 0 \nGood,1.0\n"),
        (
            "a.jsonl",
            '{"review": "Good", "label": 1}\n{"review": "Bad", "label": 0}\n'
            '{"review": "Fine", "label": 1.0}\n{"review": "Poor", "label": "0"}\n'
            '{"review": "Good", "label": "1.0"}\n',
        ),
        ("b.csv", "review,label\nGood,TRUE\nBad,false\nFine,True\nPoor,FALSE\nGood,true\n"),
        (
            "b.jsonl",
            '{"review": "Good", "label": true}\n{"review": "Bad", "label": false}\n'
            '{"review": "Fine", "label": "True"}\n{"review": "Poor", "label": false}\n'
            '{"review": "Good", "label": "TRUE"}\n',
        ),
    ],
)
def test_labels_written_differently_are_one_class_of_a_data_set(
    library: Library, tmp_path: Path, name: str, text: str
) -> None:
    (tmp_path / name).write_text(text)
    dataset = library.add(tmp_path / name)
    assert dataset.roles == {"text": "review", "label": "label"}
    assert list(dataset.label_counts.values()) == [2, 2]
    [problem] = dataset.problems
    assert problem.kind == "duplicate"
    [note] = dataset.rows_notes
    assert note in dataset.all_notes
    negative, positive = dataset.label_counts
    assert [sample.label for sample in library.samples(dataset.dataset_id)] == [
        *(positive, negative, positive, negative)
    ]
    assert library.set_roles(dataset.dataset_id, {"text": "review"}).rows_notes == ()


def test_whole_numbers_with_a_point_are_recognised_as_classes(
    library: Library, tmp_path: Path
) -> None:
    path = tmp_path / "scores.csv"
    path.write_text("text,x\n" + "".join(f"a text {n},{n % 2}.0\n" for n in range(8)))
    dataset = library.add(path)
    assert dataset.roles == {"text": "text", "label": "x"}
    assert (dataset.label_counts, dataset.rows_notes) == ({"0.0": 4, "1.0": 4}, ())


@pytest.mark.parametrize(
    ("counts", "said"),
    [
        ({"a": 5}, "Every row has the label “a”"),
        ({"a": 5, "b": 1}, "1 label occurs only once (“b”)"),
        (
            dict.fromkeys("abcdefg", 1),
            "7 labels occur only once (“a”, “b”, “c”, “d”, “e” and 2 more)",
        ),
        ({"a": 50, "b": 4}, "“b” has 4 rows, the largest 50"),
    ],
)
def test_what_is_odd_is_said(counts: dict[str, int], said: str) -> None:
    assert said in remarks(counts)[0]


def test_balanced_labels_need_no_remark() -> None:
    assert remarks({"a": 50, "b": 60}) == ()
    assert remarks({}) == ()


def test_the_balance_is_kept_with_the_data_set(library: Library, tmp_path: Path) -> None:
    path = tmp_path / "reviews.csv"
    path.write_text("review,stars\nGood,5\nBad,1\nFine,5\nNo stars,\nGood,5\n", "utf-8")
    dataset = library.add(path)
    assert dataset.task == "classification"
    assert dataset.roles == {"text": "review", "label": "stars"}
    assert list(dataset.label_counts.items()) == [("1", 1), ("5", 2)]
    assert dataset.problem_kinds == {"empty": 1, "duplicate": 1}
    assert (dataset.characters, dataset.longest_characters) == (11, 4)
    assert library.get(dataset.dataset_id) == dataset
    assert [sample.label for sample in library.samples(dataset.dataset_id)] == ["5", "1", "5"]
    assert library.set_roles(dataset.dataset_id, {"text": "review"}).label_counts == {}


def test_a_column_with_too_many_labels_is_refused(
    library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "ids.csv"
    path.write_text("text,label\n" + "".join(f"words {n},x{n}\n" for n in range(30)))
    dataset = library.add(path)
    assert len(dataset.label_counts) == 30
    monkeypatch.setattr("lora_engine.data.intake.MOST_LABELS", 20)
    with pytest.raises(DataError, match="more than 1,000 different ones; choose the column"):
        library.set_roles(dataset.dataset_id, dataset.roles)
    assert library.get(dataset.dataset_id) == dataset
    library.remove(dataset.dataset_id)
    assert library.add(path).roles == {"text": "text"}
    assert labels_module.MOST_LABELS == 1000


@pytest.mark.parametrize(
    ("name", "rows", "labels"),
    [
        ("mrpc_train.txt", 4076, {"0": 1323, "1": 2753}),
        ("mrpc_test.txt", 1725, {"0": 578, "1": 1147}),
    ],
)
def test_mrpc_as_it_is_published(
    library: Library, real_data: Path, name: str, rows: int, labels: dict[str, int]
) -> None:
    dataset = library.add(real_data / name)
    expected = {"text": "#1 String", "text_pair": "#2 String", "label": "Quality"}
    assert dataset.roles == expected
    assert (dataset.rows, dataset.problem_count) == (rows, 0)
    assert dataset.label_counts == labels


def test_published_tables_with_labels_in_words_and_numbers(
    library: Library, real_data: Path
) -> None:
    intents = library.add(real_data / "banking77_test.csv")
    assert intents.roles == {"text": "text", "label": "category"}
    assert len(intents.label_counts) == 77
    reviews = library.add(real_data / "chnsenticorp_part.csv")
    assert reviews.roles == {"text": "review", "label": "label"}
    assert list(reviews.label_counts) == ["0", "1"]
