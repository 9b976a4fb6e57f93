"""Rows in parts of about the same size."""

from collections.abc import Callable, Sequence
from typing import TypeVar

Item = TypeVar("Item")


def split_evenly(
    items: Sequence[Item], parts: int, size: Callable[[Item], float]
) -> list[list[Item]]:
    """``items`` in at most ``parts`` lists, none of them empty, about equally full.

    The largest first into what holds least (Graham 1969), then moves and exchanges between the
    fullest part and the emptiest one for as long as they help.
    """
    filled: list[list[tuple[float, Item]]] = [[] for _ in range(min(parts, len(items)))]
    for sized in sorted(((size(item), item) for item in items), key=_size, reverse=True):
        min(filled, key=_total).append(sized)
    while len(filled) > 1 and _exchange(max(filled, key=_total), min(filled, key=_total)):
        pass
    return [[item for _, item in part] for part in filled]


def _size(sized: tuple[float, Item]) -> float:
    return sized[0]


def _total(part: list[tuple[float, Item]]) -> float:
    return sum(size for size, _ in part)


def _exchange(fullest: list[tuple[float, Item]], emptiest: list[tuple[float, Item]]) -> bool:
    """Make the two more alike by one move or one exchange, where there is one."""
    gap = _total(fullest) - _total(emptiest)
    nothing = [(0.0, None)] if len(fullest) > 1 else []
    gains = (
        (abs(gap / 2 - (given[0] - taken[0])), i, j)
        for i, given in enumerate(fullest)
        for j, taken in enumerate([*emptiest, *nothing])
    )
    left, i, j = min(gains)
    if left >= gap / 2 * (1 - 1e-9):  # rounding must not go round in circles
        return False
    given = fullest.pop(i)
    if j < len(emptiest):
        fullest.append(emptiest.pop(j))
    emptiest.append(given)
    return True
