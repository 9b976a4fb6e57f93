"""constraints.txt names the version of everything that is installed."""

import re
import tomllib
from importlib import metadata

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.start.project import ROOT


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    rows = [line.split("==") for line in lines if not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in rows}


def test_everything_that_is_installed_is_pinned_to_what_runs_here() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    waiting = [*project["dependencies"], *project["optional-dependencies"]["test"]]
    pinned, seen = pins(), set()
    while waiting:
        needed = Requirement(waiting.pop())
        name = canonicalize_name(needed.name)
        if (name, key := frozenset(needed.extras)) in seen:
            continue
        seen.add((name, key))
        found = metadata.distribution(name)
        assert pinned.get(name) == found.version.partition("+")[0], name
        for text in found.requires or ():
            marker = Requirement(text).marker
            if marker is None or any(marker.evaluate({"extra": e}) for e in ("", *key)):
                waiting.append(text)
    assert len(seen) > 80


def test_the_pins_name_versions_only() -> None:
    assert pins()["torch"] == "2.13.0"
    for name, version in pins().items():
        assert re.fullmatch(r"\d+(\.\d+)*", version), name
