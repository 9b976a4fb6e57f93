"""The handlers of the panel for what comes after training, without a browser."""

import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from app.file_answers import FileOptions
from app.guard import handler
from app.main import Page
from app.services import Services
from lora_engine.config import TrainConfig
from lora_engine.errors import DataError
from tests.app.handlers.steps import STARTER, click, finished


def test_after_training_is_there_for_an_adapter(
    page: Page, services: Services, dataset_id: str
) -> None:
    after = page.runs.after
    run = finished(services, dataset_id)
    shown = after.show(run)
    assert shown[after.panel]["visible"]
    assert shown[after.combine_none]["visible"]
    assert shown[after.shrink_r] == 4
    assert "about 538.1 MB" in shown[after.merge_hint]
    assert "deleted with the run" in shown[after.merge_hint]
    other = finished(services, dataset_id, "Other")
    finished(services, dataset_id, "DoRA", lora={"use_dora": True})
    offered = after.offer_others(run)
    assert offered[after.combine_box]["visible"]
    assert offered[after.others]["choices"] == [(f"Other (#{other})", other)]
    assert "value" not in offered[after.others], "a choice may be made meanwhile"
    assert "value" not in after.offer_others(run, [other])[after.others]
    assert after.offer_others(run, [other, 999])[after.others]["value"] == [other]
    assert after.show(run)[after.others]["value"] == [], "another run has another sum"
    whole = finished(services, dataset_id, "Whole", lora={"method": "full"})
    labels = {"roles": {"text": "completion", "label": "prompt"}}
    for other_kind in ({"lora": {"use_dora": True}}, {"task": "classification"}, labels):
        shown = after.show(finished(services, dataset_id, "More than pairs", **other_kind))
        assert shown[after.ranks_box]["visible"]
        assert not any(shown[each]["visible"] for each in (after.sum_box, after.gguf))
        assert "GGUF is for" not in shown[after.export_title]
    rewriting = finished(services, dataset_id, "T5", task="seq2seq")
    assert after.show(rewriting)[after.sum_box]["visible"]
    assert not after.show(rewriting)[after.gguf]["visible"]
    shown = after.show(whole)
    assert shown[after.panel]["visible"], "a full model can be made of it"
    assert not any(shown[each]["visible"] for each in (after.ranks_box, after.sum_box, after.gguf))
    assert "own weights" in shown[after.export_title]
    assert page.runs.choose(click(id=str(whole)))[after.panel]["visible"], "and stays"
    assert after.show(run)[after.gguf]["visible"]
    asked = {"base_model": STARTER, "dataset": dataset_id}
    waiting = services.store.enqueue(TrainConfig.parse(asked), "Waiting").id
    shown = after.show(waiting)
    assert not shown[after.panel]["visible"]
    assert shown[after.ranks_box]["visible"], "as it will be once the run has ended"
    assert not after.pick_way("cat")[after.combine_r]["visible"]
    assert not after.show(0)[after.panel]["visible"]


