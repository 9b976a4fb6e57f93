"""``python -m jobs`` with the fake engine and no patience: script, then the real arguments.

The first argument is a JSON object of ``Timing`` fields.
"""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from jobs.__main__ import main
from jobs.worker import Timing

CHILD = (sys.executable, str(Path(__file__).with_name("fake_child.py")))

if __name__ == "__main__":
    timing = Timing(**json.loads(sys.argv[1]))
    sys.exit(main(sys.argv[2:], timing, CHILD))
