"""Labels: the order of the classes, their balance, and columns that hold something else."""

from pathlib import Path

import pytest

from lora_engine.data import Library
from lora_engine.data import labels as labels_module
from lora_engine.data.labels import counted, ordered, remarks
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
    ],
)
def test_the_positive_label_is_the_second(labels: list[str], order: tuple[str, ...]) -> None:
    assert ordered(labels) == order
    assert list(counted(dict.fromkeys(labels, 3))) == list(order)


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
