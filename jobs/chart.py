"""The chart of a run: one point a step, kept in SQLite and thinned out evenly as it grows."""

from sqlite_utils import Database

from jobs.job import ProgressPoint
from lora_engine.progress import Progress

MAX_POINTS = 2000
"""Points kept of one job's chart."""


def points(database: Database, job_id: int) -> list[ProgressPoint]:
    """All points of a job, in order."""
    rows = database.query(
        """
        SELECT step, loss, eval_loss, eval_accuracy, eval_f1, learning_rate, tokens_per_second, at
        FROM progress WHERE job_id = ? ORDER BY step
        """,
        [job_id],
    )
    return [ProgressPoint(**row) for row in rows]


def add_point(database: Database, job_id: int, progress: Progress, at: float) -> None:
    """Add to the point of this step; later points are from before a restart, so they go.

    ``at`` is in unix seconds.
    """
    database.execute("DELETE FROM progress WHERE job_id = ? AND step > ?", [job_id, progress.step])
    database.execute(
        """
        INSERT INTO progress (job_id, step, loss, eval_loss, eval_accuracy, eval_f1,
            learning_rate, tokens_per_second, at)
        VALUES (:id, :step, :loss, :eval_loss, :eval_accuracy, :eval_f1,
            :learning_rate, :tokens_per_second, :at)
        ON CONFLICT (job_id, step) DO UPDATE SET loss = COALESCE(excluded.loss, loss),
            eval_loss = COALESCE(excluded.eval_loss, eval_loss),
            eval_accuracy = COALESCE(excluded.eval_accuracy, eval_accuracy),
            eval_f1 = COALESCE(excluded.eval_f1, eval_f1)
        """,
        {"id": job_id, "at": at, **progress.model_dump()},
    )
    if database["progress"].count_where("job_id = ?", [job_id]) > MAX_POINTS:
        _thin(database, job_id, progress.step)


def delete(database: Database, job_id: int) -> None:
    """Remove all points of a job."""
    database.execute("DELETE FROM progress WHERE job_id = ?", [job_id])


def _thin(database: Database, job_id: int, last_step: int) -> None:
    """Keep about half of the points, spread evenly over the steps, and the latest one."""
    database.execute(
        """
        DELETE FROM progress WHERE job_id = :id AND step < :last AND step NOT IN (
            SELECT MIN(step) FROM progress WHERE job_id = :id
            GROUP BY step * :parts / (:last + 1), eval_loss IS NULL
        )
        """,
        {"id": job_id, "last": last_step, "parts": MAX_POINTS // 4},
    )
