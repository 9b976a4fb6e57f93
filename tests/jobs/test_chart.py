"""The chart of a run, on a real SQLite file."""

import itertools

from jobs.chart import MAX_POINTS
from lora_engine.progress import Progress
from tests.jobs.queue_helpers import WORKER, running, training


def test_two_reports_of_one_step_are_one_point(store):
    job = running(store)
    store.record(job.id, WORKER, training(3, learning_rate=0.1))
    store.record(job.id, WORKER, Progress(phase="evaluating", step=3, total_steps=9, eval_loss=2.0))
    [point] = store.progress(job.id)
    assert (point.step, point.loss, point.eval_loss, point.learning_rate) == (3, 1.0, 2.0, 0.1)


def test_scores_are_kept_with_the_loss_they_were_measured_with(store):
    job = running(store)
    store.record(job.id, WORKER, training(3))
    store.record(job.id, WORKER, training(3, eval_loss=2.0, eval_accuracy=0.0, eval_f1=0.5))
    store.record(job.id, WORKER, training(4))
    found = [(point.eval_accuracy, point.eval_f1) for point in store.progress(job.id)]
    assert found == [(0.0, 0.5), (None, None)]
    now = store.get(job.id)
    assert (now.eval_accuracy, now.eval_f1) == (0.0, 0.5), "the latest stay until the next"


def test_going_on_from_a_checkpoint_takes_back_the_points_after_it(store):
    job = running(store)
    for step in (1, 2, 3, 4, 5, 3):
        store.record(job.id, WORKER, training(step))
    assert [point.step for point in store.progress(job.id)] == [1, 2, 3]


def test_a_long_chart_stays_small_and_even(store):
    job = running(store)
    with store._database.atomic():  # one transaction, for speed
        for step in range(0, 100_000, 10):
            evaluated = {"eval_loss": 2.0} if step % 5000 == 0 else {}
            store.record(job.id, WORKER, training(step, **evaluated))
    steps = [point.step for point in store.progress(job.id)]
    assert MAX_POINTS / 4 < len(steps) <= MAX_POINTS
    assert (steps[0], steps[-1]) == (0, 99_990)
    assert max(b - a for a, b in itertools.pairwise(steps)) <= 600
    evaluations = [point.step for point in store.progress(job.id) if point.eval_loss]
    assert evaluations == list(range(0, 100_000, 5000))
