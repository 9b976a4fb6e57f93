"""What came of a file that an adapter answered, in numbers and in words."""

from typing import Any

from pydantic import BaseModel, ConfigDict

from lora_engine.config import Quantization


class Prediction(BaseModel):
    """What came of a file."""

    model_config = ConfigDict(frozen=True)

    out: str
    """The file of answers."""
    task: str
    roles: dict[str, str]
    """Role → column of what was asked, and of what was expected."""
    columns: tuple[str, ...]
    """The new ones."""
    rows: int
    """Rows with an answer."""
    total_rows: int
    """Rows that were to be answered."""
    unanswered: int
    """Rows in the file without an answer, because nothing can be asked or it is too long."""
    troubles: tuple[str, ...]
    """Why, a sentence each; the first 20."""
    cut: int
    """Answers that the longest answer cut off."""
    stopped: bool
    scores: dict[str, Any] | None
    """``rows`` with something expected; ``exact_match`` and ``rouge_l``, or ``accuracy``,
    ``f1_macro`` and ``unknown_labels``, from 0 to 1; the same of the base under ``base``. None
    where nothing is expected."""
    quantization: Quantization
    """How the base was held."""
    sentence: str = ""


def sentence_of(found: Prediction, longest: int) -> str:
    """What came of it, in plain words; ``longest`` is that of an answer, in tokens."""
    rows = "row was" if found.rows == 1 else "rows were"
    said = [f"{found.rows:,} {rows} answered."]
    if found.stopped:
        said = [f"Stopped: {found.rows:,} of {found.total_rows:,} rows were answered."]
    if found.scores:
        said.append(_scores_sentence(found.scores))
    if found.cut:
        have = "answer was" if found.cut == 1 else "answers were"
        said.append(f"{found.cut:,} {have} cut off after at most {longest:,} tokens.")
    if found.unanswered:
        have = "row has" if found.unanswered == 1 else "rows have"
        said.append(f"{found.unanswered:,} {have} no answer; the first: {found.troubles[0]}")
    return " ".join(said)


def _scores_sentence(scores: dict[str, Any]) -> str:
    base = scores.get("base")
    if "accuracy" in scores:
        said = f"Accuracy {scores['accuracy']:.1%}, macro F1 {scores['f1_macro']:.1%}"
        beside = base and f"{base['accuracy']:.1%} and {base['f1_macro']:.1%}"
    else:
        said = f"Exact match {scores['exact_match']:.1%}, ROUGE-L {scores['rouge_l']:.3f}"
        beside = base and f"{base['exact_match']:.1%} and {base['rouge_l']:.3f}"
    what = "label" if "accuracy" in scores else "answer"
    rows = f"{scores['rows']:,} {'row' if scores['rows'] == 1 else 'rows'}"
    said += f" on {rows} with an expected {what}"
    said += f"; the base model {beside}." if beside else "."
    if unknown := scores.get("unknown_labels"):
        said += f" {unknown:,} of their labels the adapter has never learned."
    return said
