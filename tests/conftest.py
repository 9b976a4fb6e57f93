"""What every part's tests share."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from lora_engine import catalog

# Tests run side by side, with more threads than cores: one that waits must not keep a core busy.
# Set before torch is there, and for the processes that tests start.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

settings.register_profile("unhurried", deadline=None)  # a busy machine is no failure
settings.load_profile("unhurried")

STARTER = "smollm2-135m-instruct"
ENCODER = "all-minilm-l6-v2"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """What ``-n auto`` is: each worker holds torch and models, and starts processes of its own."""
    return 2


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    from tests.side_by_side import BySharing  # xdist is there, or nobody asks

    return BySharing(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest in one piece must not begin last."""
    items.sort(key=lambda item: "tests/browser/" not in item.nodeid)


@pytest.fixture(scope="session")
def starter_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty data folder in which the real starter model is there already."""
    return home_with(STARTER, tmp_path_factory.mktemp("starter") / "home")


@pytest.fixture(scope="session")
def encoder_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with the starter model for classifiers."""
    return home_with(ENCODER, tmp_path_factory.mktemp("encoder") / "home")


def home_with(starter: str, home: Path) -> Path:
    """Make ``home`` a data folder with a real starter model.

    The model itself is fetched and converted once per machine, in the default data folder, whose
    jobs and data sets the tests never touch.
    """
    model = catalog.resolve(starter, catalog.DEFAULT_HOME).path
    (home / "models").mkdir(parents=True)
    if os.name == "nt":  # links need a privilege there
        shutil.copytree(model, home / "models" / starter)
    else:
        (home / "models" / starter).symlink_to(model, target_is_directory=True)
    return home
