"""A run's result in plain words, from the metrics of the engine."""

from typing import Any

from app.clock import duration, megabytes
from app.html import plural
from app.wording import common
from app.wording import runs as words

HARDLY = 0.02
"""A relative change of the loss that is smaller than this counts as none."""

Metrics = dict[str, Any]


def result_sentences(metrics: Metrics) -> list[str]:
    """What was learned and what it cost; unknown or missing metrics are passed over."""
    made = [metrics.get("origin") or "", metrics.get("sentence") or ""]
    started = f"{metrics['start']}." if metrics.get("start") else ""
    sentences = [*made, started, _learned(metrics), *_not_learned(metrics), _cost(metrics)]
    if metrics.get("stopped") and metrics.get("steps") and metrics.get("total_steps"):
        stopped = words.RESULT_STOPPED.format(
            steps=f"{metrics['steps']:,}", total=f"{metrics['total_steps']:,}"
        )
        sentences.insert(0, stopped)
    if metrics.get("ended_early"):
        steps, total = f"{metrics['steps']:,}", f"{metrics['total_steps']:,}"
        reason, moved = words.RESULT_ENDED_AS[_metric(metrics)]
        said = words.RESULT_ENDED.format(steps=steps, total=total, reason=reason, moved=moved)
        sentences.insert(0, said)
    return [sentence for sentence in sentences if sentence]


def _learned(metrics: Metrics) -> str:
    before, after = metrics.get("eval_loss_before"), metrics.get("eval_loss_after")
    first, last = metrics.get("loss_first"), metrics.get("loss_last")
    if before is None or after is None:
        if first is None or last is None:
            return ""
        form = words.RESULT_TRAIN_ONCE if metrics.get("steps") == 1 else words.RESULT_TRAIN_ONLY
        form = form if before is None else words.RESULT_NOT_MEASURED
        return form.format(first=loss_text(first), last=loss_text(last))
    change = (after - before) / before if before else 0.0
    if abs(change) < HARDLY:
        form = words.RESULT_SAME
    else:
        form = words.RESULT_FELL if change < 0 else words.RESULT_ROSE
    rows = plural(metrics.get("validation_rows") or 0, *words.UNSEEN_ROWS)
    said = form.format(rows=rows, before=loss_text(before), after=loss_text(after))
    once = metrics.get("steps") == 1  # its loss is that of the rows as they were before
    kept = _kept(metrics) or _turned(metrics, before, after)
    return said + kept + ("" if once else _training(first, last))


def _kept(metrics: Metrics) -> str:
    kept, steps = metrics.get("kept_step"), metrics.get("steps")
    if not kept or kept == steps:
        return ""
    best = words.RESULT_KEPT_WHEN[_metric(metrics)]
    return words.RESULT_KEPT.format(kept=f"{kept:,}", steps=f"{steps:,}", best=best)


def _metric(metrics: Metrics) -> str:
    """What the best was kept by; older runs knew the loss alone."""
    return metrics.get("metric_for_best_model") or "loss"


def _turned(metrics: Metrics, before: float, after: float) -> str:
    best, step = metrics.get("eval_loss_best"), metrics.get("eval_loss_best_step")
    if best is None or not step or best >= before or after < best * (1 + HARDLY):
        return ""
    if _metric(metrics) != "loss":
        return ""  # which update is best was not for the loss to say
    return words.RESULT_BEST.format(best=loss_text(best), step=f"{step:,}")


def _training(first: float | None, last: float | None) -> str:
    if first is None or last is None:
        return ""
    return words.RESULT_TRAIN.format(first=loss_text(first), last=loss_text(last))


def _not_learned(metrics: Metrics) -> list[str]:
    """What of the data the model never saw, which no loss tells."""
    cut, hidden = metrics.get("rows_cut") or 0, metrics.get("answers_not_learned") or 0
    rows = plural(metrics.get("rows") or 0, "row")
    said = words.RESULT_CUT.format(cut=f"{cut:,}", rows=rows) if cut else ""
    return [said, words.RESULT_HIDDEN.format(answers=plural(hidden, "answer")) if hidden else ""]


def _cost(metrics: Metrics) -> str:
    tokens, seconds = metrics.get("tokens"), metrics.get("seconds")
    if not tokens or not seconds:
        return ""
    peak = metrics.get("peak_memory_mb")
    cost = words.RESULT_COST.format(
        steps=plural(metrics.get("steps") or 0, "update"),
        tokens=f"{tokens:,}",
        time=duration(seconds),
        speed=f"{metrics.get('tokens_per_second') or tokens / seconds:,.0f}",
        memory=words.RESULT_MEMORY.format(memory=megabytes(peak)) if peak else "",
    )
    return f"{cost} {words.RESULT_NO_CARD}" if metrics.get("card_unused") else cost


def percent(share: float | None) -> str:
    """``0.768`` as ``76.8 %``; what was no number, such as a broken model's confidence, is null."""
    if share is None:
        return common.NO_NUMBER
    return f"{100 * share:.1f} %"


def loss_text(loss: float | None) -> str:
    """A loss with two decimals, or more where it is small; ``None`` was no number."""
    if loss is None:
        return common.NO_NUMBER
    return f"{loss:.2f}" if loss >= 0.1 else f"{loss:.4f}"
