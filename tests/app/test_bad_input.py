"""Bad input at the programs' door: each gets one sentence, and the page stays up."""

import json
import random
import zipfile
from pathlib import Path
from typing import Any

import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError

from app.wording import common
from tests.app.test_endpoints import STARTER, call
from tests.model_files import write_model


def picture(path: Path) -> None:
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + random.Random(0).randbytes(400))


def zip_file(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.txt", "hello")


def nothing(path: Path) -> None:
    path.touch()


def only_header(path: Path) -> None:
    path.write_text("question,answer\n")


def brackets(path: Path) -> None:
    path.write_text("[" * 100_000)


def duplicate_header(path: Path) -> None:
    path.write_text("question,question\na,b\n")


FILES = {
    "picture.csv": picture,
    "zip.csv": zip_file,
    "empty.csv": nothing,
    "header.csv": only_header,
    "brackets.json": brackets,
    "brackets.jsonl": brackets,
    "twice.csv": duplicate_header,
}
SETTINGS: dict[str, tuple[Any, str]] = {
    "r = 0": ({"lora": {"r": 0}}, "r must be at least 1"),
    "alpha = -1": ({"lora": {"lora_alpha": -1}}, "lora_alpha must be greater than 0"),
    "dropout 1.5": ({"lora": {"lora_dropout": 1.5}}, "lora_dropout must be less than 1"),
    "no module": ({"lora": {"target_modules": []}}, "at least one target module"),
    "unknown module": ({"lora": {"target_modules": ["nose"]}}, "no module named 'nose'"),
    "unknown setting": ({"rank": 8}, "no setting named 'rank'"),
    "epochs as a word": ({"epochs": "many"}, "epochs must be a number"),
    "length 0": ({"max_length": 0}, "max_length must be at least"),
    "roles of no column": ({"roles": {"prompt": "nose"}}, "no column named “nose”"),
    "an adapter of nobody": ({"start_from": "~nobody-of-this-name/a"}, "no adapter at"),
    "a path too long": ({"start_from": "a" * 300}, "no adapter at"),
    "not JSON": ("{", "not valid JSON"),
    "a list": ([1], "JSON object"),
    "an empty list": ([], "JSON object"),
    "false": (False, "JSON object"),
    "test data at a path too long": ({"test_dataset": "a" * 5000}, "no data set"),
}


def sentence(client: Client, endpoint: str, /, *arguments: Any) -> str:
    """What an endpoint refuses with; it must be one readable line."""
    with pytest.raises(AppError) as refused:
        call(client, endpoint, *arguments)
    said = str(refused.value)
    assert said
    assert said != common.UNEXPECTED
    assert "\n" not in said
    assert "Traceback" not in said
    assert len(said) < 400
    assert said.endswith((".", "…"))
    return said


@pytest.fixture(autouse=True)
def the_page_stays_up(client: Client) -> Any:
    yield
    assert call(client, "/list_models")


@pytest.mark.parametrize("name", FILES)
def test_files_that_are_no_table(client: Client, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    FILES[name](path)
    sentence(client, "/add_dataset", handle_file(path))


def test_ragged_lines_are_problems_with_their_line(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "ragged.csv"
    path.write_text("question,answer\na,b\nc,d,e,f\ng\nh,i\n")
    added = call(client, "/add_dataset", handle_file(path))
    assert added["rows"] >= 2
    assert {problem["line"] for problem in added["problems"]} <= {3, 4}
    assert added["problems"]


@pytest.mark.parametrize("case", SETTINGS)
def test_settings(client: Client, table: Path, case: str) -> None:
    settings, expected = SETTINGS[case]
    dataset_id = call(client, "/add_dataset", handle_file(table))["dataset_id"]
    runs = len(call(client, "/list_jobs"))
    assert expected in sentence(client, "/start_training", dataset_id, STARTER, settings)
    assert len(call(client, "/list_jobs")) == runs


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"r": 0}, "r must be at least 1"),
        ({"lora_alpha": -1}, "lora_alpha must be greater than 0"),
        ({"lora_dropout": 1.5}, "lora_dropout must be less than 1"),
        ({"target_modules": []}, "at least one target module"),
        ({"target_modules": ["nose"]}, "no module named 'nose'"),
        ("nonsense", "not valid JSON"),
        ('{"r": NaN}', "r must be a number"),
    ],
)
def test_counts(client: Client, settings: Any, expected: str) -> None:
    assert expected in sentence(client, "/count_parameters", STARTER, settings)


def test_models(client: Client, table: Path, tmp_path: Path) -> None:
    dataset_id = call(client, "/add_dataset", handle_file(table))["dataset_id"]
    empty = tmp_path / "empty"
    empty.mkdir()
    pickled = write_model(tmp_path / "pickled")
    (pickled / "config.json").write_text("{")
    for model in (str(empty), str(pickled), "nobody/nothing-of-the-sort", "", "../../etc", "\0"):
        sentence(client, "/count_parameters", model)
        sentence(client, "/start_training", dataset_id, model)


def test_nothing_to_learn(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "hollow.csv"
    path.write_text("question,answer\na,\nb,\n")
    added = call(client, "/add_dataset", handle_file(path))
    assert added["rows"] == 0
    assert "nothing to learn" in sentence(client, "/start_training", added["dataset_id"], STARTER)


def test_unknown_data_sets_and_roles(client: Client, table: Path) -> None:
    dataset_id = call(client, "/add_dataset", handle_file(table))["dataset_id"]
    for unknown in ("0123456789abcdef", "../..", ""):
        sentence(client, "/set_roles", unknown, {"prompt": "question"})
        sentence(client, "/start_training", unknown, STARTER)
    for roles in ({"prompt": "nose"}, {"nose": "question"}, {}, "[", {"prompt": ["question"]}):
        sentence(client, "/set_roles", dataset_id, roles)


def test_a_file_is_needed(client: Client) -> None:
    assert "Choose a file" in sentence(client, "/add_dataset", None)


@pytest.mark.parametrize(
    "options",
    [
        *({"temperature": -1}, {"strength": 9}, {"nose": 1}, "x", {"system": 5}, {"details": "?"}),
        *({"history": "Hello"}, {"history": [{"role": "user", "content": "Hello"}]}),
        {"history": [{"role": "user", "content": "a"}, {"role": "assistant", "content": 5}]},
        {"history": [{"role": "user", "content": "a"}, {"role": "assistant", "content": []}]},
        {"history": [{"role": "user", "content": "a"}, {"role": "system", "content": "b"}]},
        *({"others": 5}, {"others": [0.5]}, {"others": [987654]}, {"others": [1, 2, 3, 4]}),
    ],
)
def test_compare_options(client: Client, table: Path, options: Any) -> None:
    dataset_id = call(client, "/add_dataset", handle_file(table))["dataset_id"]
    job_id = call(client, "/start_training", dataset_id, STARTER, json.dumps({}))
    sentence(client, "/compare", job_id, "Hello", options)
