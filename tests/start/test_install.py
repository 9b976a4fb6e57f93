"""What start.py installs and when, and what it says when it cannot."""

import ast
import subprocess
import sys
from types import ModuleType

import pytest

from tests.start.project import ROOT, load


def test_the_file_parses_on_pythons_that_are_too_old() -> None:
    ast.parse((ROOT / "start.py").read_text("utf-8"), feature_version=(3, 6))


def test_a_python_that_is_too_old_is_told() -> None:
    old = (
        "import sys, runpy; sys.version_info = (3, 9, 1, 'final', 0); "
        "runpy.run_path('start.py', run_name='__main__')"
    )
    ended = subprocess.run(
        [sys.executable, "-c", old], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 1
    assert ended.stderr.startswith(
        "LoRA Workbench needs Python 3.11 or newer, and this is Python 3.9"
    )
    assert ended.stderr.count("\n") == 1


def test_a_first_start_makes_the_environment_and_a_second_does_nothing(
    start: ModuleType, steps: list[str]
) -> None:
    start.install()
    pins = "-c ROOT/constraints.txt --build-constraint ROOT/constraints.txt"
    pip = "-m pip install --disable-pip-version-check"
    assert [step.replace("\\", "/") for step in steps] == [
        "-m venv --clear ROOT/.venv",
        f"{pip} --quiet --upgrade -c ROOT/constraints.txt pip",
        f"{pip} {pins} -e ROOT",
    ]
    steps.clear()
    start.install()
    assert steps == []


def test_the_test_extras_come_into_the_same_environment(
    installed: ModuleType, steps: list[str]
) -> None:
    installed.install(for_tests=True)
    assert len(steps) == 2
    assert steps[-1].endswith("-e ROOT[test]")
    steps.clear()
    installed.install(for_tests=True)
    installed.install()
    assert steps == []


@pytest.mark.parametrize("file", ["constraints.txt", "pyproject.toml"])
def test_new_pins_are_installed_into_the_old_environment(
    installed: ModuleType, steps: list[str], file: str
) -> None:
    with (installed.ROOT / file).open("a") as opened:
        opened.write("# changed\n")
    installed.install()
    assert not any("venv --clear" in step for step in steps)
    assert steps[-1].endswith("-e ROOT")


@pytest.mark.parametrize("for_tests", [False, True])
def test_extras_that_a_person_has_added_are_brought_along(
    installed: ModuleType, steps: list[str], for_tests: bool
) -> None:
    place = installed.VENV / "lib" / "python3.11" / "site-packages"
    for package in ("bitsandbytes", "liger_kernel"):
        (place / package).mkdir(parents=True)
    (installed.VENV / "installed").unlink()
    installed.install(for_tests=for_tests)
    assert any("venv --clear" in step for step in steps)
    assert steps[-1].endswith(f"-e ROOT[{'test,' if for_tests else ''}liger,quantized]")


@pytest.mark.parametrize("broken_at", [0, 1, 2])
def test_an_interrupted_installation_is_begun_anew(
    start: ModuleType, steps: list[str], monkeypatch: pytest.MonkeyPatch, broken_at: int
) -> None:
    def interrupted(*command: str) -> None:
        if len(steps) == broken_at:
            raise KeyboardInterrupt
        whole(*command)

    whole = start.step
    monkeypatch.setattr(start, "step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        start.install()
    steps.clear()
    monkeypatch.setattr(start, "step", whole)
    start.install()
    assert "venv --clear" in steps[0]
    assert len(steps) == 3


@pytest.mark.parametrize("lost", ["stamp", "python"])
def test_an_environment_that_lost_something_is_begun_anew(
    installed: ModuleType, steps: list[str], lost: str
) -> None:
    stamp = installed.VENV / "installed"
    (stamp if lost == "stamp" else installed.program("python")).unlink()
    installed.install()
    assert "venv --clear" in steps[0]


def test_a_project_that_was_moved_gets_a_new_environment(
    installed: ModuleType, steps: list[str]
) -> None:
    moved = installed.ROOT.rename(installed.ROOT.with_name("moved"))
    here = load(moved / "start.py")
    here.step = installed.step
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(installed, "ROOT", here.ROOT)
        patch.setattr(installed, "VENV", here.VENV)
        here.install()
    assert "venv --clear" in steps[0]


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        (
            "ERROR: Could not install: OSError: [Errno 28] No space left on device",
            "The disk is full",
        ),
        ("OSError: [WinError 112] There is not enough space on the disk", "The disk is full"),
        ("WARNING: Retrying (Retry(total=4)) after connection broken by 'New", "cannot be reached"),
        ("ERROR: No version satisfies pip==26.3 (from versions: none)", "cannot be reached"),
        ("PermissionError: [Errno 13] Permission denied: '.venv'", "may not write to"),
        ("ERROR: something that nobody thought of", "the reason stands above"),
    ],
)
def test_an_installation_that_fails_is_explained(
    start: ModuleType, capfd: pytest.CaptureFixture[str], said: str, sentence: str
) -> None:
    with pytest.raises(SystemExit, match=sentence) as caught:
        start.step(sys.executable, "-c", f"import sys; sys.exit({said!r})")
    assert "\n" not in str(caught.value.code)
    assert said in capfd.readouterr().err


def test_a_full_disk_is_told_even_where_the_step_does_not_say_it(
    start: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = start.shutil.disk_usage(start.ROOT)._replace(free=0)
    monkeypatch.setattr(start.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(SystemExit, match="The disk is full"):
        start.step(sys.executable, "-c", "import sys; sys.exit('ensurepip returned 1')")


def test_a_failed_installation_leaves_no_stamp(
    start: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(start.sys, "executable", str(start.ROOT / "no python"))
    with pytest.raises(SystemExit, match="the reason stands above"):
        start.install()
    assert not (start.VENV / "installed").exists()


def test_a_python_without_venv_is_told(
    start: ModuleType, steps: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(start.importlib.util, "find_spec", lambda name: name != "ensurepip")
    with pytest.raises(SystemExit, match=r"sudo apt install python3\.\d+-venv"):
        start.install()
    assert steps == []


def test_every_check_runs_even_where_one_fails(
    installed: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    fails, tells = "import sys; sys.exit(3)", "import sys; print(sys.argv[1:])"
    monkeypatch.setattr(installed, "CHECKS", (("python", "-c", fails), ("python", "-c", tells)))
    assert installed.test(["-k", "some"]) == 1
    said = capfd.readouterr()
    assert "['-k', 'some']" in said.out
    assert said.err.startswith("Failed: python -c")
    monkeypatch.setattr(installed, "CHECKS", (("python", "-c", tells),))
    assert installed.test([]) == 0


def test_the_last_check_is_the_one_that_takes_options() -> None:
    assert load(ROOT / "start.py").CHECKS[-1][0] == "pytest"
