"""Training and validation rows, with no question on both sides."""

import random
from collections import Counter
from typing import Any

Group = list[int]
"""Rows that stay together."""


def split(
    dataset: Any, validation_share: float, seed: int, *, evenly: bool = False
) -> tuple[list[int], list[int]]:
    """Split encoded rows by a seeded shuffle of their groups.

    Args:
        dataset: ``StoredRows`` or a ``datasets.Dataset`` with a column ``group``; rows of one
            group stay together.
        validation_share: share of the rows to hold out, from 0 to below 1.
        seed: the same seed gives the same split in every process.
        evenly: hold out the same share of every class (the first number in column ``labels``);
            a class with one group stays in the training rows.

    Returns:
        The positions of the training rows and of the validation rows, ascending. There is
        always a training row; there is a validation row unless the share is 0 or there is one
        group only (evenly: one group of each class).
    """
    groups: dict[int, Group] = {}
    for row, group in enumerate(dataset["group"]):
        groups.setdefault(group, []).append(row)
    order = list(groups.values())
    chance = random.Random(seed)
    chance.shuffle(order)
    count = sum(map(len, order))
    wanted = min(round(count * validation_share), count - 1)
    spare = order
    if evenly:
        classes = [label[0] for label in dataset["labels"]]
        held_out, kept = _hold_out_evenly(order, classes, wanted, chance)
        common = Counter(classes[rows[0]] for rows in order)
        spare = [rows for rows in order if common[classes[rows[0]]] > 1]
    else:
        held_out, kept = _hold_out(order, wanted)
    if validation_share > 0 and not held_out and len(kept) > 1 and spare:
        held_out = [kept.pop(kept.index(min(spare, key=len)))]
    return sorted(row for rows in kept for row in rows), sorted(
        r for rows in held_out for r in rows
    )


def _hold_out(order: list[Group], wanted: int) -> tuple[list[Group], list[Group]]:
    """The first groups that have room in ``wanted`` rows, and the others."""
    held_out, kept, room = [], [], wanted
    for rows in order:
        if len(rows) <= room:
            held_out.append(rows)
            room -= len(rows)
        else:
            kept.append(rows)
    return held_out, kept


def _hold_out_evenly(
    order: list[Group], classes: list[int], wanted: int, chance: random.Random
) -> tuple[list[Group], list[Group]]:
    """Walk from class to class and take a group whenever its share has come together
    (systematic sampling), so that many small classes together give ``wanted`` rows, too."""
    by_class: dict[int, list[Group]] = {}
    for rows in order:
        by_class.setdefault(classes[rows[0]], []).append(rows)
    held_out: list[Group] = []
    kept: list[Group] = []
    share = wanted / sum(map(len, order))
    due = chance.uniform(0.01, 0.99)
    for number in sorted(by_class):
        kept_before = len(kept)
        groups = by_class[number]
        for place, rows in enumerate(groups, start=1):
            due += share * len(rows)
            nothing_kept = place == len(groups) and len(kept) == kept_before
            if due >= len(rows) and not nothing_kept:
                held_out.append(rows)
                due -= len(rows)
            else:
                kept.append(rows)
    return held_out, kept
