"""The handlers of the panel for what comes after training, without a browser."""

import pytest

from app.guard import handler
from app.main import Page
from app.services import Services
from lora_engine.config import TrainConfig
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
    assert offered[after.other]["choices"] == [(f"Other (#{other})", other)]
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


def test_training_goes_on_from_an_adapter(page: Page, services: Services, dataset_id: str) -> None:
    run = finished(services, dataset_id, "Done", lora={"r": 4})
    changes = page.train_further(run, dataset_id)
    fields = page.train.layout.fields
    start = changes[fields["start_from"].control]
    assert start["value"] == str(services.store.adapter_zip(run))
    assert changes[fields["lora.r"].control] == 4
    assert "goes on from “Done”" in changes[page.train.layout.notice]
    assert changes[page.memory.tab] == "train"
