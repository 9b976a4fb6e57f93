"""What the Runs tab shows, as pure functions of jobs and their progress."""

import json
from collections.abc import Sequence

from app.clock import duration, megabytes, moment, speed_text
from app.html import empty_state, facts, heading, muted, notice, pill, text
from app.results import loss_text, percent, result_sentences
from app.scores_view import scores_html
from app.wording import common
from app.wording import runs as words
from jobs.job import Job, JobStatus

WAITING_TOO_LONG = 10.0
"""Seconds that a job waits in an idle queue before that means that there is no worker."""
BEAT_TOO_OLD = 45.0
"""Seconds without a heartbeat after which a running job's worker is taken for gone."""


def worker_is_away(jobs: Sequence[Job], now: float) -> bool:
    """Whether work waits and no worker takes it."""
    running = [job for job in jobs if job.status is JobStatus.running]
    if running:
        return all(now - (job.heartbeat_at or now) > BEAT_TOO_OLD for job in running)
    # a worker that has just ended one run needs a moment to take the next
    ended = max((job.finished_at or 0 for job in jobs), default=0)
    queued = [job for job in jobs if job.status is JobStatus.queued]
    return any(now - max(job.queued_at, ended) > WAITING_TOO_LONG for job in queued)


def status_of(job: Job) -> tuple[str, str]:
    """The state's key (for its colour) and its name."""
    if job.cancel_requested:
        return "stopping", words.STOPPING
    return job.status.value, words.STATUS[job.status.value]


def share_done(job: Job) -> float:
    """How much of the run is done, 0 to 1."""
    return min(job.step / job.total_steps, 1.0) if job.total_steps else 0.0


def list_html(jobs: Sequence[Job], chosen: int) -> str:
    """Every run as a button with its state; the chosen one marked."""
    if not jobs:
        return muted(words.LIST_EMPTY)
    return f'<div class="cards">{"".join(_card(job, chosen) for job in jobs)}</div>'


def _card(job: Job, chosen: int) -> str:
    kind, label = status_of(job)
    if job.status is JobStatus.running and job.total_steps:
        label = f"{label} {share_done(job):.0%}"
    pressed = "true" if job.id == chosen else "false"
    bar = _bar(job) if job.status is JobStatus.running else ""
    return (
        f'<button type="button" class="card run" data-action="choose" data-id="{job.id}"'
        f' aria-pressed="{pressed}"><span class="name">{text(job.name)}</span>'
        f'{pill(kind, label)}<span class="sub">#{job.id}, {text(moment(job.created_at))}</span>'
        f"{bar}</button>"
    )


def _bar(job: Job) -> str:
    return (
        f'<span class="progress" aria-hidden="true">'
        f'<i style="width:{100 * share_done(job):.1f}%"></i></span>'
    )


def status_html(jobs: Sequence[Job], away: bool) -> str:
    """The queue in a few words, for the frame; pressing it leads to the run."""
    waiting = sum(job.status is JobStatus.queued for job in jobs)
    active = [job for job in jobs if job.is_active]
    if not active:
        return f'<span class="queue-sign">{text(words.SIGN_IDLE)}</span>'
    first = next((job for job in active if job.status is JobStatus.running), active[-1])
    kind, label = status_of(first)
    if away:
        kind, label = "failed", words.SIGN_NO_WORKER
    elif first.status is JobStatus.running and first.total_steps:
        label = f"{label} {share_done(first):.0%}"
    others = waiting - (first.status is JobStatus.queued)
    more = words.SIGN_MORE.format(count=others) if others else ""
    return (
        f'<button type="button" class="queue-sign" data-action="choose" data-id="{first.id}">'
        f'{pill(kind, label)}<span class="name">{text(first.name)}</span>'
        f'<span class="more">{text(more)}</span></button>'
    )


def nothing_html(some: bool = False) -> str:
    """The detail's place while no run is chosen, or there is none."""
    if some:
        return empty_state(words.CHOOSE_TITLE, words.CHOOSE_HINT)
    return empty_state(words.EMPTY_TITLE, words.EMPTY_HINT)


def header_html(
    job: Job,
    queue_place: int,
    worker_away: bool,
    has_checkpoint: bool = False,
    has_data: bool = True,
) -> str:
    """Name, state, progress, figures, and why it failed."""
    kind, label = status_of(job)
    parts = [
        f'<div class="run-head"><h2>{text(job.name)}</h2>{pill(kind, label)}</div>',
        f'<p class="muted">#{job.id}, {text(job.config.base_model)}, '
        f"{text(moment(job.created_at))}</p>",
    ]
    if worker_away and job.is_active:
        parts.append(notice("warning", common.WORKER_HINT))
    if job.status is JobStatus.queued:
        place = words.QUEUE_NEXT if queue_place <= 1 else words.QUEUE_PLACE
        parts.append(f'<p class="phase">{text(place.format(place=queue_place))}</p>')
    if job.status is JobStatus.running:
        parts.append(_progress(job))
    if job.error:
        parts.append(notice("error", job.error))
    elif job.status is JobStatus.cancelled:
        parts.append(notice("info", job.message or _taken_out(job, has_checkpoint)))
    if job.can_resume and not has_data:
        parts.append(notice("warning", words.RESUME_NO_DATA))
    elif job.can_resume and job.error:
        parts.append(muted(words.RESUME_SAME))
    parts.append(facts(_figures(job)))
    return "".join(parts)


