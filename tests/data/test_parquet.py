"""Parquet: values of all kinds, conversations in columns of lists, files that are broken."""

import datetime
import decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from lora_engine.data import Library
from lora_engine.data.lines import Row, Source
from lora_engine.data.read import open_source
from lora_engine.errors import DataError
from tests.data.workbooks import damaged

TURNS = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]


def make_parquet(path: Path, columns: dict[str, Any], **options: Any) -> Path:
    parquet.write_table(pa.table(columns), path, **options)
    return path


def read(path: Path) -> tuple[Source, list[Row]]:
    with open_source(path) as source:
        return source, list(source.rows)


def test_rows_come_with_their_numbers(tmp_path: Path) -> None:
    columns = {" prompt": ["Hi", "Bye"], "completion": ["Hello", None], "": ["x", "y"]}
    source, rows = read(make_parquet(tmp_path / "x.parquet", columns))
    assert (source.format, source.encoding, source.delimiter) == ("parquet", "", "")
    assert source.columns == ["prompt", "completion", "column 3"]
    assert [(row.line, list(row.cells)) for row in rows] == [
        (1, ["Hi", "Hello", "x"]),
        (2, ["Bye", None, "y"]),
    ]
    assert source.notes == ["A Parquet file has no lines: “line 3” means the third row."]


@pytest.mark.parametrize(
    ("values", "cell"),
    [
        (["灯塔"], "灯塔"),
        ([""], ""),
        ([7], "7"),
        ([0.5], "0.5"),
        ([float("nan")], None),
        ([True], "true"),
        (pa.nulls(1), None),
        ([["a", "b"]], '["a", "b"]'),
        ([{"a": 1, "b": {"c": "é", "d": None}}], '{"a": 1, "b": {"c": "é", "d": null}}'),
        ([[0.5, float("nan")]], "[0.5, null]"),
        ([b"text"], "text"),
        ([b"\xff\xd8\xff"], None),
        ([decimal.Decimal("1.50")], "1.50"),
        ([datetime.date(2026, 11, 27)], "2026-11-27"),
        ([datetime.datetime(2026, 11, 27)], "2026-11-27"),
        ([datetime.datetime(2026, 11, 27, 9, 30)], "2026-11-27T09:30:00"),
        (pa.array([0], pa.timestamp("ns")), "1970-01-01"),
        (pa.array(["a"]).dictionary_encode(), "a"),
        (pa.array(["a"], pa.large_string()), "a"),
        (pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int32())), '[["k", 1]]'),
    ],
)
def test_a_value_becomes_text(tmp_path: Path, values: Any, cell: str | None) -> None:
    _, [row] = read(make_parquet(tmp_path / "x.parquet", {"text": ["a"], "value": values}))
    assert list(row.cells) == ["a", cell]


@pytest.mark.parametrize(
    "cell",
    [
        TURNS,
        [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}],
        [{**turn, "from": None, "value": None, "tool_calls": None} for turn in TURNS],
        [{"role": None, "from": "human", "text": "Hi"}, {**TURNS[1], "from": None, "text": None}],
        {"role": ["user", "assistant"], "content": ["Hi", "Hello"]},
    ],
)
def test_a_column_of_turns_is_a_conversation(library: Library, tmp_path: Path, cell: Any) -> None:
    path = make_parquet(tmp_path / "x.parquet", {"id": ["x1"], "messages": [cell]})
    dataset = library.add(path)
    assert dataset.roles == {"messages": "messages"}
    [sample] = library.samples(dataset.dataset_id)
    assert [(turn.role, turn.content) for turn in sample.messages] == [
        ("user", "Hi"),
        ("assistant", "Hello"),
    ]


def test_prompts_and_answers_may_be_lists_of_turns(library: Library, tmp_path: Path) -> None:
    columns = {"prompt": [TURNS[:1]], "completion": [TURNS[1:]]}
    dataset = library.add(make_parquet(tmp_path / "x.parquet", columns))
    assert (dataset.task, dataset.rows, dataset.problem_count) == ("chat", 1, 0)


def test_a_file_becomes_a_data_set(library: Library, tmp_path: Path) -> None:
    columns = {
        "sentence": ["good", "bad", None, "good", "fine"],
        "label": [1, 0, 1, 1, 1],
        "__index_level_0__": [5, 6, 7, 8, 9],
    }
    path = make_parquet(tmp_path / "x.parquet", columns)
    dataset = library.add(path)
    assert (dataset.format, dataset.columns) == ("parquet", ("sentence", "label"))
    assert dataset.roles == {"text": "sentence", "label": "label"}
    assert (dataset.task, dataset.rows, dataset.total_rows) == ("classification", 3, 5)
    assert [problem.message for problem in dataset.problems] == [
        "Line 3 has no “sentence”.",
        "Line 4 says the same as line 1.",
    ]
    assert library.resolve(str(path)) == dataset
    assert Library.peek(path, limit=1) == [{"sentence": "good", "label": "1"}]


def test_the_first_rows_are_enough_and_the_fraction_grows(tmp_path: Path) -> None:
    columns = {"text": [f"row {n}" for n in range(50_000)]}
    path = make_parquet(tmp_path / "x.parquet", columns, row_group_size=20_000)
    with open_source(path, head=5) as source:
        assert [row.line for row in source.rows] == [1, 2, 3, 4, 5]
    with open_source(path) as source:
        shares = [source.fraction() for _ in source.rows]
    assert shares == sorted(shares)
    assert shares[0] < 0.5
    assert shares[-1] == 1.0


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"text": pa.array([], pa.string())}, "The Parquet file has no rows"),
        ({"__index_level_0__": [1]}, "The Parquet file has no rows"),
        ({"text": ["a"], "text ": ["b"]}, "the name “text” twice, in columns 1 and 2"),
        ({f"c{n}": ["a"] for n in range(1001)}, "1001 columns"),
    ],
)
def test_what_cannot_be_used_is_one_sentence(
    tmp_path: Path, columns: dict[str, Any], said: str
) -> None:
    with pytest.raises(DataError, match=said):
        read(make_parquet(tmp_path / "x.parquet", columns))


FILE: list[bytes] = []


@given(place=st.floats(0, 1), byte=st.integers(0, 255), cut=st.booleans())
@settings(max_examples=200, deadline=None)
def test_a_damaged_byte_never_raises_anything_but_a_sentence(
    tmp_path_factory: pytest.TempPathFactory, place: float, byte: int, cut: bool
) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.parquet"
    if not FILE:
        columns = {"text": ["a", "b"], "messages": [TURNS, TURNS], "time": pa.nulls(2)}
        FILE.append(make_parquet(path, columns).read_bytes())
    path.write_bytes(damaged(FILE[0], place, byte, cut=cut))
    try:
        source, rows = read(path)
    except DataError as error:
        assert str(error).endswith(".")
        assert "\n" not in str(error)
    else:
        assert all(row.problem or len(row.cells) == len(source.columns) for row in rows)
