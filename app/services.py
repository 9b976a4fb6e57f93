"""What every part of the page works with: one object, handed to each builder."""

import threading
from collections import Counter, OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from jobs.generation import Generator
from jobs.job import Job
from jobs.store import Store
from lora_engine import catalog
from lora_engine.data.library import Library
from lora_engine.profile import PROFILE_LABELS, ModelProfile

KEPT_PROFILES = 32


@dataclass(frozen=True)
class Services:
    """The data folder and the parts that live in it."""

    home: Path
    store: Store
    library: Library
    generator: Generator
    _profiles: OrderedDict[tuple[str, str | None], ModelProfile] = field(
        default_factory=OrderedDict
    )
    _worked_on: Counter[int] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def open(cls, home: Path) -> Self:
        """Open (and where needed make) the data folder."""
        home.mkdir(parents=True, exist_ok=True)
        return cls(home, Store(home), Library(home), Generator(home))

    def profile(
        self, base_model: str, task: str | None = None, num_labels: int = PROFILE_LABELS
    ) -> ModelProfile:
        """What can be adapted in a model; kept in memory, so that counts answer at once.

        ``task`` decides the head; None means what the model was made for.

        Raises:
            ModelError: the model cannot be found or used.
        """
        key = (base_model.strip(), task)
        with self._lock:
            known = self._profiles.get(key)
            if known is not None:
                self._profiles.move_to_end(key)
        if known is None:
            known = catalog.profile(key[0], self.home, task=task)
            with self._lock:
                self._profiles[key] = known
                while len(self._profiles) > KEPT_PROFILES:
                    self._profiles.popitem(last=False)
        return known.with_labels(num_labels)

    def knows_profile(self, base_model: str) -> bool:
        """Whether ``profile`` answers at once."""
        name = base_model.strip()
        return catalog.is_starter(name) or (name, None) in self._profiles

    @contextmanager
    def working_on(self, jobs: Sequence[Job]) -> Iterator[None]:
        """While something is made of finished runs' adapters."""
        ids = [job.id for job in jobs]
        with self._lock:
            self._worked_on.update(ids)
        try:
            yield
        finally:
            with self._lock:
                self._worked_on.subtract(ids)

    def is_worked_on(self, job_id: int) -> bool:
        """Whether something is being made of a run's adapter."""
        with self._lock:
            return self._worked_on[job_id] > 0

    def close(self) -> None:
        """End the generation child; the store and the library hold nothing open."""
        self.generator.close()
