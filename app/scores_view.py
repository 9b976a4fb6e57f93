"""How well a classifier or a rewriting model did, from the engine's metrics, as HTML."""

from collections.abc import Mapping, Sequence
from typing import Any

from app.html import facts, muted, table_html, text
from app.results import loss_text, percent
from app.wording import scores as words

Metrics = dict[str, Any]
SHARES = ("test", "validation")
MOST_CELLS = 20
"""Labels whose confusion matrix has numbers; of more it is a picture and a list."""
MOST_CONFUSED = 15


def scores_html(metrics: Metrics) -> str:
    """What was measured on test and validation rows; empty for a run without scores."""
    parts = [_samples(metrics.get("samples") or ())]
    for share in SHARES:
        measured = metrics.get(share)
        if not isinstance(measured, dict):
            continue
        title = words.SHARES[share].format(rows=f"{measured.get('rows', 0):,}")
        body = _labels(measured, metrics) if "confusion" in measured else _answers(measured)
        if body:
            parts.append(f'<section class="scores"><h3>{text(title)}</h3>{body}</section>')
    return "".join(parts)


def _samples(samples: Sequence[Metrics]) -> str:
    """Held-out questions, what was expected, and the answers before and after."""
    lines = [[text(sample[key]) for key in words.SAMPLE_KEYS] for sample in samples]
    table = _table(words.SAMPLES, words.SAMPLE_COLUMNS, lines)
    return f'<section class="scores samples">{table}</section>' if table else ""


def _labels(measured: Metrics, metrics: Metrics) -> str:
    labels = [str(label) for label in metrics.get("labels", ())]
    matrix: list[list[int]] = measured["confusion"]
    figures = [(words.ACCURACY, percent(measured["accuracy"]))]
    if measured.get("f1") is not None:
        name = words.F1.format(label=measured["positive_label"])
        figures.append((name, percent(measured["f1"])))
    figures.append((words.F1_MACRO, percent(measured["f1_macro"])))
    figures.append((words.LOSS, loss_text(measured["loss"])))
    return (
        facts(figures)
        + muted(words.F1_MEANING)
        + muted(baseline_sentence(matrix, measured["accuracy"], labels))
        + confusion_html(matrix, labels)
        + by_label_html(measured.get("by_label") or {})
        + mistakes_html(measured.get("mistakes", ()))
    )


def baseline_sentence(matrix: Sequence[Sequence[int]], accuracy: float, labels: list[str]) -> str:
    """How much better than always giving the commonest label."""
    sizes = [sum(row) for row in matrix]
    total = sum(sizes)
    if not total:
        return ""
    commonest = max(range(len(sizes)), key=sizes.__getitem__)
    always = sizes[commonest] / total
    form = words.BETTER if accuracy > always else words.NO_BETTER
    return form.format(label=labels[commonest], share=percent(always))


def confusion_html(matrix: Sequence[Sequence[int]], labels: Sequence[str]) -> str:
    """Rows are the true labels, columns what the model gave; darker is more of its row."""
    if len(labels) > MOST_CELLS:
        return _picture(matrix) + _confused(matrix, labels)
    head = "".join(f'<th scope="col">{text(label)}</th>' for label in labels)
    body = ""
    for number, (label, row) in enumerate(zip(labels, matrix, strict=True)):
        whole = sum(row) or 1
        cells = "".join(_cell(count, count / whole, number == at) for at, count in enumerate(row))
        body += f'<tr><th scope="row">{text(label)}</th>{cells}</tr>'
    return (
        f"{muted(words.CONFUSION_HINT)}"
        f'<div class="scroll" tabindex="0" role="region" aria-label="{text(words.CONFUSION)}">'
        '<table class="confusion">'
        f"<thead><tr><td></td>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _picture(matrix: Sequence[Sequence[int]]) -> str:
    """A square for each cell that is not empty, without words."""
    size = len(matrix)
    cells = "".join(
        f'<rect class="{"right" if a == b else "wrong"}" x="{b}" y="{a}" width="1" height="1"'
        f' fill-opacity="{0.15 + 0.85 * count / sum(row):.2f}"/>'
        for a, row in enumerate(matrix)
        for b, count in enumerate(row)
        if count
    )
    return (
        f"{muted(words.PICTURE_HINT)}"
        f'<svg class="confusion" viewBox="0 0 {size} {size}" role="img"'
        f' aria-label="{text(words.CONFUSION)}">{cells}</svg>'
    )


def _confused(matrix: Sequence[Sequence[int]], labels: Sequence[str]) -> str:
    """The pairs of labels that were taken for each other most often."""
    wrong = [
        (count, labels[a], labels[b])
        for a, row in enumerate(matrix)
        for b, count in enumerate(row)
        if count and a != b
    ]
    wrong.sort(key=lambda pair: -pair[0])
    lines = [
        (text(true), text(given), f"{count:,}") for count, true, given in wrong[:MOST_CONFUSED]
    ]
    return _table(words.CONFUSED, words.CONFUSED_COLUMNS, lines)


def by_label_html(figures: Mapping[str, Metrics]) -> str:
    """How each of more than two labels did, the worst first."""
    if len(figures) < 3:
        return ""
    worst = sorted(figures.items(), key=lambda each: each[1]["f1"])
    names = ("precision", "recall", "f1")
    lines = [
        (text(label), f"{each['rows']:,}", *(percent(each[name]) for name in names))
        for label, each in worst
    ]
    return _table(words.BY_LABEL, words.LABEL_COLUMNS, lines)


def _table(
    title: str, columns: Sequence[str], lines: Sequence[Sequence[str]], kind: str = ""
) -> str:
    """A table with its heading; empty without lines."""
    table = table_html(title, columns, lines, kind)
    return f"<h3>{text(title)}</h3>{table}" if table else ""


def _cell(count: int, share: float, right: bool) -> str:
    kind = "right" if right else "wrong"
    return (
        f'<td class="{kind}" style="--share:{share:.3f}">{count:,}<small>{share:.0%}</small></td>'
    )


def mistakes_html(mistakes: Sequence[Metrics]) -> str:
    """The wrong rows that the model was surest of."""
    lines = [
        (
            *(f"{mistake['line']:,}", _texts(mistake), text(mistake["true"])),
            *(text(mistake["predicted"]), percent(mistake["confidence"])),
        )
        for mistake in mistakes
    ]
    return _table(words.MISTAKES, words.MISTAKE_COLUMNS, lines, "mistakes")


def _texts(mistake: Metrics) -> str:
    pair = mistake.get("text_pair")
    return text(mistake["text"]) + (f"<hr>{text(pair)}" if pair else "")


def _answers(measured: Metrics) -> str:
    if "exact_match" not in measured:
        loss = measured.get("loss")
        return "" if loss is None else facts([(words.LOSS, loss_text(loss))])
    figures = [
        (words.EXACT, percent(measured["exact_match"] or 0)),
        (words.ROUGE, percent(measured["rouge_l"] or 0)),
        (words.LOSS, loss_text(measured["loss"])),
    ]
    lines = [
        [text(sample[key]) for key in words.ANSWER_KEYS] for sample in measured.get("samples", ())
    ]
    said = muted(words.ANSWERED.format(rows=f"{measured.get('answered_rows', 0):,}"))
    return facts(figures) + said + _table(words.ANSWERS, words.ANSWER_COLUMNS, lines)
