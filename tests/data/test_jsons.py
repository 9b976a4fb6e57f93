"""JSON and JSON Lines: lines, problems, and texts that are no list of objects."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lora_engine.data import jsons
from lora_engine.data.lines import Row
from lora_engine.data.read import open_source
from lora_engine.errors import DataError


def read(tmp_path: Path, text: str, name: str) -> tuple[list[str], list[Row]]:
    path = tmp_path / name
    path.write_bytes(text.encode())
    with open_source(path) as source:
        return source.columns, list(source.rows)


def test_values_of_all_kinds_become_cells(tmp_path: Path) -> None:
    value = {"a": "é", "b": 1, "c": 1.5, "d": True, "e": None, "f": [1, "x"], "g": {"h": "i"}}
    columns, rows = read(tmp_path, json.dumps(value) + "\n{}\n" + '{"z": "late"}', "x.jsonl")
    assert columns == ["a", "b", "c", "d", "e", "f", "g", "z"]
    assert rows[0].cells == ["é", "1", "1.5", "true", None, '[1, "x"]', '{"h": "i"}', None]
    assert rows[1] == Row.bad(2, "empty", "has no fields")
    assert rows[2].cells == [None] * 7 + ["late"]


@pytest.mark.parametrize(
    "value",
    [
        {"question": ["a", "b"], "label": [1, None]},
        {"question": {"0": "a", "7": "b"}, "label": {"0": 1, "7": None}},
        {"columns": ["question", "label"], "index": [0, 7], "data": [["a", 1], ["b", None]]},
    ],
    ids=["lists", "pandas", "split"],
)
def test_a_table_by_column_is_read_row_by_row(tmp_path: Path, value: dict[str, object]) -> None:
    for indent in (None, 2):
        columns, rows = read(tmp_path, json.dumps(value, indent=indent), "x.json")
        assert columns == ["question", "label"]
        assert rows == [Row(1, ["a", "1"]), Row(2, ["b", None])]


def test_a_column_of_objects_is_a_column_and_a_list_beside_others_is_rows(tmp_path: Path) -> None:
    value = {"prompt": ["a", "b"], "meta": [{"n": 1}, {"n": 2}]}
    columns, rows = read(tmp_path, json.dumps(value), "x.json")
    assert columns == ["prompt", "meta"]
    assert rows[1].cells == ["b", '{"n": 2}']
    value = {"data": [{"prompt": "a"}, {"prompt": "b"}], "licence": "none", "tags": ["x"]}
    columns, rows = read(tmp_path, json.dumps(value), "y.json")
    assert (columns, len(rows)) == (["prompt"], 2)


@pytest.mark.parametrize(
    "value",
    [
        {"question": "a", "history": [["b", "c"]]},
        {"question": ["a", "b"], "label": [1]},
        {"messages": [{"role": "user", "content": "a"}]},
        {"input": {"city": "Bath"}, "output": {"city": "Bath"}},
        {"columns": ["a", "b"], "data": [[1]]},
        {"a": {}, "b": {}},
    ],
)
def test_an_object_that_is_no_table_is_one_row(tmp_path: Path, value: dict[str, object]) -> None:
    columns, rows = read(tmp_path, json.dumps(value), "x.json")
    assert columns == list(value)
    assert len(rows) == 1


def test_bad_cells_of_a_table_by_column_are_told_by_row(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    cells = ["é", "half", "broken @ here"] + ["日本語"] * 40
    text = json.dumps({"text": cells}, ensure_ascii=False).replace("half", "\\ud83d")
    path.write_bytes(text.encode().replace(b"@", b"\xff"))
    with open_source(path) as source:
        problems = {row.line: row.problem for row in source.rows if row.problem}
    assert {line: kind for line, (kind, _) in problems.items()} == {2: "broken", 3: "broken"}
    assert "encoding" in problems[3][1]


def test_a_number_that_is_none_is_a_missing_value(tmp_path: Path) -> None:
    _, rows = read(tmp_path, '{"a": NaN, "b": Infinity, "c": 1}\n', "x.jsonl")
    assert rows[0].cells == [None, None, "1"]


def test_one_huge_value_is_told_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jsons, "LONGEST_VALUE", 1000)
    monkeypatch.setattr(jsons, "CHUNK_CHARACTERS", 100)
    text = json.dumps({"version": 1, "data": [{"text": "a" * 500}] * 10}, indent=1)
    with pytest.raises(DataError, match="line 1 is longer than 1,000 characters"):
        read(tmp_path, text, "x.json")


def test_a_broken_line_is_a_problem_and_the_rest_is_kept(tmp_path: Path) -> None:
    text = '{"text": "a"}\n{"text": "b"\n\n[1]\n{"text": "c"}\n' + "[" * 100_000 + "\n\n"
    _, rows = read(tmp_path, text, "x.jsonl")
    assert [row.problem for row in rows] == [
        None,
        ("broken", "Line 2 is not valid JSON: expecting ',' delimiter at character 13."),
        ("empty", "Line 3 is empty."),
        ("broken", "Line 4 is not an object with named fields."),
        None,
        ("broken", "Line 6 is nested too deeply."),
    ]


def test_a_broken_first_line_does_not_hide_the_format(tmp_path: Path) -> None:
    _, rows = read(tmp_path, '{"text": \n{"text": "b"}\n{"text": "c"}\n', "x.json")
    assert [row.cells for row in rows] == [(), ["b"], ["c"]]


def test_half_characters_and_huge_numbers_are_problems(tmp_path: Path) -> None:
    text = '{"text": "\\ud800"}\n{"text": "\\ud83d\\ude00"}\n{"text": ' + "9" * 5000 + "}\n"
    _, rows = read(tmp_path, text, "x.jsonl")
    assert rows[0].problem
    assert "half of a character" in rows[0].problem[1]
    assert rows[1].cells == ["😀"]
    assert rows[2].problem == (
        "broken",
        "Line 3 is not valid JSON: a number in it is too long.",
    )


def test_a_damaged_byte_costs_only_its_row(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes('{"text": "灯塔在海边"}\n'.encode() + b'{"text": "caf\xe9"}\n{"text": "c"}')
    with open_source(path) as source:
        rows = list(source.rows)
    assert rows[1].problem == ("broken", "Line 2 holds bytes that are not in the file's encoding.")
    assert [row.cells for row in rows] == [["灯塔在海边"], (), ["c"]]


def test_elements_of_a_list_have_their_own_lines(tmp_path: Path) -> None:
    text = '\n[\n {"text": "a"},\n {\n  "text": "b"\n },\n 7\n]\n'
    _, rows = read(tmp_path, text, "x.json")
    assert [(row.line, row.cells) for row in rows] == [(3, ["a"]), (4, ["b"]), (7, ())]


def test_no_two_rows_have_the_same_line() -> None:
    """Rows are found again by it; the first two may stand apart while later ones share a line."""
    values = iter([jsons.Value(2, {"text": "a"}), jsons.Value(3, {}), jsons.Value(3, {})])
    assert jsons.scan(values, 10).one_line


def test_elements_on_one_line_are_numbered(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text('[{"text": "a"}, {"text": "b"}, 7, {"text": "c"}]')
    with open_source(path) as source:
        rows = list(source.rows)
    assert [row.line for row in rows] == [1, 2, 3, 4]
    assert rows[2].problem == ("broken", "Line 3 is not an object with named fields.")
    assert source.notes == ["The rows share a line, so “line 3” means the third row."]


def test_a_list_is_read_piece_by_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jsons, "CHUNK_CHARACTERS", 7)
    values = [{"text": "x" * size, "n": 123456} for size in range(40)]
    _, rows = read(tmp_path, json.dumps(values, indent=1), "x.json")
    assert [row.cells for row in rows] == [["x" * size, "123456"] for size in range(40)]
    assert [row.line for row in rows] == [2 + 4 * place for place in range(40)]


@pytest.mark.parametrize("indent", [None, 1])
def test_a_wrapped_list_is_found(tmp_path: Path, indent: int | None) -> None:
    rows = [{"text": "a"}, {"text": "b"}]
    value = {"meta": {"data": "1"}, "note": '"data": [', "data": rows}
    _, found = read(tmp_path, json.dumps(value, indent=indent), "x.json")
    assert [row.cells for row in found] == [["a"], ["b"]]
    assert [row.line for row in found] == ([1, 2] if indent is None else [7, 10])


def test_one_object_is_one_row(tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    for name in ("x.json", "x.jsonl"):
        columns, rows = read(tmp_path, json.dumps({"messages": turns}), name)
        assert columns == ["messages"]
        assert json.loads(rows[0].cells[0] or "") == turns


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[" * 100_000, "line 1 is nested too deeply"),
        ("[" * 100_000 + "]" * 100_000, "line 1 is nested too deeply"),
        ('{"a":' * 100_000, "line 1 is nested too deeply"),
        ('[{"text": "a"},\n{"text": }]', "Line 2 is not valid JSON"),
        ('[{"text": "a"}\n{"text": "b"}]', "broken in line 2"),
        ('[{"text": "a"},\n', "Line 2 is not valid JSON"),
        ('[{"text": "a"}', "broken in line 1"),
        ('[{"text": "a"}]\n[]', "after the end of the JSON list in line 2"),
        ('{\n"a": 1\n}\n{\n"a": 2\n}', "after the end of the JSON object in line 4"),
        ("[" + "9" * 5000 + "]", "a number is too long"),
        ("text,label\na,b\n", "does not begin with"),
    ],
)
def test_a_file_that_is_no_list_is_refused_in_one_sentence(
    tmp_path: Path, text: str, said: str
) -> None:
    with pytest.raises(DataError, match=said):
        read(tmp_path, text, "x.json")


def test_too_many_fields_are_refused(tmp_path: Path) -> None:
    text = "\n".join(json.dumps({f"field {place}": "x"}) for place in range(1200))
    with pytest.raises(DataError, match="more than 1000 different fields by line 1001"):
        read(tmp_path, text, "x.jsonl")


def test_rows_that_are_nested_too_deeply_for_a_cell_are_problems() -> None:
    deep: list[object] = []
    for _ in range(5000):
        deep = [deep]
    values = iter([jsons.Value(3, {"text": deep})])
    assert list(jsons.as_rows(values, jsons.Scan(["text"], one_line=False))) == [
        Row.bad(3, "broken", "is nested too deeply")
    ]


TEXT = st.text(st.characters(codec="utf-8"))


@given(
    rows=st.lists(st.dictionaries(TEXT, TEXT, min_size=1, max_size=3), min_size=1, max_size=5),
    ascii_only=st.booleans(),
    listed=st.booleans(),
)
def test_whatever_json_writes_is_read_back(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[dict[str, str]],
    ascii_only: bool,
    listed: bool,
) -> None:
    lines = [json.dumps(row, ensure_ascii=ascii_only) for row in rows]
    text = f"[{','.join(lines)}]" if listed else "\n".join(lines)
    columns, found = read(tmp_path_factory.getbasetemp(), text, "x.json" if listed else "x.jsonl")
    assert [
        {column: cell for column, cell in zip(columns, row.cells, strict=True) if cell is not None}
        for row in found
    ] == rows
