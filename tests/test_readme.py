"""Every command in README.md runs, and what it lists is what there is."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from app.__main__ import _parser as page_parser
from app.endpoints import Endpoints
from lora_engine.__main__ import main
from lora_engine.extras import install_command

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = [
    line
    for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    for line in block.splitlines()
]
SETTINGS = json.loads(re.findall(r"```json\n(.*?)```", README, re.DOTALL)[0])


def test_commands_are_those_that_tests_run() -> None:
    """tests/start runs start.py; the tests below run the others, but what would install."""
    starts = [command for command in COMMANDS if "start.py" in command]
    assert starts == ["python3 start.py", "python3 start.py test"]
    installs = [command for command in COMMANDS if " -m pip " in command]
    module = install_command()[install_command().index(" -m pip ") :]
    assert installs == [f".venv/bin/python{module}"]
    others = [command for command in COMMANDS if command not in (*starts, *installs)]
    modules = [shlex.split(command)[1:3] for command in others]
    assert {name for _, name in modules} == {"app", "jobs", "lora_engine"}
    assert all(flag == "-m" for flag, _ in modules)


def test_page_and_worker_take_their_options() -> None:
    """That they run is tested in tests/app and tests/jobs."""
    (page,) = (shlex.split(c)[3:] for c in COMMANDS if " -m app" in c)
    assert page_parser().parse_args(page).port == 7860
    assert "python -m jobs" in COMMANDS


@pytest.mark.starter
def test_engine_commands_run_one_after_the_other(
    starter_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(ROOT)
    quick = {"max_steps": 1, "max_length": 64, "batch_size": 2, "validation_share": 0}
    (tmp_path / "settings.json").write_text(json.dumps(SETTINGS | quick))
    said = {}
    for command in COMMANDS:
        if " -m lora_engine" not in command:
            continue
        words = [
            str(tmp_path / word) if re.match(r"(settings\.json|my-)", word) else word
            for word in shlex.split(command)[3:]
        ]
        if words[0] in ("compare", "predict"):
            words += ["--max-new-tokens", "4"]
        assert main([*words, "--data-dir", str(starter_home)]) == 0, command
        said[words[0]] = capsys.readouterr().out
    assert list(said) == [
        *("inspect", "train", "compare", "predict", "check", "ranks", "shrink", "combine"),
        "export",
    ]
    assert "trainable params: 460,800" in said["inspect"]
    for made in (
        "my-model/model.safetensors",
        "my-small.zip",
        "my-sum.zip",
        "my-adapter.gguf",
        "my-answers.csv",
    ):
        assert (tmp_path / made).is_file()


def test_endpoints_are_those_of_the_page() -> None:
    table = README.split("| Endpoint |")[1].split("\n\n")[0]
    listed = set(re.findall(r"`(/\w+)`", table))
    assert listed == {f"/{name}" for name in dir(Endpoints) if not name.startswith("_")}


def test_pictures_and_files_are_there() -> None:
    for path in re.findall(r"\]\((docs/[^)]+)\)", README):
        assert (ROOT / path).is_file(), path
