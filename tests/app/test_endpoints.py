"""Every endpoint through gradio_client, against a running page."""

import json
import random
import zipfile
from pathlib import Path
from typing import Any

import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError

from jobs.store import Store
from lora_engine.config import LoraConfig, TrainConfig
from lora_engine.counts import count_parameters
from lora_engine.progress import Progress
from lora_engine.starters import shipped_profile

STARTER = "smollm2-135m-instruct"
ENDPOINTS = {
    "/add_dataset": ["file", "name"],
    "/add_sample_dataset": [],
    "/list_datasets": [],
    "/preview_dataset": ["dataset_id", "rows"],
    "/set_roles": ["dataset_id", "roles"],
    "/delete_dataset": ["dataset_id"],
    "/list_models": [],
    "/count_parameters": ["base_model", "settings"],
    "/parameter_table": ["base_model", "settings", "name"],
    "/estimate_run": ["dataset_id", "base_model", "settings"],
    "/start_training": ["dataset_id", "base_model", "settings"],
    "/continue_training": ["job_id", "dataset_id", "settings", "name"],
    "/job": ["job_id"],
    "/list_jobs": [],
    "/job_progress": ["job_id"],
    "/job_log": ["job_id", "lines"],
    "/compare_runs": ["job_ids"],
    "/cancel_job": ["job_id"],
    "/resume_job": ["job_id"],
    "/delete_job": ["job_id"],
    "/compare": ["job_id", "prompt", "options"],
    "/predict": ["job_id", "file", "dataset_id", "options"],
    "/download_adapter": ["job_id"],
    "/rank_report": ["job_id"],
    "/shrink_adapter": ["job_id", "r"],
    "/combine_adapters": ["job_ids", "weights", "method", "r"],
    "/export_adapter": ["job_id", "format"],
    "/bring_adapter": ["file", "path", "base_model", "name", "quantization"],
}
OF_ONE_JOB: list[tuple[Any, ...]] = [
    *(("/job",), ("/download_adapter",), ("/cancel_job",), ("/resume_job",), ("/delete_job",)),
    *(("/job_progress",), ("/job_log",), ("/rank_report",), ("/continue_training",)),
    *(("/compare", "Hello"), ("/shrink_adapter", 2), ("/export_adapter", "gguf")),
]
"""Endpoints whose first argument is a job id, and what else they need."""
JOB_KEYS = {
    *("status", "step", "total_steps", "loss", "eval_loss", "eta_seconds", "metrics", "error"),
    "config",
}


def call(client: Client, endpoint: str, /, *arguments: Any, **named: Any) -> Any:
    return client.predict(*arguments, api_name=endpoint, **named)


@pytest.fixture
def dataset_id(client: Client, table: Path) -> str:
    return str(call(client, "/add_dataset", handle_file(table), "Numbers")["dataset_id"])


@pytest.fixture
def job_id(client: Client, dataset_id: str) -> int:
    return int(call(client, "/start_training", dataset_id, STARTER, {"epochs": 1}))


def finish(home: Path, job_id: int) -> Path:
    """Do the worker's part: end the run well, with a zip."""
    store = Store(home)
    while (job := store.claim("test", "cpu")) is not None and job.id != job_id:
        store.fail(job.id, "test", "Not this one.")
    measured = {"loss": 1.5, "eval_loss": 1.6, "eval_accuracy": 0.75, "eval_f1": 0.5}
    store.record(job_id, "test", Progress(phase="training", step=3, total_steps=3, **measured))
    store.job_dir(job_id).mkdir(parents=True, exist_ok=True)
    path = store.job_dir(job_id) / "adapter.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("README.md", f"run {job_id}")
    store.succeed(job_id, "test", {"loss_first": 2.0, "loss_last": 1.5})
    store.close()
    return path


def test_exactly_the_promised_endpoints_are_listed(client: Client) -> None:
    listed = client.view_api(return_format="dict", print_info=False)
    assert isinstance(listed, dict)
    found = {
        name: [parameter["parameter_name"] for parameter in endpoint["parameters"]]
        for name, endpoint in listed["named_endpoints"].items()
    }
    assert found == ENDPOINTS
    assert listed["unnamed_endpoints"] == {}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((None, "", {}), "Give a file, or the id"),
        ((None, "nothing", {"limit": 0}), "limit must be at least 1"),
        ((None, "nothing", {"format": "xlsx"}), "format"),
        ((None, "nothing", {}), "There is no data set"),
        ((None, __file__, {}), "There is no data set"),
    ],
)
def test_what_cannot_be_answered_is_one_sentence(
    client: Client, served_home: Path, job_id: int, arguments: tuple[Any, ...], sentence: str
) -> None:
    finish(served_home, job_id)
    with pytest.raises(AppError, match=sentence):
        call(client, "/predict", job_id, *arguments)


