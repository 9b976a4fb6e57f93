"""Rows in parts of about the same size."""

from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from lora_engine.fast.even import split_evenly

SIZES = st.lists(st.integers(1, 600), min_size=1, max_size=40)


@given(SIZES, st.integers(1, 5))
def test_nothing_is_lost_and_no_part_is_empty(sizes: list[int], parts: int) -> None:
    found = split_evenly(sizes, parts, float)
    assert sorted(size for part in found for size in part) == sorted(sizes)
    assert len(found) == min(parts, len(sizes))
    assert all(found)


@given(SIZES, st.integers(1, 5))
def test_the_largest_part_is_within_grahams_bound(sizes: list[int], parts: int) -> None:
    largest = max(map(sum, split_evenly(sizes, parts, float)))
    assert largest <= sum(sizes) / parts + (1 - 1 / parts) * max(sizes)


def test_rows_of_a_real_update_come_out_nearly_as_even_as_they_can() -> None:
    for sizes in ((64, 73, 75, 92, 275, 293, 297, 419), (77, 110, 148, 168, 277, 330, 339, 512)):
        best = min(
            max(sum(chosen), sum(sizes) - sum(chosen))
            for bits in product([0, 1], repeat=len(sizes))
            for chosen in [[size for size, bit in zip(sizes, bits, strict=True) if bit]]
        )
        assert max(map(sum, split_evenly(sizes, 2, float))) <= 1.01 * best


def test_equal_rows_do_not_go_round_in_circles() -> None:
    assert [len(part) for part in split_evenly([0.1] * 9, 3, float)] == [3, 3, 3]
