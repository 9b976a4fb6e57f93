"""What every part's tests share."""

import os
import shutil
from pathlib import Path

import pytest
from hypothesis import settings

from lora_engine import catalog

settings.register_profile("unhurried", deadline=None)  # a busy machine is no failure
settings.load_profile("unhurried")

STARTER = "smollm2-135m-instruct"


@pytest.fixture(scope="session")
def starter_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty data folder in which the real starter model is there already.

    The model itself is fetched and converted once per machine, in the default data folder, whose
    jobs and data sets the tests never touch.
    """
    model = catalog.resolve(STARTER, catalog.DEFAULT_HOME).path
    home = tmp_path_factory.mktemp("starter") / "home"
    (home / "models").mkdir(parents=True)
    if os.name == "nt":  # links need a privilege there
        shutil.copytree(model, home / "models" / STARTER)
    else:
        (home / "models" / STARTER).symlink_to(model, target_is_directory=True)
    return home
