from pathlib import Path

import pytest

from jobs.store import Store


@pytest.fixture
def store(tmp_path: Path):
    store = Store(tmp_path / "home")
    yield store
    store.close()
