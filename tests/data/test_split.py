"""Training and validation rows: deterministic, and no question on both sides."""

import subprocess
import sys

from hypothesis import given
from hypothesis import strategies as st

from lora_engine.data.split import split


@given(
    groups=st.lists(st.integers(0, 12), min_size=1, max_size=40),
    share=st.floats(0, 0.9),
    seed=st.integers(0, 2**32 - 1),
)
def test_the_sides_are_apart_and_complete(groups: list[int], share: float, seed: int) -> None:
    training, validation = split({"group": groups}, share, seed)
    assert sorted(training + validation) == list(range(len(groups)))
    assert training == sorted(training)
    assert not {groups[row] for row in training} & {groups[row] for row in validation}
    assert training
    assert bool(validation) == (share > 0 and len(set(groups)) > 1)


@given(rows=st.integers(2, 300), share=st.floats(0.05, 0.9), seed=st.integers(0, 1000))
def test_the_share_is_met_where_every_row_is_its_own_group(
    rows: int, share: float, seed: int
) -> None:
    _, validation = split({"group": list(range(rows))}, share, seed)
    assert len(validation) == min(max(1, round(rows * share)), rows - 1)


def test_a_big_group_does_not_fill_the_validation_rows() -> None:
    groups = [0] * 90 + list(range(1, 11))
    for seed in range(20):
        training, validation = split({"group": groups}, 0.1, seed)
        assert len(validation) == 10
        assert len(training) == 90


def test_the_seed_decides_and_the_process_does_not() -> None:
    groups = [int(n) % 50 for n in range(100)]
    code = (
        "from lora_engine.data.split import split;"
        "print(split({'group': [int(n) % 50 for n in range(100)]}, 0.2, 7))"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == str(split({"group": groups}, 0.2, 7))
    assert split({"group": groups}, 0.2, 8) != split({"group": groups}, 0.2, 7)


@given(
    classes=st.lists(st.integers(0, 5), min_size=1, max_size=60),
    share=st.floats(0, 0.9),
    seed=st.integers(0, 2**32 - 1),
)
def test_every_class_is_trained_on(classes: list[int], share: float, seed: int) -> None:
    rows = {"group": [n // 2 for n in range(len(classes))], "labels": [[c] for c in classes]}
    training, validation = split(rows, share, seed, evenly=True)
    assert sorted(training + validation) == list(range(len(classes)))
    assert not {row // 2 for row in training} & {row // 2 for row in validation}
    firsts = {classes[group * 2] for group in {row // 2 for row in range(len(classes))}}
    assert firsts == {classes[row // 2 * 2] for row in training}


def test_an_even_split_holds_out_the_same_share_of_every_class() -> None:
    classes = [0] * 400 + [1] * 100 + [2] * 10
    rows = {"group": list(range(510)), "labels": [[c] for c in classes]}
    for seed in range(10):
        _, validation = split(rows, 0.2, seed, evenly=True)
        assert len(validation) == 102
        counts = [sum(classes[row] == c for row in validation) for c in range(3)]
        assert all(abs(count - w) <= 1 for count, w in zip(counts, (80, 20, 2), strict=True))


def test_many_small_classes_together_give_the_share() -> None:
    classes = [n // 4 for n in range(77 * 4)]
    rows = {"group": list(range(308)), "labels": [[c] for c in classes]}
    _, validation = split(rows, 0.1, 1, evenly=True)
    assert len(validation) == 31
    assert max(sum(classes[row] == c for row in validation) for c in range(77)) == 1
