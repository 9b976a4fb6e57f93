"""What is kept, as programs see it: data sets and runs are listed, looked into and deleted."""

from pathlib import Path

import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError

from tests.app.test_endpoints import STARTER, call, finish


def add(client: Client, path: Path, text: str) -> str:
    """Keep a file with this text."""
    path.write_text(text, encoding="utf-8")
    return str(call(client, "/add_dataset", handle_file(path))["dataset_id"])


def moods(client: Client, folder: Path) -> str:
    """A set of texts with three labels."""
    rows = [f"Text number {i},{mood}" for i, mood in enumerate(("glad", "sad", "cross") * 4)]
    return add(client, folder / "moods.csv", "\n".join(["text,label", *rows]))


def test_data_sets_are_listed_and_deleted(client: Client, tmp_path: Path) -> None:
    dataset_id = add(client, tmp_path / "short.csv", "question,answer\nE?,e\n,f\nG?,g\n")
    [listed] = [s for s in call(client, "/list_datasets") if s["dataset_id"] == dataset_id]
    assert listed == {
        "dataset_id": dataset_id, "name": "short.csv", "created_at": listed["created_at"],
        "rows": 2, "columns": ["question", "answer"], "task": "chat", "total_rows": 3,
        "roles": {"prompt": "question", "completion": "answer"}, "problem_count": 1,
    }  # fmt: skip
    assert call(client, "/delete_dataset", dataset_id) == listed
    assert dataset_id not in {each["dataset_id"] for each in call(client, "/list_datasets")}
    with pytest.raises(AppError, match="There is no data set"):
        call(client, "/delete_dataset", dataset_id)


def test_a_preview_is_what_the_data_tab_shows(client: Client, tmp_path: Path) -> None:
    text = "question,answer,mood\nA?,a,glad\n,b,sad\nC?,c,glad\nD?,d,sad\n"
    dataset_id = add(client, tmp_path / "preview.csv", text)
    seen = call(client, "/preview_dataset", dataset_id, 2)
    assert "“question”" in seen["sentence"]
    assert any("“mood”" in note for note in seen["notes"])
    assert [problem["line"] for problem in seen["problems"]] == [3]
    assert [sample["line"] for sample in seen["samples"]] == [2, 4]
    assert seen["samples"][1]["messages"] == [
        {"role": "user", "content": "C?"}, {"role": "assistant", "content": "c"},
    ]  # fmt: skip
    assert seen["table"][1]["answer"] == "b"
    assert (seen["format"], seen["encoding"], seen["label_counts"]) == ("csv", "utf-8", {})
    for rows in (0, 201, "many", 1.5):
        with pytest.raises(AppError, match="rows "):
            call(client, "/preview_dataset", dataset_id, rows)


def test_the_sample_data_is_there_for_programs(client: Client) -> None:
    assert call(client, "/add_sample_dataset")["rows"] == 82


def test_counts_are_for_the_labels_of_the_data(client: Client, tmp_path: Path) -> None:
    dataset_id, model = moods(client, tmp_path), "all-minilm-l6-v2"
    assert call(client, "/preview_dataset", dataset_id)["label_counts"] == {
        "cross": 4, "glad": 4, "sad": 4,
    }  # fmt: skip
    two = call(client, "/count_parameters", model, {"r": 8})
    three = call(client, "/count_parameters", model, {"r": 8, "dataset_id": dataset_id})
    assert three["trainable"] - two["trainable"] == 384 + 1, "one more output"
    [head] = call(
        client, "/parameter_table", model, {"dataset_id": dataset_id}, "classifier.weight"
    )
    assert head["shape"] == [3, 384]
    with pytest.raises(AppError, match="There is no data set"):
        call(client, "/count_parameters", model, {"dataset_id": "0123456789abcdef"})


def test_a_runs_log_and_chart(client: Client, served_home: Path, table: Path) -> None:
    dataset_id = call(client, "/add_dataset", handle_file(table))["dataset_id"]
    job_id = call(client, "/start_training", dataset_id, STARTER)
    assert call(client, "/job_log", job_id) == ""
    assert call(client, "/job_progress", job_id)["points"] == []
    folder = finish(served_home, job_id).parent
    (folder / "log.txt").write_text("one\ntwo\nthree\n")
    assert call(client, "/job_log", job_id) == "one\ntwo\nthree"
    assert call(client, "/job_log", job_id, 2) == "two\nthree"
    seen = call(client, "/job_progress", job_id)
    [point] = seen["points"]
    assert (point["step"], point["loss"], point["eval_loss"]) == (3, 1.5, 1.6)
    assert (point["eval_accuracy"], point["eval_f1"]) == (0.75, 0.5), "of a classifier"
    assert seen["stopping"] is False
    assert seen["finished_at"] >= seen["started_at"]
    with pytest.raises(AppError, match=r"lines must be from 1 to 10,000"):
        call(client, "/job_log", job_id, 0)


def test_what_a_run_needs_is_not_deleted(client: Client, tmp_path: Path, served_home: Path) -> None:
    rows = "\n".join(f"What is {i}?,It is {i}." for i in range(20))
    dataset_id = add(client, tmp_path / "needed.csv", f"question,answer\n{rows}")
    job_id = call(client, "/start_training", dataset_id, STARTER, {"name": "Needs it"})
    with pytest.raises(AppError, match="“Needs it”"):
        call(client, "/delete_dataset", dataset_id)
    folder = finish(served_home, job_id).parent
    assert call(client, "/delete_job", job_id)["name"] == "Needs it"
    assert not folder.exists()
    with pytest.raises(AppError, match=f"There is no run {job_id}"):
        call(client, "/job", job_id)
    call(client, "/delete_dataset", dataset_id)


def test_a_run_is_estimated_before_it_is_started(client: Client, tmp_path: Path) -> None:
    rows = "\n".join(f"What is {i}?,It is {i}." for i in range(20))
    dataset_id = add(client, tmp_path / "estimated.csv", f"question,answer\n{rows}")
    asked = {"epochs": 2, "batch_size": 6, "precision": "fp32", "name": "None yet"}
    seen = call(client, "/estimate_run", dataset_id, STARTER, asked)
    assert (seen["train_rows"], seen["validation_rows"], seen["updates"]) == (18, 2, 6)
    assert seen["memory"] == 4 * 134_515_008 + 16 * 460_800
    assert seen["machine_memory"] > 10**9
    with pytest.raises(AppError, match="There is no data set"):
        call(client, "/estimate_run", "0123456789abcdef", STARTER)
