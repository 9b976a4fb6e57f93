"""A JSON object that holds a table column by column → its rows."""

from typing import Any

from lora_engine.data.conversation import is_turn

Rows = list[dict[str, Any]]


def rows_by_column(value: Any) -> Rows | None:
    """The rows of a table that is written by column, or None where the value is no such table.

    Three forms: a list a column, as Python programs write a table; an object a column whose keys
    are the rows' numbers, as pandas writes it by itself; and pandas' ``orient="split"``, with the
    names of the columns apart from the lists of values.
    """
    match value:
        case {"columns": [*names], "data": [*rows]} if rows and all(
            isinstance(row, list) and len(row) == len(names) for row in rows
        ):
            return [dict(zip(map(str, names), row, strict=True)) for row in rows]
        case dict() if value:
            columns = [_cells(column) for column in value.values()]
            numbers = {tuple(cells) for cells in columns}
            if len(numbers) != 1 or not (places := numbers.pop()):
                return None
            return [
                {name: cells[place] for name, cells in zip(value, columns, strict=True)}
                for place in places
            ]
    return None


def _cells(column: Any) -> dict[int, Any]:
    """The values of a column by the number of their row; empty where it is no column."""
    if isinstance(column, dict) and all(key.isdecimal() for key in column):
        return {int(key): cell for key, cell in column.items()}
    if isinstance(column, list) and not any(is_turn(cell) for cell in column):
        return dict(enumerate(column))
    return {}
