"""A run answers a whole file, with a tiny real adapter: what is kept, shown and served."""

import csv
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from app import bringing, file_answers, keeping
from app.answers_view import answers_html
from app.downloads import answers_route
from app.file_answers import FileOptions, answer_file, latest
from app.services import Services
from jobs.job import Job
from jobs.tools import ToolError
from lora_engine.errors import SettingsError
from tests import tiny
from tests.engine.adapters import make

SHORT = FileOptions(limit=2, max_new_tokens=3)


def quiet(_: str) -> None: ...


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    opened = Services.open(tmp_path_factory.mktemp("answers") / "home")
    yield opened
    opened.close()
    opened.store.close()


@pytest.fixture(scope="module")
def job(services: Services, tmp_path_factory: pytest.TempPathFactory) -> Job:
    folder = tmp_path_factory.mktemp("adapter")
    base = tiny.save_model_folder(folder / "model")
    adapter = make(folder / "a", tiny.llama(), str(base))
    return bringing.bring_in(services, adapter, "", quiet, name="House style")


def test_the_last_file_of_answers_stays_with_the_run(
    services: Services, job: Job, tmp_path: Path
) -> None:
    assert latest(services, job.id) is None
    file = tmp_path / "q.csv"
    file.write_text("question,id\n<b>who</b>,1\nwhat,2\nthe sea,3\n")
    said: list[str] = []
    path, found = answer_file(services, job, str(file), SHORT, said.append)
    assert "Answered 2 of 2 rows" in said
    assert services.library.list() == [], "it is not kept with the data sets"
    with path.open(encoding="utf-8-sig", newline="") as opened:
        assert [row["id"] for row in csv.DictReader(opened)] == ["1", "2"]
    assert latest(services, job.id) == (path, found)

    kept = services.library.add(file)
    options = SHORT.model_copy(update={"format": "jsonl", "with_base": True, "limit": None})
    again, found = answer_file(services, job, kept.dataset_id, options, quiet)
    rows = [json.loads(line) for line in again.read_text("utf-8").splitlines()]
    assert list(rows[2]) == ["question", "id", "model_answer", "base_answer"]
    assert latest(services, job.id) == (again, found)
    assert not path.exists()

    with pytest.raises(ToolError, match="no data set and no file"):
        answer_file(services, job, str(tmp_path / "gone.csv"), SHORT, quiet)
    assert latest(services, job.id) == (again, found), "what was there stays"
    folder = services.store.job_dir(job.id)
    assert sorted(each.name for each in folder.iterdir()) == ["adapter.zip", "answers"]

    html = answers_html(job, again, found, services.library.peek(again, 5))
    assert "3 rows were answered" in html
    assert "&lt;b&gt;who" in html
    assert f"adapters/{job.id}.answers" in html
    with TestClient(Starlette(routes=[answers_route(services)])) as web:
        sent = web.get(f"/adapters/{job.id}.answers")
        assert sent.content == again.read_bytes()
        assert f"house-style-{job.id}-answers.jsonl" in sent.headers["content-disposition"]
        assert web.get("/adapters/99.answers").status_code == 404
        left = services.store.job_dir(99) / "answers"  # of a run that is being deleted
        shutil.copytree(folder / "answers", left)
        assert web.get("/adapters/99.answers").status_code == 404

    (folder / "answers" / "report.json").write_text("{")
    assert latest(services, job.id) is None
    file_answers.forget(services, job.id)
    assert not (folder / "answers").exists()
    keeping.check_run(services, job.id)


@pytest.mark.parametrize("bad", [{"limit": 0}, {"format": "xlsx"}, {"max_new_tokens": 0}, {"x": 1}])
def test_options_are_checked(bad: dict[str, object]) -> None:
    with pytest.raises(SettingsError):
        FileOptions.parse(bad)
