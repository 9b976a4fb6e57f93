"""A run that is asked to stop while it measures: what was learned is there, whatever comes."""

import importlib
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lora_engine.progress import Progress
from lora_engine.train import TrainResult, train
from tests.engine.runs import Runs

Asked = Callable[[Progress], bool]


class Killed(BaseException):
    """Stands in for SIGKILL: nothing may catch it."""


class Stopping(Runs):
    """Runs that are asked to stop at a report of theirs."""

    def stopped(
        self, asked: Asked, patience: float = 0, resume: bool = False, **changes: Any
    ) -> TrainResult:
        self.reports = []
        return train(
            self.config(**changes),
            self.tmp_path / "out",
            self.reports.append,
            lambda: any(map(asked, self.reports)),
            home=self.home,
            resume=resume,
            device="cpu",
            checkpoint_seconds=0,
            measure_seconds=patience,
        )

    @property
    def readme(self) -> str:
        with zipfile.ZipFile(self.tmp_path / "out" / "adapter.zip") as zipped:
            return zipped.read("README.md").decode()


@pytest.fixture
def run(model_folder: Path, data_file: Path, home: Path, tmp_path: Path) -> Stopping:
    return Stopping(model_folder, data_file, home, tmp_path)


def after(step: int) -> Asked:
    return lambda report: report.step >= step


def in_the_last_evaluation(report: Progress) -> bool:
    return report.phase == "evaluating" and report.step == report.total_steps > 0


def test_a_stopped_run_killed_while_it_measures_has_left_its_adapter(
    run: Stopping, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = importlib.import_module("lora_engine.train")
    look = engine.look

    def dying(*given: Any) -> Any:
        if run.reports[-1].step == 5:
            raise Killed
        return look(*given)

    monkeypatch.setattr(engine, "look", dying)
    with pytest.raises(Killed):
        run.stopped(after(5), patience=600)
    assert "5 of 12 updates" in run.readme
    assert "was not measured" in run.readme


def test_with_time_left_a_stopped_run_is_measured(run: Stopping) -> None:
    metrics = run.stopped(after(5), patience=600).metrics
    assert metrics["steps"] == 5
    assert metrics["eval_loss_after"] < metrics["eval_loss_before"]
    assert "was not measured" not in run.readme


def test_a_stop_in_the_last_evaluation_leaves_the_adapter_and_resume_measures(
    run: Stopping,
) -> None:
    result = run.stopped(in_the_last_evaluation)
    assert result.stopped, "so that it can be gone on with"
    assert result.adapter is not None
    assert (result.metrics["steps"], result.metrics["eval_loss_after"]) == (12, None)
    assert "12 of 12 updates" in run.readme
    assert "was not measured" in run.readme
    again = run.stopped(lambda _: False, resume=True)
    assert not again.stopped
    assert again.metrics["eval_loss_after"] == run("whole").metrics["eval_loss_after"]


def test_a_stop_in_an_evaluation_on_the_way_ends_the_run_there(run: Stopping) -> None:
    result = run.stopped(lambda report: report.phase == "evaluating" and report.step == 3)
    assert (result.stopped, result.metrics["steps"]) == (True, 3)
    assert run.stopped(lambda report: report.phase == "evaluating").adapter is None


def test_a_stop_while_test_rows_are_measured_leaves_what_is_known(
    run: Stopping, data_file: Path
) -> None:
    result = run.stopped(lambda report: "test rows" in report.message, test_dataset=str(data_file))
    assert result.stopped
    assert result.metrics["eval_loss_after"] is not None
    assert result.metrics["test"] is None
    assert "12 of 12 updates" in run.readme
