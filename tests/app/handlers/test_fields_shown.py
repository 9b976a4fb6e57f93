"""Which of the train tab's fields are shown, and what is said at them."""

from pathlib import Path

import pytest

from app.fields import TARGETS
from app.main import Page
from app.train_form import Values
from tests.app.handlers.steps import STARTER, form, labelled
from tests.conftest import ENCODER


@pytest.mark.parametrize(
    ("method", "shown", "hidden"),
    [
        ("lora", "lora.use_dora", "lora.galore_scale"),
        ("galore", "lora.r", "lora.lora_alpha"),
        ("freeze", "lora.freeze_trainable_layers", "lora.r"),
        ("full", "learning_rate", TARGETS),
    ],
)
def test_only_the_fields_of_a_method_are_shown(
    page: Page, dataset_id: str, method: str, shown: str, hidden: str
) -> None:
    fields = page.train.layout.fields
    changes = page.train.pick_deciding(dataset_id, STARTER, *form(page, **{"lora.method": method}))
    assert changes[fields[shown].box]["elem_classes"] == ["field"]
    assert changes[fields[hidden].box]["elem_classes"] == ["field", "off"]


def test_what_the_best_goes_by_is_asked_of_a_classifier_that_keeps_one(
    page: Page, dataset_id: str, tmp_path: Path
) -> None:
    box = page.train.layout.fields["metric_for_best_model"].box
    moods = labelled(page.services, tmp_path)
    off = {"load_best_model_at_end": False, "early_stopping_patience": None}
    for data, changes, shown in (
        (moods, {"load_best_model_at_end": True}, True),
        (moods, {"early_stopping_patience": 3}, True),
        (moods, {}, False),
        (dataset_id, {"load_best_model_at_end": True}, False),
    ):
        updates = page.train.pick_deciding(data, STARTER, *form(page, **off | changes))
        assert updates[box]["elem_classes"] == (["field"] if shown else ["field", "off"])


HELD_OUT_ONLY = ("sample_answers", "load_best_model_at_end", "early_stopping_patience")


@pytest.mark.parametrize(
    ("model", "changes", "hidden"),
    [
        (STARTER, {}, {"lora.bias"}),
        (ENCODER, {}, {"sample_answers"}),
        (STARTER, {"validation_share": 0}, {"lora.bias", *HELD_OUT_ONLY}),
        (STARTER, {"start_from": "an adapter"}, {"lora.bias", "lora.init_lora_weights"}),
    ],
)
def test_what_does_nothing_is_hidden(
    page: Page, dataset_id: str, tmp_path: Path, model: str, changes: Values, hidden: set[str]
) -> None:
    """SmolLM2 has no bias vectors, MiniLM has; a classifier answers no questions."""
    layout = page.train.layout
    data = dataset_id if model == STARTER else labelled(page.services, tmp_path)
    updates = page.train.pick_deciding(data, model, *form(page, **changes))
    asked = {"lora.bias", "lora.init_lora_weights", *HELD_OUT_ONLY}
    off = {n for n in asked if "off" in updates[layout.fields[n].box]["elem_classes"]}
    assert off == hidden


def test_what_this_machine_lacks_is_said_at_its_field(page: Page, dataset_id: str) -> None:
    fields = page.train.layout.fields
    changes = page.train.recount(
        True, "", dataset_id, STARTER, *form(page, start_from="/no/such/adapter")
    )
    assert "There is no adapter at /no/such/adapter" in changes[fields["start_from"].problem]
    changes = page.train.recount(True, "", dataset_id, STARTER, *form(page, test_dataset="nope"))
    assert "There is no data set “nope”" in changes[fields["test_dataset"].problem]


def test_a_choice_that_is_gone_is_passed_over(page: Page, dataset_id: str) -> None:
    values = form(page, **{TARGETS: ["q_proj", "query", "v_proj"]})
    changes = page.train.recount(True, "", dataset_id, STARTER, *values)
    assert "460,800" in changes[page.train.layout.counts]
