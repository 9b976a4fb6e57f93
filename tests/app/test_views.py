"""What the tabs show, as pure functions: everything from outside is text, never markup."""

import os
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from app import clock, counts_view, data_view, playground_view, runs_view, uploads
from app.conversation import sample_html, turns_html
from app.downloads import zip_name
from app.html import notice, plural, text
from app.tensors_view import MOST_SHOWN, tensors_html
from app.wording import data as data_words
from jobs.job import Job, JobStatus
from lora_engine.config import LoraConfig, TrainConfig
from lora_engine.counts import count_parameters
from lora_engine.data import Dataset, Problem, Sample, Turn
from lora_engine.profile import TensorInfo
from lora_engine.starters import shipped_profile
from lora_engine.table import TensorRow

EVIL = "<script>alert(1)</script><img src=x onerror=alert(1)>\"'&{{7*7}}${7*7}"
PROFILE = shipped_profile("smollm2-135m-instruct")


class Tags(HTMLParser):
    """The tags and attributes that a browser would see."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.text += data


def seen(html: str) -> Tags:
    tags = Tags()
    tags.feed(html)
    tags.close()
    return tags


def test_settings_that_cannot_be_read_are_not_shown_as_others() -> None:
    html = runs_view.settings_html(job(unreadable="The settings cannot be read."), "")
    assert "The settings cannot be read." in html
    assert "learning_rate" not in html


def dataset(**changes: Any) -> Dataset:
    values: dict[str, Any] = {
        "dataset_id": "0123456789abcdef", "name": "Numbers", "file_name": "n.csv",
        "created_at": "2026-01-01T00:00:00Z", "format": "csv", "encoding": "utf-8",
        "delimiter": ";", "columns": ("q", "a"), "roles": {"prompt": "q", "completion": "a"},
        "task": "chat", "rows": 3, "total_rows": 4,
    }  # fmt: skip
    return Dataset.model_validate(values | changes)


def job(**changes: Any) -> Job:
    values: dict[str, Any] = {
        "id": 7, "name": "Numbers", "status": JobStatus.running,
        "config": TrainConfig(base_model="m", dataset="d"), "phase": "training", "message": "",
        "step": 30, "total_steps": 120, "loss": 1.5, "eval_loss": 1.6, "learning_rate": 1e-4,
        "eval_accuracy": None, "eval_f1": None,
        "tokens_per_second": 200.4, "memory_mb": 2140.0, "eta_seconds": 75.0, "metrics": None,
        "error": None, "created_at": 1000.0, "queued_at": 1000.0, "started_at": 1000.0,
        "finished_at": None, "cancel_requested": False, "attempts": 1, "worker": "w",
        "device": "cpu", "heartbeat_at": 1000.0,
    }  # fmt: skip
    return Job(**values | changes)


def ended_at(moment: float) -> Job:
    return job(status=JobStatus.succeeded, finished_at=moment)


@pytest.mark.parametrize(
    "html",
    [
        sample_html(Sample(line=2, messages=(Turn(role="user", content=EVIL),))),
        sample_html(Sample(line=2, text=EVIL)),
        turns_html([Turn(role="assistant", content=EVIL), Turn(role="system", content=EVIL)]),
        data_view.summary_html(dataset(name=EVIL, roles={"prompt": EVIL, "completion": EVIL})),
        data_view.summary_html(dataset(rows_notes=(EVIL,))),
        data_view.kept_html([dataset(name=EVIL)], ""),
        data_view.problems_html(
            dataset(problems=(Problem(line=3, kind="empty", message=EVIL),), problem_count=1)
        ),
        runs_view.list_html([job(name=EVIL)], 7),
        runs_view.header_html(job(name=EVIL, message=EVIL, error=EVIL), 0, False),
        runs_view.status_html([job(name=EVIL)], False),
        runs_view.log_html(EVIL),
        runs_view.settings_html(job(config=TrainConfig(base_model=EVIL, dataset=EVIL)), EVIL),
        playground_view.side_html(
            playground_view.Head(EVIL, EVIL), [Turn(role="user", content=EVIL)], EVIL
        ),
        playground_view.examples_html([(EVIL, EVIL)]),
        tensors_html([TensorRow(EVIL, (1,), EVIL, True)]),
        playground_view.labels_html(playground_view.ADAPTED, {EVIL: 0.5}),
        notice("error", EVIL),
    ],
)
def test_text_from_outside_is_never_markup(html: str) -> None:
    found = seen(html)
    assert not found.tags & {"script", "img", "a"}
    assert not found.attributes & {"onerror", "src", "href"}
    assert "alert(1)" in found.text or "alert(1)" in html


def test_a_conversation_marks_what_is_learned() -> None:
    turns = (
        Turn(role="system", content="Be brief."),
        Turn(role="user", content="Hello?"),
        Turn(role="assistant", content="Ahoy!"),
    )
    html = sample_html(Sample(line=4, messages=turns))
    assert html.count("learned-mark") == 1
    assert "Line 4" in html
    assert [role in html for role in ("turn system", "turn user", "turn assistant")] == [True] * 3
    assert "learned-mark" not in turns_html(turns)
    assert data_words.EMPTY in turns_html([Turn(role="assistant", content=" \n")])


def test_an_answer_of_weight_0_is_marked_as_read_only() -> None:
    turns = (
        Turn(role="user", content="Hello?"),
        Turn(role="assistant", content="Go away!", weight=0),
        Turn(role="assistant", content="Ahoy!"),
    )
    html = sample_html(Sample(line=4, messages=turns))
    assert html.count("turn assistant learned") == 1
    assert html.index(data_words.UNLEARNED) < html.index("Go away!") < html.index("Ahoy!")


def test_shapes_and_roles() -> None:
    assert data_view.shape_of({"messages": "m"}) == "conversation"
    assert data_view.shape_of({"instruction": "i", "output": "o"}) == "instruction"
    assert data_view.shape_of({}) == "pair"
    chosen = {"prompt": "q", "completion": "a", "system": "", "text": "t", "messages": None}
    assert data_view.roles_for("pair", chosen) == {"prompt": "q", "completion": "a"}
    assert data_view.roles_for("text", chosen) == {"text": "t"}
    assert set(data_view.SHAPE_ROLES) == set(data_words.SHAPES)
    offered = {role for roles in data_view.SHAPE_ROLES.values() for role in roles}
    assert offered == set(data_view.ROLES) == set(data_words.ROLE_LABELS)


def test_everything_that_was_decided_is_said() -> None:
    notes = {"notes": ("A title.",), "roles_note": "A guess.", "rows_notes": ("Labels.",)}
    html = data_view.summary_html(dataset(**notes), ["Unused."])
    assert all(said in html for said in ("A title.", "A guess.", "Labels.", "Unused."))
    assert "Labels." not in data_view.unfinished_view(dataset(**notes), {}).summary


def test_what_will_be_learned_is_said() -> None:
    said = data_view.learn_sentence({"prompt": "q", "completion": "a", "system": "s"})
    assert "“q”" in said
    assert "“a”" in said
    assert "“s”" in said
    assert "“t”" in data_view.learn_sentence({"text": "t"})
    task = {"instruction": "i", "input": "x", "output": "o"}
    assert "“x”" in data_view.learn_sentence(task)
    assert data_view.learn_sentence({"prompt": "q"}) == data_words.LEARN_MISSING


def test_problems_say_how_many_are_not_shown() -> None:
    some = (Problem(line=3, kind="empty", message="Nothing."),)
    assert "of 5" in data_view.problems_html(dataset(problems=some, problem_count=5))
    assert data_words.PROBLEMS_NONE in data_view.problems_html(dataset())


def test_the_counts_card_shows_exact_numbers() -> None:
    lora = LoraConfig(r=8, lora_alpha=16)
    html = counts_view.counts_html(count_parameters(PROFILE, lora), lora)
    for said in ("460,800", "134,975,808", "0.34 %", "1.8 MB", "q_proj × 30", "276,480"):
        assert said in html
    assert "k_proj" not in html
    assert "Memory" not in html, "unknown"
    known = counts_view.counts_html(count_parameters(PROFILE, lora), lora, 2 * 10**9, 10**9)
    assert "needs 2.0 GB before any row is read, and the machine has 1.0 GB" in known
    fits = counts_view.counts_html(count_parameters(PROFILE, lora), lora, 2 * 10**9, 3 * 10**9)
    assert "2.0 GB" in fits
    assert "before any row is read" not in fits
    biased = PROFILE.model_copy(
        update={"tensors": (*PROFILE.tensors, TensorInfo("model.extra.bias", (5,), "float32"))}
    )
    lora = LoraConfig(bias="all")
    assert "bias vectors" in counts_view.counts_html(count_parameters(biased, lora), lora)
    noted = PROFILE.model_copy(update={"notes": ("Its experts are stacked parameters.",)})
    assert counts_view.model_sentence(noted).endswith("Its experts are stacked parameters.")
    choices = counts_view.module_choices(PROFILE)
    assert ("q_proj × 30", "q_proj") in choices
    assert choices[-2:] == [
        ("lm_head × 1 (output head, tied to the embedding)", "lm_head"),
        ("embed_tokens × 1 (embedding)", "embed_tokens"),
    ]


@pytest.mark.parametrize(
    ("divergence", "word"),
    [(0.0, "practically nothing"), (0.0009, "practically nothing"), (0.01, "slightly"),
     (0.4, "clearly"), (3.0, "very much")],
)  # fmt: skip
def test_the_badge_says_how_far_the_adapter_goes(divergence: float, word: str) -> None:
    html = playground_view.badge_html(divergence, 20.2, False)
    assert word in html
    assert ("warning" in html) == (divergence < 0.001)
    assert "20 tokens/s" in html
    assert "mean distance of the two models" in html
    assert "1.3 tokens/s" in playground_view.badge_html(divergence, 1.3, False)
    assert playground_view.badge_html(None, None, False) == ""


def test_a_long_table_of_tensors_is_cut_and_says_so() -> None:
    rows = [
        TensorRow(f"layer.{i}.weight", (2, 3), "float32", i == 0) for i in range(MOST_SHOWN + 5)
    ]
    html = tensors_html(rows)
    assert html.count("<tr class=") == MOST_SHOWN
    assert f"The first {MOST_SHOWN:,} of {MOST_SHOWN + 5:,}" in html
    assert f"{6 * (MOST_SHOWN + 5):,}" in html


def test_the_way_ahead_stands_where_nothing_is_yet() -> None:
    way = data_view.nothing_html()
    assert [step in way for step in ("Data", "Train", "Runs", "Playground")] == [True] * 4
    assert "No runs yet" in runs_view.nothing_html()
    assert "No run chosen" in runs_view.nothing_html(some=True)


def test_rows_that_are_left_out_lead_to_their_reasons() -> None:
    problem = Problem(line=3, kind="empty", message="Line 3 is empty.")
    with_one = data_view.summary_html(dataset(problems=(problem,), problem_count=1))
    assert '<a href="#problems">1 row left out</a>' in with_one
    assert "#problems" not in data_view.summary_html(dataset())


def test_the_sign_of_the_queue() -> None:
    waiting = job(id=8, status=JobStatus.queued, name="Next")
    assert "Nothing" in runs_view.status_html([job(status=JobStatus.succeeded)], False)
    sign = runs_view.status_html([waiting, job()], False)
    assert "25%" in sign
    assert "+1 waiting" in sign
    assert 'data-id="7"' in sign
    assert "No worker" in runs_view.status_html([waiting], True)


@pytest.mark.parametrize(
    ("jobs", "now", "away"),
    [
        ([], 5000, False),
        ([job(status=JobStatus.queued)], 1005, False),
        ([job(status=JobStatus.queued)], 1011, True),
        ([job(status=JobStatus.queued), job()], 1020, False),
        ([job()], 1100, True),
        ([job(status=JobStatus.succeeded)], 5000, False),
        ([job(status=JobStatus.queued), ended_at(4998)], 5000, False),
        ([job(status=JobStatus.queued), ended_at(4980)], 5000, True),
    ],
)
def test_a_missing_worker_is_noticed(jobs: list[Job], now: float, away: bool) -> None:
    assert runs_view.worker_is_away(jobs, now) is away


def test_a_runs_header() -> None:
    html = runs_view.header_html(job(), 0, False)
    for said in ("30 of 120", "1.50", "1.60", "200 tokens/s", "2.1 GB", "1 min 15 s", "25%"):
        assert said in html
    assert 'aria-valuenow="25"' in html
    assert "Accuracy" not in html
    scored = runs_view.header_html(job(eval_accuracy=0.0, eval_f1=0.5), 0, False)
    assert "0.0 %" in scored[scored.index("Accuracy") : scored.index("Macro F1")]
    assert "50.0 %" in scored[scored.index("Macro F1") :]
    queued = runs_view.header_html(job(status=JobStatus.queued), 3, True)
    assert "Number 3" in queued
    assert "python start.py" in queued
    failed = runs_view.header_html(
        job(status=JobStatus.failed, error="Too little memory."), 0, False
    )
    assert "Too little memory." in failed
    waiting = job(status=JobStatus.cancelled, started_at=None, step=0)
    assert "before it started" in runs_view.header_html(waiting, 0, False)
    stopping = runs_view.header_html(job(cancel_requested=True), 0, False)
    assert "Stopping" in stopping


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.2, "0 s"), (59, "59 s"), (60, "1 min"), (200, "3 min 20 s"),
                          (3900, "1 h 05 min")],
)  # fmt: skip
def test_durations(seconds: float, said: str) -> None:
    assert clock.duration(seconds) == said


def test_sizes_and_plurals() -> None:
    assert clock.file_size(400) == "1 KB"
    assert clock.file_size(1_850_000) == "1.9 MB"
    assert clock.megabytes(830.4) == "830 MB"
    assert plural(1, "row") == "1 row"
    assert plural(1200, "row") == "1,200 rows"


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("House style, first try", "house-style-first-try-7.zip"),
        ("../../etc/passwd", "etc-passwd-7.zip"),
        ("灯塔", "灯塔-7.zip"),
        ("***", "adapter-7.zip"),
        ("x" * 500, f"{'x' * 60}-7.zip"),
    ],
)
def test_names_of_zips(name: str, file: str) -> None:
    assert zip_name(job(name=name)) == file


def test_uploads_are_discarded_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "uploads"))
    upload, mine = tmp_path / "uploads" / "abc" / "table.csv", tmp_path / "mine.csv"
    upload.parent.mkdir(parents=True)
    for file in (upload, mine):
        file.touch()
    uploads.discard(str(upload))
    uploads.discard(str(mine))
    uploads.discard(str(tmp_path / "uploads" / ".." / "mine.csv"))
    assert (upload.exists(), mine.exists()) == (False, True)


def test_a_file_set_aside_stays_where_its_like_is_discarded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Gradio gives equal files that are uploaded in two places one place on the disk."""
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "uploads"))
    upload = tmp_path / "uploads" / "abc" / "table.csv"
    upload.parent.mkdir(parents=True)
    upload.write_text("a,b")
    aside = Path(uploads.set_aside(str(upload)))
    uploads.discard(str(upload))
    assert (aside.name, aside.read_text()) == ("table.csv", "a,b")
    uploads.discard(str(aside))
    assert not aside.exists()


def test_copies_to_send_are_made_once_a_version_and_removed_when_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "uploads"))
    original = tmp_path / "adapter.zip"
    original.write_bytes(b"one")
    first = Path(uploads.sendable_copy(original, "a-1.zip"))
    assert first == Path(uploads.sendable_copy(original, "a-1.zip"))
    assert (first.name, first.read_bytes()) == ("a-1.zip", b"one")
    os.utime(first.parent, (0, 0))
    original.write_bytes(b"two!")
    second = Path(uploads.sendable_copy(original, "a-1.zip"))
    assert second.read_bytes() == b"two!"
    assert not first.exists()


def test_half_a_character_is_shown_as_something_that_can_be_sent() -> None:
    assert text("hi \ud83d <") == "hi ? &lt;"
