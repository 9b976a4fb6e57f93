"""What is said about a classifier's and a rewriting model's results."""

from typing import Any

from app.scores_view import baseline_sentence, scores_html
from app.wording.common import NO_NUMBER

EVIL = "<script>alert(1)</script>"
MEASURED: dict[str, Any] = {
    "rows": 10, "loss": 0.41, "accuracy": 0.8, "f1": 0.75, "positive_label": "yes",
    "f1_macro": 0.78, "confusion": [[5, 1], [1, 3]],
    "mistakes": [
        {"line": 4, "text": EVIL, "text_pair": "other", "true": "no", "predicted": "yes",
         "confidence": 0.987},
    ],
}  # fmt: skip


def test_a_classifiers_scores_matrix_and_mistakes_are_shown_as_text() -> None:
    html = scores_html({"labels": ["no", "yes"], "validation": MEASURED, "test": None})
    for said in ("80.0 %", "75.0 %", "78.0 %", "0.41", "10 rows", "83%", "98.7 %", "“yes”"):
        assert said in html
    assert EVIL not in html
    assert 'data-name="True label">no<' in html, "a narrow window sets the cells below each other"
    assert "macro F1 is its mean" in html
    assert "&lt;script&gt;" in html
    assert "On the test data" not in html


def test_the_test_data_come_first() -> None:
    html = scores_html({"labels": ["no", "yes"], "validation": MEASURED, "test": MEASURED})
    assert html.index("On the test data") < html.index("On the validation rows")


def test_a_useless_classifier_is_called_that() -> None:
    assert "60.0 %" in baseline_sentence([[5, 1], [1, 3]], 0.8, ["no", "yes"])
    assert "nothing useful" in baseline_sentence([[6, 0], [4, 0]], 0.6, ["no", "yes"])
    assert baseline_sentence([[0, 0], [0, 0]], 0, ["no", "yes"]) == ""


def test_many_labels_have_a_picture_and_what_was_confused() -> None:
    labels = [f"label {number}" for number in range(77)]
    matrix = [[int(a == b) for a in range(77)] for b in range(77)]
    measured = MEASURED | {"confusion": matrix, "f1": None, "mistakes": []}
    html = scores_html({"labels": labels, "validation": measured})
    assert html.count("<rect") == 77
    assert "<table" not in html, "nothing was confused"
    matrix[3][5] = 4
    html = scores_html({"labels": labels, "validation": measured})
    assert html.count('<rect class="wrong"') == 1
    assert 'x="5" y="3"' in html
    assert 'data-name="Given label">label 5<' in html


def test_each_of_several_labels_has_its_figures_the_worst_first() -> None:
    good = {"rows": 6, "precision": 1.0, "recall": 0.9, "f1": 0.95}
    bad = {"rows": 4, "precision": 0.25, "recall": 0.5, "f1": 0.333}
    matrix = [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
    measured = MEASURED | {"confusion": matrix, "by_label": {"a": good, EVIL: bad, "c": good}}
    html = scores_html({"labels": ["a", EVIL, "c"], "validation": measured})
    assert html.index("33.3 %") < html.index("95.0 %")
    assert EVIL not in html
    two = {"labels": ["no", "yes"], "validation": MEASURED | {"by_label": {"no": good}}}
    assert "Label by label" not in scores_html(two), "two labels have all of it above"


def test_rewritten_texts_have_exact_match_and_rouge() -> None:
    measured = {
        "rows": 9, "loss": 1.25, "answered_rows": 5, "exact_match": 0.2, "rouge_l": 0.615,
        "samples": [{"source": "a", "expected": "b", "answer": EVIL}],
    }  # fmt: skip
    html = scores_html({"test": measured})
    for said in ("20.0 %", "61.5 %", "1.25", "5 rows"):
        assert said in html
    assert EVIL not in html


def test_answers_before_and_after_stand_side_by_side() -> None:
    sample = {"line": 3, "question": "Why?", "expected": "So.", "before": EVIL, "after": "So!"}
    html = scores_html({"samples": [sample]})
    assert 'data-name="Before">&lt;script' in html
    assert html.index("Why?") < html.index("So.") < html.index("So!")


def test_a_run_without_scores_shows_none() -> None:
    assert scores_html({"loss_last": 1.0, "validation": None}) == ""


def test_a_figure_that_was_no_number_is_a_dash() -> None:
    mistakes = [MEASURED["mistakes"][0] | {"confidence": None}]
    broken = MEASURED | {"loss": None, "mistakes": mistakes}
    html = scores_html({"labels": ["no", "yes"], "test": broken})
    assert html.count(NO_NUMBER) == 2
    rewritten = {"loss": None, "exact_match": 0.2, "rouge_l": 0.615}
    assert NO_NUMBER in scores_html({"test": rewritten})
