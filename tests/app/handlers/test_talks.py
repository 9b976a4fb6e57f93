"""Answers that are still being written where their window begins another conversation."""

import pytest

from app.main import Page
from app.services import Services
from tests.app.handlers.conftest import Script
from tests.app.handlers.steps import asking, finished, window


@pytest.mark.parametrize("way", ["start over", "another run", "from Runs", "its run is gone"])
def test_an_answer_is_left_where_its_window_begins_another_conversation(
    page: Page, services: Services, dataset_id: str, way: str
) -> None:
    tab, script = page.playground, services.generator
    assert isinstance(script, Script)
    first, other = (finished(services, dataset_id, name) for name in "AB")
    script.events = [
        {"event": "text", "row": 1, "text": "Ahoy"},
        {"event": "text", "row": 1, "text": "Ahoy there"},
        {"event": "done", "texts": ["Hello.", "Ahoy there"], "divergence": 0.4,
         "tokens_per_second": 20.0, "stopped": True, "cut": [False, False]},
    ]  # fmt: skip
    steps = asking(page, first, "Hi?")
    assert any("Ahoy" in step.get(tab.sides.columns[1], "") for step in steps)
    if way == "its run is gone":
        services.store.delete(first)
    begun = {
        "start over": lambda: tab.anew(tab.start_over)(window("one"), first, []),
        "another run": lambda: tab.anew(tab.pick)(window("one"), other),
        "from Runs": lambda: tab.anew(page.go_to_playground)(window("one"), other),
        "its run is gone": lambda: tab.look_again(window("one"), first, []),
    }[way]()
    assert begun[tab.said].sides == ((), ())
    assert script.stops == ["one"]
    rest = list(steps)
    changed = {key for step in rest for key in step}
    assert changed == {tab.notice, tab.send, tab.stop, *tab.choice.inputs}
    assert rest[-1][tab.send]["interactive"]
    assert not rest[-1][tab.stop]["interactive"]
    assert rest[-1][tab.notice] == "", "where it said what it was doing"


@pytest.mark.parametrize("end", ["withdrawn", "error"])
def test_the_end_of_an_answer_that_was_left_is_not_told(
    page: Page, services: Services, dataset_id: str, end: str
) -> None:
    tab, script = page.playground, services.generator
    assert isinstance(script, Script)
    run = finished(services, dataset_id)
    script.events = [
        {"event": "status", "message": "Loading"}, {"event": end, "message": "Ended."},
    ]  # fmt: skip
    steps = asking(page, run, "Hi?")
    assert any("Loading" in step.get(tab.notice, "") for step in steps)
    tab.anew(tab.start_over)(window("one"), run, [])
    [ended] = steps
    assert ended[tab.notice] == ""
    assert tab.prompt not in ended
    assert ended[tab.send]["interactive"]


def test_an_answer_stays_where_another_window_or_none_begins_anew(
    page: Page, services: Services, dataset_id: str
) -> None:
    tab, script = page.playground, services.generator
    assert isinstance(script, Script)
    run = finished(services, dataset_id)
    script.events = [
        {"event": "status", "message": "Loading"},
        {"event": "done", "texts": ["Hello.", "Ahoy!"], "divergence": 0.4,
         "tokens_per_second": 20.0, "stopped": False, "cut": [False, False]},
    ]  # fmt: skip
    steps = asking(page, run, "Hi?")
    assert any("Loading" in step.get(tab.notice, "") for step in steps)
    tab.anew(tab.start_over)(window("two"), run, [])
    tab.look_again(window("one"), run, [])
    assert script.stops == []
    assert [step for step in steps if tab.said in step]
    tab.anew(tab.start_over)(window("one"), run, [])
    assert script.stops == [], "it has ended"
