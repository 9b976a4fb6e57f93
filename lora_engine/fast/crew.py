"""Two packs at a time, each on half of the processor's cores.

Reason: between two matrix products one thread prepares the next while the others wait; with two
packs under way nobody waits. Each pack is computed by itself and the gradients are added in the
order of the packs, so the numbers do not depend on who is first.
"""

import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

AT_ONCE = 2
"""Packs under way. More would need more memory, and the cores are busy with two."""

SWITCH_SECONDS = 1e-5
"""How long a thread waits for Python's lock before it asks for it. Python's own 5 ms are longer
than most products, and the core of the one that waits is idle."""

Item = TypeVar("Item")
Result = TypeVar("Result")


class Crew:
    """Threads that share the cores evenly, for work that torch does outside Python's lock."""

    def __init__(self, cores: int) -> None:
        share = max(1, cores // AT_ONCE)
        self._pool = ThreadPoolExecutor(
            AT_ONCE, "crew", initializer=torch.set_num_threads, initargs=(share,)
        )

    def map(self, work: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
        """``work`` on every item; the results come in the order of the items."""
        usual = sys.getswitchinterval()
        sys.setswitchinterval(SWITCH_SECONDS)
        try:
            return list(self._pool.map(work, items))
        finally:
            sys.setswitchinterval(usual)