def test_add_dataset_gives_rows_columns_roles_and_problems(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "three.csv"
    path.write_text("question,answer\nA?,a\n,b\nC?,c\n")
    added = call(client, "/add_dataset", handle_file(path))
    assert added["rows"] == 2
    assert added["columns"] == ["question", "answer"]
    assert added["roles"] == {"prompt": "question", "completion": "answer"}
    assert added["task"] == "chat"
    [problem] = added["problems"]
    assert problem["line"] == 3
    assert problem["kind"] == "empty"
    assert problem["message"]
    again = call(client, "/add_dataset", file=handle_file(path), name="Another name")
    assert again["dataset_id"] == added["dataset_id"]


@pytest.mark.parametrize("as_text", [False, True])
def test_set_roles(client: Client, dataset_id: str, as_text: bool) -> None:
    roles = {"prompt": "answer", "completion": "question"}
    changed = call(client, "/set_roles", dataset_id, json.dumps(roles) if as_text else roles)
    assert changed["roles"] == roles
    back = call(client, "/set_roles", dataset_id, {"text": "answer"})
    assert back["task"] == "text"
    call(client, "/set_roles", dataset_id, {"prompt": "question", "completion": "answer"})


def test_list_models_knows_the_starter(client: Client) -> None:
    starter = next(model for model in call(client, "/list_models") if model["id"] == STARTER)
    assert set(starter) == {"id", "title", "task", "parameters", "ready"}
    assert starter["parameters"] == 134_515_008


def test_counts_are_the_references(client: Client) -> None:
    counts = call(client, "/count_parameters", STARTER, {"r": 8})
    assert counts["trainable"] == 460_800
    assert counts["total"] == 134_975_808
    assert counts["percent"] == pytest.approx(0.34139, abs=1e-4)
    assert counts["adapter_mb"] == pytest.approx(1.8432)
    query = counts["by_module"][0]
    assert query == {
        "name": "q_proj", "kind": "Linear", "count": 30, "each": 9216, "trainable": 276_480,
    }  # fmt: skip
    every = [module["name"] for module in counts["by_module"]]
    whole = call(client, "/count_parameters", STARTER, json.dumps({"target_modules": every}))
    assert whole["trainable"] == 2_442_240


def test_the_parameter_table_is_the_model_before_and_after(client: Client) -> None:
    before = call(client, "/parameter_table", STARTER)
    assert len(before) == 272
    assert before[0] == {
        "name": "model.embed_tokens.weight", "shape": [49152, 576], "dtype": before[0]["dtype"],
        "trainable": True,
    }  # fmt: skip
    after = call(client, "/parameter_table", STARTER, {"r": 4}, "layers.3.self_attn.q_proj")
    assert call(client, "/parameter_table", STARTER, {"r": 4}, r"LAYERS\.3\.self_attn\.q") == after
    assert [row["trainable"] for row in after] == [False, True, True]
    assert after[1]["shape"] == [4, 576]


def test_methods_and_classifiers_are_counted(client: Client) -> None:
    full = call(client, "/count_parameters", STARTER, {"method": "full"})
    assert full["trainable"] == full["total"] == 134_515_008
    dora = call(client, "/count_parameters", STARTER, {"use_dora": True})
    assert dora["trainable"] == 460_800 + 30 * (576 + 192)
    minilm = call(client, "/count_parameters", "all-minilm-l6-v2", {"r": 8})
    assert (minilm["trainable"], minilm["total"]) == (74_498, 22_788_484)


def test_two_hundred_changes_are_counted_exactly(client: Client) -> None:
    profile = shipped_profile(STARTER)
    names = sorted({group.name for group in profile.groups})
    chance = random.Random(0)
    for _ in range(200):
        settings = {
            "r": chance.randint(1, 256),
            "lora_alpha": chance.randint(1, 512),
            "lora_dropout": chance.random() * 0.9,
            "target_modules": chance.sample(names, chance.randint(1, len(names))),
            "bias": chance.choice(["none", "all", "lora_only"]),
        }
        counted = call(client, "/count_parameters", STARTER, settings)
        expected = count_parameters(profile, LoraConfig.parse(settings)).model_dump(mode="json")
        assert counted == expected


def test_a_started_run_holds_all_settings(client: Client, dataset_id: str) -> None:
    settings = {"lora": {"r": 4, "target_modules": ["k_proj"]}, "epochs": 2, "seed": 7}
    job_id = call(client, "/start_training", dataset_id, STARTER, settings)
    assert isinstance(job_id, int)
    job = call(client, "/job", job_id)
    assert set(job) == JOB_KEYS
    assert job["status"] == "queued"
    config = TrainConfig.parse(job["config"])
    assert (config.base_model, config.dataset, config.epochs) == (STARTER, dataset_id, 2)
    assert (config.lora.r, config.lora.target_modules, config.seed) == (4, ("k_proj",), 7)
    assert config.roles == {"prompt": "question", "completion": "answer"}
    named = call(client, "/start_training", dataset_id, STARTER, settings | {"name": "By its name"})
    last, first = call(client, "/list_jobs")[:2]
    assert (last["job_id"], last["name"]) == (named, "By its name")
    assert {**job, "job_id": job_id, "name": "Numbers"}.items() <= first.items()
    assert set(first) == JOB_KEYS | {"job_id", "name", "created_at"}


def test_a_run_may_have_roles_of_its_own(client: Client, dataset_id: str) -> None:
    """Other ones than the data set's: they decide what is learned."""
    roles = {"text": "question", "label": "answer"}
    settings = {"roles": roles, "max_length": 32}
    with pytest.raises(AppError, match="has a question and an answer"):
        call(client, "/start_training", dataset_id, "all-minilm-l6-v2", {})
    job_id = call(client, "/start_training", dataset_id, "all-minilm-l6-v2", settings)
    assert call(client, "/job", job_id)["config"]["roles"] == roles
    assert call(client, "/estimate_run", dataset_id, "all-minilm-l6-v2", settings)["updates"] > 0
    call(client, "/cancel_job", job_id)


def test_a_run_is_cancelled_and_resumed(client: Client, job_id: int) -> None:
    assert call(client, "/cancel_job", job_id)["status"] == "cancelled"
    with pytest.raises(AppError, match="cannot be stopped"):
        call(client, "/cancel_job", job_id)
    assert call(client, "/resume_job", job_id)["status"] == "queued"
    with pytest.raises(AppError, match="cannot be resumed"):
        call(client, "/resume_job", job_id)


def test_the_zip_is_given_and_keeps_its_content(
    client: Client, served_home: Path, job_id: int
) -> None:
    with pytest.raises(AppError, match="has no adapter yet"):
        call(client, "/download_adapter", job_id)
    original = finish(served_home, job_id)
    given = Path(call(client, "/download_adapter", job_id))
    assert given.name == f"numbers-{job_id}.zip"
    assert given.read_bytes() == original.read_bytes()


def test_a_job_id_is_a_whole_number(client: Client, job_id: int) -> None:
    for endpoint, *more in OF_ONE_JOB:
        for odd in (job_id + 0.4, True, "abc", [job_id], "1_0", None):
            with pytest.raises(AppError, match="A job id is a whole number"):
                call(client, endpoint, odd, *more)
        for unknown in (10**20, 2**63, -1, 0):
            with pytest.raises(AppError, match="There is no"):
                call(client, endpoint, unknown, *more)


def test_text_must_be_text(client: Client, job_id: int) -> None:
    calls: list[tuple[Any, ...]] = [
        ("/set_roles", 5, {"text": "question"}),
        ("/count_parameters", 5),
        ("/parameter_table", "smollm2-135m-instruct", "", 5),
        ("/count_parameters", "smollm2-135m-instruct", {"dataset_id": 5}),
        ("/preview_dataset", 5),
        ("/delete_dataset", "a\0b"),
        ("/compare", job_id, ["x"]),
    ]
    for endpoint, *arguments in calls:
        with pytest.raises(AppError, match="must be text, but"):
            call(client, endpoint, *arguments)


def test_unknown_jobs_are_a_sentence(client: Client) -> None:
    for name, *more in OF_ONE_JOB:
        with pytest.raises(AppError, match="There is no run 987654"):
            call(client, name, 987654, *more)
