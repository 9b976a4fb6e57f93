"""``jobs.run_job`` with the fake engine; started as a script."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from jobs import run_job
from tests.jobs import fake_engine

if __name__ == "__main__":
    sys.exit(run_job.main(load_train=lambda: fake_engine.train))
