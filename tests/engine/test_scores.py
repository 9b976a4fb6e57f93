"""Scores of classifiers and of answers; the expected values are those of the usual libraries."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lora_engine import scores
from lora_engine.confusion_picture import draw
from lora_engine.rouge import matches, rouge_l


def test_binary_scores() -> None:
    """As accuracy_score and f1_score of scikit-learn 1.9.1 compute them."""
    true = [0, 0, 0, 0, 1, 1, 1, 1, 1, 1]
    predicted = [0, 0, 1, 1, 1, 1, 1, 1, 1, 0]
    matrix = scores.confusion(true, predicted, 2)
    assert matrix == [[2, 2], [1, 5]]
    assert scores.accuracy(matrix) == pytest.approx(0.7)
    assert scores.f1(matrix, 1) == pytest.approx(0.7692307692307693)
    assert scores.macro_f1(matrix) == pytest.approx(0.6703296703296704)
    assert scores.precision(matrix, 1) == pytest.approx(5 / 7)
    assert scores.recall(matrix, 1) == pytest.approx(5 / 6)


def test_macro_f1_counts_the_classes_that_were_seen() -> None:
    """As scikit-learn does with labels=None: a class that is neither true nor predicted is left
    out; one that is only predicted counts as 0."""
    matrix = scores.confusion([0, 0, 1], [0, 2, 1], 4)
    assert scores.macro_f1(matrix) == pytest.approx((2 / 3 + 1 + 0) / 3)
    assert scores.macro_f1([[0, 0], [0, 0]]) == 0.0
    assert scores.accuracy([[0, 0], [0, 0]]) == 0.0


@given(rows=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1))
def test_scores_stay_between_zero_and_one(rows: list[tuple[int, int]]) -> None:
    matrix = scores.confusion([t for t, _ in rows], [p for _, p in rows], 4)
    assert sum(map(sum, matrix)) == len(rows)
    assert scores.accuracy(matrix) == sum(t == p for t, p in rows) / len(rows)
    for number in range(4):
        precision, recall = scores.precision(matrix, number), scores.recall(matrix, number)
        expected = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
        assert scores.f1(matrix, number) == pytest.approx(expected)
    assert 0 <= scores.macro_f1(matrix) <= 1


@pytest.mark.parametrize(
    ("expected", "answer", "score"),
    [
        ("the cat sat on the mat", "the cat on mat", 0.8),
        ("the cat sat", "The cat sat.", 1.0),
        ("police killed the gunman", "the gunman killed police", 0.5),
        ("a b", "c d", 0.0),
        ("灯塔很高", "灯塔高", 6 / 7),
        ("", "", 0.0),
    ],
)
def test_rouge_l(expected: str, answer: str, score: float) -> None:
    assert rouge_l(expected, answer) == pytest.approx(score)


def test_exact_match_knows_no_space() -> None:
    assert matches("the cat\n sat", " the cat sat ")
    assert not matches("the cat", "The cat")


@pytest.mark.parametrize(
    ("labels", "smallest"),
    [(["0", "1"], 180), (["负面", "正面"], 180), ([f"intent {n}" for n in range(77)], 600)],
)
def test_the_picture_grows_with_the_labels(
    tmp_path: Path, labels: list[str], smallest: int
) -> None:
    count = len(labels)
    matrix = [[9 if row == column else row % 2 for column in range(count)] for row in range(count)]
    draw(matrix, labels, tmp_path / "confusion.png")
    with Image.open(tmp_path / "confusion.png") as picture:
        assert picture.format == "PNG"
        assert smallest < picture.width == picture.height < 1200
        colours = {colour for _, colour in picture.getcolors(100_000) or ()}
    assert (255, 255, 255) in colours
    assert len(colours) > 2


def test_long_labels_are_cut_in_the_picture(tmp_path: Path) -> None:
    draw([[1, 0], [0, 1]], ["a" * 500, "b"], tmp_path / "long.png")
    with Image.open(tmp_path / "long.png") as picture:
        assert picture.width < 600
