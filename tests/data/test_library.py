"""The kept data sets: complete or not there, the same bytes once, whoever adds them."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from lora_engine.data import Dataset, Library, Problem
from lora_engine.data import library as library_module
from lora_engine.errors import DataError

QUESTIONS = "prompt,completion,note\nHi,Hello,x\n,nobody,y\nBye,,z\nHi,Hello,w\nragged\nWho?,Me,v\n"


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "questions.csv"
    path.write_text(QUESTIONS)
    return path


def test_a_file_becomes_a_data_set(library: Library, table: Path) -> None:
    dataset = library.add(table)
    assert dataset.name == dataset.file_name == "questions.csv"
    assert len(dataset.dataset_id) == 16
    assert (dataset.format, dataset.encoding, dataset.delimiter) == ("csv", "utf-8", ",")
    assert dataset.columns == ("prompt", "completion", "note")
    assert dataset.roles == {"prompt": "prompt", "completion": "completion"}
    assert dataset.task == "chat"
    assert (dataset.rows, dataset.total_rows, dataset.problem_count) == (2, 6, 4)
    assert dataset.problem_kinds == {"empty": 2, "duplicate": 1, "missing": 1}
    assert dataset.problems == (
        Problem(line=3, kind="empty", message="Line 3 has nothing in “prompt”."),
        Problem(line=4, kind="empty", message="Line 4 has nothing in “completion”."),
        Problem(line=5, kind="duplicate", message="Line 5 says the same as line 2."),
        Problem(line=6, kind="missing", message="Line 6 has 1 cell, but the header has 3."),
    )
    assert (dataset.characters, dataset.longest_characters) == (13, 7)
    assert library.get(dataset.dataset_id) == dataset
    assert [sample.line for sample in library.samples(dataset.dataset_id)] == [2, 7]
    assert library.raw_rows(dataset.dataset_id, 2) == [
        {"prompt": "Hi", "completion": "Hello", "note": "x"},
        {"prompt": "", "completion": "nobody", "note": "y"},
    ]


def test_the_folder_holds_the_original_and_the_rows(
    library: Library, table: Path, tmp_path: Path
) -> None:
    dataset = library.add(table)
    folder = tmp_path / "home" / "datasets" / dataset.dataset_id
    assert sorted(path.name for path in folder.iterdir()) == [
        *("dataset.json", "original.csv", "rows.arrow")
    ]
    assert (folder / "original.csv").read_text() == QUESTIONS
    assert [path.name for path in folder.parent.iterdir()] == [dataset.dataset_id]


def test_the_same_bytes_are_the_same_data_set(library: Library, table: Path) -> None:
    first = library.add(table, "Mine")
    library.set_roles(first.dataset_id, {"text": "note"})
    copy = table.with_name("copy.csv")
    shutil.copy(table, copy)
    again = library.add(copy)
    assert again.dataset_id == first.dataset_id
    assert again.name == "Mine"
    assert again.roles == {"text": "note"}
    assert library.add(copy, "Ours").name == "Ours"
    assert [dataset.name for dataset in library.list()] == ["Ours"]


def test_progress_grows_to_the_whole(library: Library, table: Path) -> None:
    heard: list[tuple[float, str]] = []
    library.add(table, on_progress=lambda share, sentence: heard.append((share, sentence)))
    shares = [share for share, _ in heard]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert list(dict.fromkeys(sentence for _, sentence in heard)) == [
        *("Copying the file", "Reading the rows", "Checking the rows")
    ]


def test_other_roles_check_the_rows_again(library: Library, table: Path, tmp_path: Path) -> None:
    dataset = library.add(table)
    (tmp_path / "home" / "datasets" / dataset.dataset_id / "original.csv").unlink()  # not needed
    changed = library.set_roles(dataset.dataset_id, {"text": "note", "prompt": "", "system": None})
    assert (changed.task, changed.rows, changed.problem_count) == ("text", 5, 1)
    assert library.get(dataset.dataset_id) == changed
    assert [sample.text for sample in library.samples(dataset.dataset_id)] == list("xyzwv")


def test_roles_that_make_no_sense_change_nothing(library: Library, table: Path) -> None:
    dataset = library.add(table)
    with pytest.raises(DataError, match="no column named “nope”"):
        library.set_roles(dataset.dataset_id, {"text": "nope"})
    assert library.get(dataset.dataset_id) == dataset


def test_samples_take_a_limit_and_other_roles(library: Library, table: Path) -> None:
    dataset_id = library.add(table).dataset_id
    assert len(list(library.samples(dataset_id, limit=1))) == 1
    texts = [row.text for row in library.samples(dataset_id, limit=2, roles={"text": "note"})]
    assert texts == ["x", "y"]
    with pytest.raises(DataError, match="no column named"):
        library.samples(dataset_id, roles={"text": "nope"})


def test_a_guess_without_names_is_told_until_roles_are_chosen(
    library: Library, tmp_path: Path
) -> None:
    path = tmp_path / "x.csv"
    path.write_text("left,right\nWhat is it?,A light.\nWho is it?,The keeper.\n")
    dataset = library.add(path)
    assert dataset.roles_note.startswith("No column has a usual name")
    assert library.set_roles(dataset.dataset_id, dataset.roles).roles_note == ""


def test_the_newest_comes_first_and_removed_is_gone(library: Library, tmp_path: Path) -> None:
    assert library.list() == []
    ids = []
    for name in ("a", "b", "c"):
        path = tmp_path / f"{name}.csv"
        path.write_text(f"text\n{name}\n")
        ids.append(library.add(path).dataset_id)
    assert [dataset.dataset_id for dataset in library.list()] == ids[::-1]
    library.remove(ids[1])
    assert [dataset.name for dataset in library.list()] == ["c.csv", "a.csv"]
    with pytest.raises(DataError, match="There is no data set"):
        library.remove(ids[1])


@pytest.mark.parametrize("dataset_id", ["0123456789abcdef", "", "..", "../../etc", "nope"])
def test_an_unknown_id_is_one_sentence(library: Library, dataset_id: str) -> None:
    for use in (library.get, library.remove, library.samples, lambda i: library.raw_rows(i, 1)):
        with pytest.raises(DataError, match="There is no data set"):
            use(dataset_id)
    with pytest.raises(DataError, match="There is no data set"):
        library.set_roles(dataset_id, {"text": "a"})


def test_a_reference_is_an_id_or_a_path(library: Library, table: Path, tmp_path: Path) -> None:
    dataset = library.resolve(str(table))
    assert library.resolve(dataset.dataset_id) == dataset
    with pytest.raises(DataError, match=r"no data set and no file “nothing\.csv”"):
        library.resolve("nothing.csv")
    with pytest.raises(DataError, match="There is no file"):
        library.add(tmp_path)


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("x.csv", b"", "The file is empty"),
        ("x.csv", b"prompt,completion\n", "has a header but no row below it"),
        ("x.csv", b"prompt,completion\n\n\n", "has a header but no row below it"),
        ("x.json", b"[]", "holds an empty list"),
        ("x.csv", b"text,text\na,b\n", "the name “text” twice"),
        ("x.csv", b"PK\x03\x04", "zip archive"),
        ("x.csv", b"\x89PNG\r\n\x1a\n", "a picture"),
        ("x.csv", b"a,b\n\x00\x00,c\n", "not text"),
        ("x.json", b"[" * 100_000, "nested too deeply"),
        ("x.csv", b"[" * 100_000, "nested too deeply"),
        ("x.csv", b"prompt,completion\na\n", "The only row of the file cannot be read: Line 2 has"),
        (
            "x.jsonl",
            b"{\n{\n",
            "None of the 2 rows can be read; the first: Line 1 is not valid JSON",
        ),
        ("x.jsonl", b"{}\n{}\n", "None of the 2 rows can be read; the first: Line 1 has no fields"),
    ],
)
def test_a_file_that_is_no_table_is_one_sentence_and_leaves_nothing(
    library: Library, tmp_path: Path, name: str, data: bytes, said: str
) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(DataError, match=said) as caught:
        library.add(path)
    assert "\n" not in str(caught.value)
    assert list((tmp_path / "home" / "datasets").iterdir()) == []
    assert library.list() == []


def test_a_file_whose_rows_all_have_problems_is_kept_with_them(
    library: Library, tmp_path: Path
) -> None:
    path = tmp_path / "x.csv"
    path.write_text("prompt,completion\na,\nb,\n")
    dataset = library.add(path)
    assert (dataset.rows, dataset.problem_count) == (0, 2)
    assert list(library.samples(dataset.dataset_id)) == []


def test_only_the_first_problems_are_kept_and_all_are_counted(
    library: Library, tmp_path: Path
) -> None:
    path = tmp_path / "x.csv"
    path.write_text("prompt,completion\n" + "a,\n" * 1500 + "a,b\n")
    dataset = library.add(path)
    assert len(dataset.problems) == 1000
    assert (dataset.problem_count, dataset.rows) == (1500, 1)


def test_a_full_disk_is_one_sentence(
    library: Library, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(library_module, "read_in", full)
    with pytest.raises(DataError, match=r"questions.csv cannot be kept: No space left on device"):
        library.add(table)
    assert list((tmp_path / "home" / "datasets").iterdir()) == []


def test_what_a_crash_left_behind_is_no_data_set_and_goes_away(
    library: Library, table: Path, tmp_path: Path
) -> None:
    dataset = library.add(table)
    folder = tmp_path / "home" / "datasets"
    (folder / dataset.dataset_id / "dataset.json").unlink()
    old, young = folder / ".new-old", folder / ".new-young"
    for left in (old, young):
        left.mkdir()
    os.utime(old, (time.time() - 90_000,) * 2)
    assert library.list() == []
    assert library.add(table).rows == dataset.rows
    assert young.exists()
    assert not old.exists()


@pytest.mark.parametrize("left", [b"", b"{", b"null", b'{"dataset_id": 5}'])
def test_a_damaged_data_set_can_be_added_again(left: bytes, library: Library, table: Path) -> None:
    dataset = library.add(table)
    (library._of(dataset.dataset_id) / "dataset.json").write_bytes(left)
    assert library.list() == []
    again = library.add(table)
    assert (again.dataset_id, again.rows) == (dataset.dataset_id, dataset.rows)
    assert library.get(dataset.dataset_id) == again


def test_two_processes_may_add_the_same_file_at_once(table: Path, tmp_path: Path) -> None:
    table.write_text("prompt,completion\n" + "".join(f"q{n},a{n}\n" for n in range(20_000)))
    code = (
        "import sys; from pathlib import Path; from lora_engine.data import Library; "
        "print(Library(Path(sys.argv[1])).add(sys.argv[2]).model_dump_json())"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "home"), str(table)]
    processes = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, encoding="utf-8")
        for _ in range(3)
    ]
    found = [Dataset.model_validate_json(process.communicate()[0]) for process in processes]
    assert found[0] == found[1] == found[2]
    assert [path.name for path in (tmp_path / "home" / "datasets").iterdir()] == [
        found[0].dataset_id
    ]


def test_another_process_that_is_first_with_the_same_file_wins(
    library: Library, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_in = library_module.read_in
    other = Library(tmp_path / "home")

    def after_the_other(*arguments: Any) -> Dataset:
        monkeypatch.setattr(library_module, "read_in", read_in)
        other.add(table, "First")
        return read_in(*arguments)

    monkeypatch.setattr(library_module, "read_in", after_the_other)
    assert library.add(table).name == "First"
    assert len(list((tmp_path / "home" / "datasets").iterdir())) == 1


def test_the_first_rows_of_a_file_are_seen_without_keeping_it(table: Path) -> None:
    rows = Library.peek(table, limit=5)
    assert rows[0] == {"prompt": "Hi", "completion": "Hello", "note": "x"}
    assert len(rows) == 4  # one of five is ragged


def test_the_sample_set_is_kept_under_a_friendly_name(
    library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}
    path = tmp_path / "sample.jsonl"
    path.write_text(json.dumps(row))
    monkeypatch.setattr(library_module, "SAMPLE_SET", path)
    assert library.add_sample_set() == library.add_sample_set()
    assert [dataset.name for dataset in library.list()] == ["Lighthouse keeper (sample)"]


def test_every_row_of_the_sample_set_can_be_used(library: Library) -> None:
    dataset = library.add_sample_set()
    assert dataset.task == "chat"
    assert dataset.rows == dataset.total_rows >= 60
    assert dataset.problems == ()


def test_reading_needs_no_torch() -> None:
    code = (
        "import sys, lora_engine.data; "
        "sys.exit(any(name in sys.modules for name in ('torch', 'transformers', 'datasets')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_answers_of_weight_0_are_told(library: Library, tmp_path: Path) -> None:
    def row(*weights: int) -> str:
        said = [{"role": "user", "content": f"q{weights}"}]
        said += [{"role": "assistant", "content": "a", "weight": weight} for weight in weights]
        return json.dumps({"messages": said})

    path = tmp_path / "chats.jsonl"
    path.write_text("\n".join([row(0, 1), row(0), row(1)]))
    dataset = library.add(path)
    assert dataset.rows_notes == ("1 answer has the weight 0: it is read, but not learned.",)
    assert [problem.line for problem in dataset.problems] == [2]
    path.write_text("\n".join([row(0, 1), row(0, 0, 1)]))
    assert library.add(path).rows_notes == (
        "3 answers have the weight 0: they are read, but not learned.",
    )
    path.write_text(row(1))
    assert library.add(path).rows_notes == ()