def _taken_out(job: Job, has_checkpoint: bool) -> str:
    """What is left of a run that was stopped while it waited, perhaps to be gone on with."""
    if not job.step:
        return words.STOPPED_WAITING
    return words.STOPPED_WAITING_KEPT if has_checkpoint else words.STOPPED_WAITING_LOST


def _progress(job: Job) -> str:
    done = share_done(job)
    phase = words.STOPPING_HINT if job.cancel_requested else job.message or words.PHASES[job.phase]
    percent = f"{done:.0%}" if job.total_steps else ""
    now = f' aria-valuenow="{100 * done:.0f}"' if job.total_steps else ""
    return (
        f'<p class="phase"><span role="status">{text(phase)}</span><span>{percent}</span></p>'
        f'<div class="progress large" role="progressbar" aria-valuemin="0" aria-valuemax="100"'
        f' aria-label="{text(words.PHASES[job.phase])}"{now}>'
        f'<i class="{"" if job.total_steps else "unknown"}" style="width:{100 * done:.1f}%">'
        "</i></div>"
    )


def _figures(job: Job) -> list[tuple[str, str]]:
    running = job.status is JobStatus.running
    step = f"{job.step:,} of {job.total_steps:,}" if job.total_steps else ""
    took = (job.finished_at or 0) - (job.started_at or 0) if job.finished_at else 0
    speed = job.tokens_per_second
    return [
        (words.STEP, step),
        (words.LOSS, "" if job.loss is None else loss_text(job.loss)),
        (words.EVAL_LOSS, "" if job.eval_loss is None else loss_text(job.eval_loss)),
        (words.ACCURACY, "" if job.eval_accuracy is None else percent(job.eval_accuracy)),
        (words.MACRO_F1, "" if job.eval_f1 is None else percent(job.eval_f1)),
        (words.SPEED, words.SPEED_VALUE.format(value=speed_text(speed)) if speed else ""),
        (words.MEMORY, megabytes(job.memory_mb) if job.memory_mb else ""),
        (words.LEFT, duration(job.eta_seconds) if running and job.eta_seconds else ""),
        (words.TOOK, duration(took) if job.started_at and took > 0 else ""),
    ]


def result_html(job: Job) -> str:
    """The result in plain words; empty while there is none."""
    if job.is_active or not job.metrics:
        return ""
    sentences = "".join(f"<p>{text(each)}</p>" for each in result_sentences(job.metrics))
    scores = scores_html(job.metrics)
    if not sentences and not scores:
        return ""
    return f'{heading(words.RESULT_TITLE)}<div class="result">{sentences}</div>{scores}'


def log_html(log: str) -> str:
    """The end of the log, as text."""
    if not log.strip():
        return f'<p class="muted">{text(words.LOG_EMPTY)}</p>'
    return f'<pre class="log" tabindex="0">{text(log)}</pre>'


FOLLOW_JS = """
let top = null;  // where the person has scrolled to; null follows the newest line
element.addEventListener('scroll', ({target}) => {
  const below = target.scrollHeight - target.scrollTop - target.clientHeight;
  top = below > 40 ? target.scrollTop : null;
}, true);
watch('value', () => {
  const box = element.querySelector('pre.log');
  if (box) box.scrollTop = top ?? box.scrollHeight;
});
"""
"""For ``gr.HTML(js_on_load=...)`` around ``log_html``."""
TO_THE_END_JS = """() => requestAnimationFrame(() => {
  const box = document.querySelector('#run-log pre.log');
  if (box) box.scrollTop = box.scrollHeight;
})"""
"""When the log is unfolded: what is folded cannot be scrolled."""


def settings_html(job: Job, data_name: str) -> str:
    """The run's settings as JSON text, as they lie in the zip, and what their data set is called.

    ``data_name`` is empty where the data set is gone.
    """
    if job.unreadable:
        return notice("warning", job.unreadable)
    said = words.SETTINGS_DATA.format(name=data_name) if data_name else words.SETTINGS_NO_DATA
    shown = text(json.dumps(job.config.to_json(), indent=2))
    return f'{muted(said)}<pre class="log" tabindex="0">{shown}</pre>'
