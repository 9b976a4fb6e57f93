"""Any file: random tables come back as they were, random bytes never break anything."""

import csv
import io
import json
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lora_engine.data.read import open_source
from lora_engine.errors import DataError

ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "gb18030", "cp1252"]
WESTERN = "Ein Gruß vom Leuchtturm, señor: «déjà vu» à l’été; she said \"no\"\tand 'yes'"
CHINESE = "灯塔的看守人每天晚上都会点亮灯火，给过往的船只指路。你在哪里？我在海边；“好的”"


def words(alphabet: str) -> st.SearchStrategy[str]:
    """Pieces of real text with delimiters, quotes and line breaks thrown in."""
    pieces = st.integers(0, len(alphabet) - 1).flatmap(
        lambda start: st.integers(1, 12).map(lambda size: alphabet[start : start + size])
    )
    noise = st.sampled_from([",", ";", "\t", '"', "\n", "\r\n", " "])
    return st.lists(st.one_of(pieces, pieces, noise), max_size=6).map("".join)


@given(
    data=st.data(),
    encoding=st.sampled_from(ENCODINGS),
    delimiter=st.sampled_from([",", ";", "\t"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
)
@settings(max_examples=300, deadline=None)
def test_a_table_comes_back_as_it_was(
    tmp_path_factory: pytest.TempPathFactory,
    data: st.DataObject,
    encoding: str,
    delimiter: str,
    quoting: int,
) -> None:
    chinese = encoding == "gb18030"
    cell = words(CHINESE if chinese else WESTERN)
    rows = data.draw(st.lists(st.tuples(cell, cell, cell), min_size=1, max_size=8))
    # a few bytes alone may be of any encoding; real files have more
    typical = CHINESE if chinese else "" if encoding != "cp1252" else "für später, señor, très tôt"
    rows = [("a usual question", typical, ""), *rows]
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=delimiter, quoting=quoting)
    writer.writerow(["prompt", "my note", "completion"])
    writer.writerows(rows)
    path = tmp_path_factory.getbasetemp() / "table.csv"
    path.write_bytes(text.getvalue().encode(encoding))
    with open_source(path) as source:
        found = list(source.rows)
    assert source.columns == ["prompt", "my note", "completion"]
    assert [tuple(row.cells) for row in found] == rows


@given(
    data=st.binary(max_size=300),
    suffix=st.sampled_from([".csv", ".tsv", ".txt", ".json", ".jsonl", ""]),
)
@settings(max_examples=300, deadline=None)
def test_random_bytes_never_raise_anything_but_a_sentence(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, suffix: str
) -> None:
    _read_or_refuse(tmp_path_factory, data, suffix)


@given(
    text=st.text(alphabet='[]{}",:;\t\n\r ab1é灯\\|.', max_size=80),
    encoding=st.sampled_from(["utf-8", "utf-16", "utf-16-le", "gb18030"]),
    suffix=st.sampled_from([".csv", ".txt", ".json", ".jsonl"]),
)
@settings(max_examples=300, deadline=None)
def test_text_that_resembles_data_never_raises_anything_but_a_sentence(
    tmp_path_factory: pytest.TempPathFactory, text: str, encoding: str, suffix: str
) -> None:
    _read_or_refuse(tmp_path_factory, text.encode(encoding), suffix)


def _read_or_refuse(factory: pytest.TempPathFactory, data: bytes, suffix: str) -> None:
    path = factory.getbasetemp() / f"any{suffix}"
    path.write_bytes(data)
    try:
        with open_source(path) as source:
            rows = list(source.rows)
    except DataError as error:
        assert str(error).endswith(".")
        assert "\n" not in str(error)
        return
    assert all(row.problem or len(row.cells) == len(source.columns) for row in rows)
    assert [row.line for row in rows] == sorted(row.line for row in rows)


def test_a_missing_file_is_a_sentence(tmp_path: Path) -> None:
    with (
        pytest.raises(DataError, match="cannot be read: No such file"),
        open_source(tmp_path / "x"),
    ):
        pass


def test_what_the_caller_does_wrong_is_not_blamed_on_the_file(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("prompt,completion\na,b\n")
    with pytest.raises(OSError, match="disk full"), open_source(path):
        raise OSError("disk full")


def test_the_head_of_a_file_is_enough(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text(json.dumps([{"text": "a"}, {"text": "b"}, {"other": "c"}]) + "broken")
    with open_source(path, head=2) as source:
        assert [row.cells for row in source.rows] == [["a"], ["b"]]
        assert source.columns == ["text"]


def test_the_fraction_grows_to_the_whole(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("prompt,completion\n" + "question,answer\n" * 50_000)
    with open_source(path) as source:
        shares = [source.fraction() for _ in source.rows]
    assert shares == sorted(shares)
    assert shares[0] < 0.5
    assert shares[-1] == 1.0


def test_the_suffix_may_come_from_elsewhere(tmp_path: Path) -> None:
    path = tmp_path / "upload"
    path.write_text('{"text": "a"}\n')
    with open_source(path, suffix=".JSONL") as source:
        assert source.format == "jsonl"


def test_json_is_known_by_its_text_where_the_name_says_nothing(tmp_path: Path) -> None:
    for name, text in {
        "a.txt": '{"text": "a"}\n{"text": "b"}\n',
        "b.csv": '[{"text": "a"}]',
    }.items():
        (tmp_path / name).write_text(text)
        with open_source(tmp_path / name) as source:
            assert source.columns == ["text"]
            assert next(source.rows).cells == ["a"]


def test_a_zip_archive_named_csv_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.csv", "prompt,completion\na,b\n")
    with pytest.raises(DataError, match="a zip archive"), open_source(path):
        pass


@pytest.mark.parametrize(
    ("name", "rows", "columns"),
    [
        ("alpaca_en_demo.json", 999, ["instruction", "input", "output"]),
        ("alpaca_zh_demo.json", 1000, ["instruction", "input", "output"]),
        ("mrpc_test.txt", 1725, ["Quality", "#1 ID", "#2 ID", "#1 String", "#2 String"]),
        ("banking77_train.csv", 10003, ["text", "category"]),
        ("banking77_test.csv", 3080, ["text", "category"]),
        ("chnsenticorp_part.csv", 5037, ["label", "review"]),
        ("e2e_valid_1500.txt", 1500, ["column 1", "column 2"]),
    ],
)
def test_every_row_of_the_real_files_is_read(
    real_data: Path, name: str, rows: int, columns: list[str]
) -> None:
    with open_source(real_data / name) as source:
        found = list(source.rows)
    assert source.columns == columns
    assert len(found) == rows
    assert not [row for row in found if row.problem]


def test_a_real_chinese_file_survives_gb18030(real_data: Path, tmp_path: Path) -> None:
    text = (real_data / "chnsenticorp_part.csv").read_text(encoding="utf-8")
    path = tmp_path / "gb.csv"
    path.write_bytes(text.encode("gb18030"))
    with open_source(real_data / "chnsenticorp_part.csv") as source:
        expected = list(source.rows)
    with open_source(path) as source:
        assert source.encoding == "gb18030"
        assert list(source.rows) == expected
