"""Whether something of the runs has changed, which every open page asks once a second.

Not by Gradio's timer: for each of its looks the browser goes through all that the page holds,
which took a quarter of a core beside a run that wants them all (benchmarks/notes/page-and-data.md).
"""

import time

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from app import runs_view
from app.services import Services
from jobs.job import Job
from jobs.store import Store

LOOK_MILLISECONDS = 1000
NEWS_JS = f"""
let known = null, asking = false;
setInterval(async () => {{
  if (asking || document.hidden) return;
  asking = true;
  try {{
    const answer = await fetch('news');
    const now = answer.ok ? await answer.text() : known;
    if (now !== known) trigger('click', {{}});
    known = now;
  }} catch {{
    // the page says by itself that its server is away
  }} finally {{
    asking = false;
  }}
}}, {LOOK_MILLISECONDS});
"""
"""For ``gr.HTML(js_on_load=...)``: what has changed becomes a click."""


def news_route(services: Services) -> Route:
    """``GET /news``: a text that is another one once there is something new to draw."""

    def tell(_: Request) -> Response:
        return PlainTextResponse(news(services.store), headers={"Cache-Control": "no-store"})

    return Route("/news", tell, methods=["GET"])


def news(store: Store) -> str:
    """A mark of all that the Runs tab may show of any run."""
    jobs = newest_and_active(store)
    away = runs_view.worker_is_away(jobs, time.time())
    return str(hash((away, *((fingerprint(job), _log(store, job)) for job in jobs))))


def newest_and_active(store: Store) -> list[Job]:
    """The newest runs and those that have not ended, the newest first."""
    jobs = {job.id: job for job in (*store.list(), *store.active())}
    return sorted(jobs.values(), key=lambda job: -job.id)


def fingerprint(job: Job) -> tuple[object, ...]:
    """What of a run is seen on the tab, besides its log."""
    return (
        *(job.id, job.status, job.phase, job.message, job.step, job.total_steps, job.loss),
        *(job.eval_loss, job.eta_seconds, job.memory_mb, job.cancel_requested, job.finished_at),
        job.error,
    )


def _log(store: Store, job: Job) -> tuple[int, int]:
    try:
        found = store.log_path(job.id).stat()
    except OSError:
        return (0, 0)
    return found.st_size, found.st_mtime_ns