def test_long_work_is_told_at_its_own_place(
    page: Page, services: Services, dataset_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    after = page.runs.after
    run = finished(services, dataset_id)
    made = services.store.get(finished(services, dataset_id, "Made"))
    monkeypatch.setattr("app.making.shrink", lambda *_: (made, {"sentence": "From rank 8 to 2."}))
    steps = list(after.make_smaller(run, 2))
    assert 'role="progressbar"' in steps[0][after.shrink_place]
    said = steps[-1][after.shrink_place]
    assert "From rank 8 to 2." in said
    assert f'data-id="{made.id}"' in said
    assert after.run not in steps[-1], "the chosen run stays"
    assert after.open_made(click(id=str(made.id))) == {after.run: made.id}
    refused = list(handler(after.shrink_place)(after.make_smaller)(run, None))
    assert "Type the new rank" in refused[-1][after.shrink_place]

    monkeypatch.setattr(
        "app.making.export", lambda *_: (services.home / "merged", {"sentence": "Made."})
    )
    exported = list(after.export_merged(run))[-1]
    assert "merged" in exported[after.exported["merged"]]
    assert after.exported["gguf"] not in exported, "the link to the other export stays"


def test_a_whole_file_is_answered(
    page: Page, services: Services, dataset_id: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = page.runs.after.answers
    run = finished(services, dataset_id)
    asked: list[Any] = []
    states: list[bool] = []

    def answered(
        services: Services, job: Any, data: str, options: Any, _: Any, stop: Callable[[], bool]
    ) -> tuple[Path, dict[str, Any]]:
        asked.append((data, options))
        if data == "bad":
            raise DataError("It is not clear which column is to be answered.")
        part.ask_stop(job.id)
        states.append(stop())
        states.append(part.show(job)[part.stop]["visible"])
        folder = services.store.job_dir(job.id) / "answers"
        folder.mkdir()
        (folder / "answers.csv").write_text("question,model_answer\n<i>Who?,Me\n")
        found = {"roles": {"prompt": "question"}, "columns": ["model_answer"]}
        (folder / "report.json").write_text(json.dumps({**found, "sentence": "Stopped: 1 of 9."}))
        return folder / "answers.csv", found

    monkeypatch.setattr("app.answers_part.answer_file", answered)
    answer = handler(part.place)(part.answer)
    refused = list(answer(run, None, "", 100, 128, False))[-1]
    assert "Choose a data set or a file first" in refused[part.place]
    refused = list(answer(run, dataset_id, "", 0, 128, False))[-1]
    assert "limit must be at least 1" in refused[part.place]
    *_, back, refused = answer(run, "bad", "", 100, 128, False)
    assert "not clear which column" in refused[part.place]
    assert back[part.start]["visible"]
    assert not back[part.stop]["visible"]

    *_, last = answer(run, dataset_id, "", None, None, True)
    steps = answer(run, "bad", "", 1, 1, False)
    assert any(step.get(part.stop, {}).get("visible") for step in steps)
    data, options = asked[1]
    assert (data, options.limit, options.max_new_tokens, options.with_base) == (
        dataset_id, None, 128, True,
    )  # fmt: skip
    assert states == [True, True], "Stop is heard, and offered to whoever looks meanwhile"
    assert "Stopped: 1 of 9." in last[part.result]
    assert "&lt;i&gt;Who?" in last[part.result]
    assert part.show(services.store.get(run))[part.result] == last[part.result]
    assert not part.show(services.store.get(run))[part.stop]["visible"]

    name = services.library.get(dataset_id).name
    (tmp_path / "mine.csv").write_text("question\nWho?\n")
    taken = part.take(str(tmp_path / "mine.csv"))
    assert taken[part.data]["choices"] == [
        ("mine.csv (from your disk)", "uploaded"), (name, dataset_id),
    ]  # fmt: skip
    assert taken[part.data]["value"] == "uploaded"
    offered = part.offer(dataset_id, "")[part.data]
    assert offered["choices"] == [(name, dataset_id)]
    assert "value" not in offered, "another choice may be made meanwhile"
    assert part.offer("deleted meanwhile", "")[part.data]["value"] is None
    list(answer(run, "uploaded", taken[part.uploaded], 1, 1, False))
    assert asked[-1][0] == taken[part.uploaded] != str(tmp_path / "mine.csv")


def test_two_windows_do_not_answer_for_one_run_at_once(
    page: Page, services: Services, dataset_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = page.runs.after.answers
    job = services.store.get(finished(services, dataset_id))
    at_work, go_on = threading.Event(), threading.Event()

    def answered(*_: Any) -> tuple[Path, dict[str, Any]]:
        at_work.set()
        assert go_on.wait(30)
        return Path("x"), {}

    monkeypatch.setattr("app.answers_part.answer_file", answered)
    with ThreadPoolExecutor() as pool:
        first = pool.submit(part._answered, job, "x", FileOptions(), lambda _: None)
        assert at_work.wait(30)
        with pytest.raises(DataError, match="already"):
            part._answered(job, "x", FileOptions(), lambda _: None)
        assert part.show(job)[part.stop]["visible"], "the first one can still be stopped"
        go_on.set()
        assert first.result(30) == (Path("x"), {})
    assert not part.show(job)[part.stop]["visible"]


def test_only_what_applies_is_offered_for_a_file(
    page: Page, services: Services, dataset_id: str
) -> None:
    part = page.runs.after.answers
    labels = {"roles": {"text": "completion", "label": "prompt"}}
    for settings, writes, said in (
        ({}, True, "Questions alone"),
        ({"task": "text"}, True, "is gone on with"),
        (labels, False, "gets a label"),
    ):
        shown = part.show(services.store.get(finished(services, dataset_id, **settings)))
        assert shown[part.with_base]["visible"] is writes
        assert shown[part.longest_box]["visible"] is writes
        assert said in shown[part.title]


def test_training_goes_on_from_an_adapter(page: Page, services: Services, dataset_id: str) -> None:
    run = finished(services, dataset_id, "Done", lora={"r": 4})
    changes = page.train_further(run, dataset_id)
    fields = page.train.layout.fields
    start = changes[fields["start_from"].control]
    assert start["value"] == str(services.store.adapter_zip(run))
    assert changes[fields["lora.r"].control] == 4
    assert "goes on from “Done”" in changes[page.train.layout.notice]
    assert changes[page.memory.tab] == "train"
