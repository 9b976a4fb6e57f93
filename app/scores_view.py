"""How well a classifier or a rewriting model did, from the engine's metrics, as HTML."""

from collections.abc import Sequence
from typing import Any

from app.html import facts, muted, row_html, text
from app.results import loss_text
from app.wording import scores as words

Metrics = dict[str, Any]
SHARES = ("test", "validation")
MOST_CELLS = 20
"""Labels whose confusion matrix is drawn; of more only the figures are shown."""


def scores_html(metrics: Metrics) -> str:
    """What was measured on test and validation rows; empty for a run without scores."""
    parts = []
    for share in SHARES:
        measured = metrics.get(share)
        if not isinstance(measured, dict):
            continue
        title = words.SHARES[share].format(rows=f"{measured.get('rows', 0):,}")
        body = _labels(measured, metrics) if "confusion" in measured else _answers(measured)
        if body:
            parts.append(f'<section class="scores"><h3>{text(title)}</h3>{body}</section>')
    return "".join(parts)


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
        return muted(words.TOO_MANY.format(most=MOST_CELLS))
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


def _cell(count: int, share: float, right: bool) -> str:
    kind = "right" if right else "wrong"
    return (
        f'<td class="{kind}" style="--share:{share:.3f}">{count:,}<small>{share:.0%}</small></td>'
    )


def mistakes_html(mistakes: Sequence[Metrics]) -> str:
    """The wrong rows that the model was surest of."""
    if not mistakes:
        return ""
    head = "".join(f'<th scope="col">{text(name)}</th>' for name in words.MISTAKE_COLUMNS)
    body = "".join(
        row_html(
            words.MISTAKE_COLUMNS,
            (
                *(f"{mistake['line']:,}", _texts(mistake), text(mistake["true"])),
                *(text(mistake["predicted"]), percent(mistake["confidence"])),
            ),
        )
        for mistake in mistakes
    )
    return (
        f"<h3>{text(words.MISTAKES)}</h3>"
        f'<div class="scroll" tabindex="0" role="region" aria-label="{text(words.MISTAKES)}">'
        f'<table class="rows stacked mistakes"><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


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
    head = "".join(f'<th scope="col">{text(name)}</th>' for name in words.ANSWER_COLUMNS)
    body = "".join(
        row_html(words.ANSWER_COLUMNS, [text(sample[key]) for key in words.ANSWER_KEYS])
        for sample in measured.get("samples", ())
    )
    return (
        facts(figures)
        + muted(words.ANSWERED.format(rows=f"{measured.get('answered_rows', 0):,}"))
        + '<div class="scroll" tabindex="0"><table class="rows stacked">'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def percent(share: float) -> str:
    """``0.768`` as ``76.8 %``."""
    return f"{100 * share:.1f} %"
