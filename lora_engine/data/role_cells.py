"""The cells of a row by what their columns mean."""

from collections.abc import Mapping, Sequence

from lora_engine.data.conversation import BadRowError, Turns

Cells = Sequence[str | None]


class RoleCells:
    """Finds cells by role."""

    def __init__(self, roles: Mapping[str, str], places: Mapping[str, int]) -> None:
        """``roles``: role → column; ``places``: role → its place in a row."""
        self._roles = roles
        self._places = places

    def has(self, role: str) -> bool:
        """Whether a column has this role."""
        return role in self._places

    def needed(self, role: str, cells: Cells) -> str:
        """A cell that must say something."""
        cell = cells[self._places[role]]
        if cell and not cell.isspace():
            return cell
        if len(cells) > 1 and all(other is None or not other.strip() for other in cells):
            raise BadRowError("empty", "is empty")
        if cell is None:
            raise BadRowError("missing", f"has no “{self._roles[role]}”")
        raise BadRowError("empty", f"has nothing in “{self._roles[role]}”")

    def optional(self, role: str, cells: Cells) -> str:
        """A cell that may be empty, or have no column."""
        place = self._places.get(role)
        cell = cells[place] if place is not None else None
        return cell if cell and not cell.isspace() else ""

    def system(self, cells: Cells) -> Turns:
        """The system turn, if the row has one."""
        text = self.optional("system", cells)
        return (("system", text),) if text else ()
