"""What sets runs apart: their settings, and what came of them; pure functions of jobs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from app.html import plural
from app.results import HARDLY, loss_text, percent
from app.wording import compared as words
from app.wording import fields
from jobs.job import Job
from lora_engine.errors import SettingsError

MOST_RUNS = 4
FEW_ROWS = 50
"""Held-out rows of which one counts two per cent or more."""
ROWS_BY = ("dataset", "roles", "seed", "validation_share", "max_samples")
"""Settings that decide which rows are held out."""
TOKENS_BY = ("task", "base_model", "max_length")
"""Settings that decide what a loss per token is the mean of."""

Values = tuple[Any, ...]
"""One a run."""


@dataclass(frozen=True)
class Comparison:
    """Some runs side by side."""

    jobs: tuple[Job, ...]
    settings: dict[str, Values]
    """Dotted name → values, of the settings that are not the same in all of them."""
    results: dict[str, Values]
    """What at least one of them has, by the names in ``wording.compared.VALUES``."""
    not_alike: tuple[str, ...]
    """Settings because of which their losses cannot be compared."""
    best: Job | None
    """The one that did best on the held-out rows; None where that cannot be said."""

    @property
    def sentence(self) -> str:
        """What to make of it, in plain words."""
        return " ".join(_sentences(self))


def compare_runs(jobs: Sequence[Job]) -> Comparison:
    """Lay runs side by side.

    Raises:
        SettingsError: they are not two to ``MOST_RUNS`` different ones.
    """
    if len({job.id for job in jobs}) != len(jobs) or not 2 <= len(jobs) <= MOST_RUNS:
        raise SettingsError("job_ids", words.SEVERAL.format(most=MOST_RUNS))
    said = [_flat(job.config.to_json()) for job in jobs]
    settings = {name: tuple(each.get(name) for each in said) for name in _names(said)}
    differing = {
        name: values for name, values in settings.items() if any(v != values[0] for v in values)
    }
    results = {name: tuple(map(read, jobs)) for name, read in RESULTS.items()}
    known = {name: v for name, v in results.items() if any(each is not None for each in v)}
    sorts = all(each is not None for each in results["accuracy"])
    decides = (*ROWS_BY, *(() if sorts else TOKENS_BY))  # a share of rows is one for any tokens
    not_alike = tuple(name for name in decides if name in differing)
    best = None if not_alike or any(job.is_active for job in jobs) else _best(jobs, results)
    return Comparison(tuple(jobs), differing, known, not_alike, best)


def setting_label(name: str) -> str:
    """What a setting is called on the page."""
    field = fields.FIELDS.get(name)
    return field[0] if field else words.OTHER_SETTINGS.get(name, name)


def _flat(values: dict[str, Any]) -> dict[str, Any]:
    """Those of the adapter first, as on the page."""
    lora = {f"lora.{name}": value for name, value in values["lora"].items()}
    return lora | {name: value for name, value in values.items() if name != "lora"}


def _names(said: Sequence[dict[str, Any]]) -> list[str]:
    """Of all of them, in the order of the settings."""
    return list(dict.fromkeys(name for each in said for name in each))


def _metric(name: str) -> Callable[[Job], Any]:
    return lambda job: (job.metrics or {}).get(name)


def _share(share: str, name: str) -> Callable[[Job], Any]:
    """What was measured on validation or test rows."""

    def read(job: Job) -> Any:
        measured = (job.metrics or {}).get(share)
        return measured.get(name) if isinstance(measured, dict) else None

    return read


def _eval_loss(job: Job) -> float | None:
    """Of the weights that are kept; while a run goes on, the latest."""
    return job.eval_loss if job.metrics is None else job.metrics.get("eval_loss_after")


SCORES = ("accuracy", "f1_macro", "exact_match", "rouge_l")
RESULTS: dict[str, Callable[[Job], Any]] = {
    "eval_loss_before": _metric("eval_loss_before"),
    "eval_loss": _eval_loss,
    **{name: _share("validation", name) for name in SCORES},
    "test_loss": _share("test", "loss"),
    **{f"test_{name}": _share("test", name) for name in SCORES},
    **{
        name: _metric(name)
        for name in ("trainable", "steps", "seconds", "tokens_per_second", "peak_memory_mb")
    },
}
"""A result's name → how it is read of a run."""


def _best(jobs: Sequence[Job], results: dict[str, Values]) -> Job | None:
    """By accuracy where labels are learned, else by the loss; None where two are about equal."""
    for name, sign in (("accuracy", -1.0), ("eval_loss", 1.0)):
        values = results[name]
        if any(value is None for value in values):
            continue
        ranked = sorted(zip((sign * v for v in values), jobs, strict=True), key=lambda p: p[0])
        (first, job), (second, _) = ranked[:2]
        return job if second - first > HARDLY * max(abs(first), abs(second)) else None
    return None


def _sentences(found: Comparison) -> list[str]:
    if any(job.is_active for job in found.jobs):
        return [words.STILL]
    if found.not_alike:
        return [words.NOT_ALIKE.format(what=", ".join(map(setting_label, found.not_alike)))]
    name = next((n for n in ("accuracy", "eval_loss") if _is_whole(found.results.get(n))), None)
    if name is None:
        return [words.NOT_MEASURED]
    said = [words.ALIKE]
    if found.best is not None:
        show = percent if name == "accuracy" else loss_text
        place = found.jobs.index(found.best)
        shown = [show(value) for value in found.results[name]]
        form = words.BEST_ACCURACY if name == "accuracy" else words.BEST_LOSS
        others = " and ".join(each for n, each in enumerate(shown) if n != place)
        best = found.best
        said = [form.format(name=best.name, job=best.id, best=shown[place], others=others)]
    rows = min((job.metrics or {}).get("validation_rows") or 0 for job in found.jobs)
    if 0 < rows < FEW_ROWS:
        said.append(words.FEW_ROWS.format(rows=plural(rows, *words.HELD_OUT_ROWS)))
    return said


def _is_whole(values: Values | None) -> bool:
    return values is not None and all(value is not None for value in values)
