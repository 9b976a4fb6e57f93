"""Training and validation rows, with no question on both sides."""

import random
from typing import Any


def split(dataset: Any, validation_share: float, seed: int) -> tuple[list[int], list[int]]:
    """Split encoded rows by a seeded shuffle of their groups.

    Args:
        dataset: a ``datasets.Dataset`` with a column ``group``; rows of one group stay together.
        validation_share: share of the rows to hold out, from 0 to below 1.
        seed: the same seed gives the same split in every process.

    Returns:
        The positions of the training rows and of the validation rows, ascending. There is
        always a training row; there is a validation row unless the share is 0 or there is one
        group only.
    """
    groups: dict[int, list[int]] = {}
    for row, group in enumerate(dataset["group"]):
        groups.setdefault(group, []).append(row)
    order = list(groups.values())
    random.Random(seed).shuffle(order)
    count = sum(map(len, order))
    wanted = min(round(count * validation_share), count - 1)
    held_out: list[int] = []
    kept: list[list[int]] = []
    for rows in order:
        if len(held_out) + len(rows) <= wanted:
            held_out += rows
        else:
            kept.append(rows)
    if validation_share > 0 and not held_out and len(kept) > 1:
        held_out = kept.pop(kept.index(min(kept, key=len)))
    return sorted(row for rows in kept for row in rows), sorted(held_out)
