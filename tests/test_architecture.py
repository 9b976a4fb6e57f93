"""The rules between the layers that no import contract can tell."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("app", "jobs", "lora_engine")
HEAVY = ("torch", "transformers", "datasets", "accelerate", "peft")
TORCH_FREE = (
    "errors", "config", "progress", "profile", "catalog", "data", "adapter_config", "table",
    "registry", "commands", "base_form",
)  # fmt: skip

IMPORT_ALL = f"""
import importlib, pkgutil, sys
for name in sys.argv[1:]:
    package = importlib.import_module(name)
    for found in pkgutil.walk_packages(getattr(package, "__path__", ()), name + "."):
        if not found.name.endswith("__main__"):
            importlib.import_module(found.name)
    print(name, *(heavy for heavy in {HEAVY!r} if heavy in sys.modules))
"""


def sources(*packages: str) -> Iterator[tuple[str, ast.Module]]:
    for package in packages:
        for path in sorted((ROOT / package).rglob("*.py")):
            yield path.relative_to(ROOT).as_posix(), ast.parse(path.read_text("utf-8"))


def imports(tree: ast.Module) -> Iterator[str]:
    """Every module that is imported, at the top or inside a function."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


@pytest.mark.parametrize(
    ("packages", "banned"),
    [
        (PACKAGES, ("peft", "pickle", "joblib", "cloudpickle", "dill")),
        (("app", "jobs"), HEAVY),
        (("lora_engine",), ("app", "jobs", "gradio", "sqlite3", "sqlite_utils")),
    ],
)
def test_nothing_imports_what_its_layer_may_not_know(
    packages: tuple[str, ...], banned: tuple[str, ...]
) -> None:
    found = [
        (path, module)
        for path, tree in sources(*packages)
        for module in imports(tree)
        if module.partition(".")[0] in banned
    ]
    assert found == []


def test_page_and_queue_never_load_torch() -> None:
    """In one process, since each step may add to what is loaded: engine parts, queue, page."""
    parts = [f"lora_engine.{part}" for part in TORCH_FREE]
    child = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", IMPORT_ALL, *parts, "jobs", "app"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert child.returncode == 0, child.stderr
    assert child.stdout.split("\n") == [*parts, "jobs", "app", ""]


def test_the_engine_reads_no_environment_variables() -> None:
    found = [
        f"{path}:{node.lineno}"
        for path, tree in sources("lora_engine")
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute | ast.Name)
        and (node.attr if isinstance(node, ast.Attribute) else node.id)
        in ("environ", "getenv", "environb")
    ]
    assert found == []


def test_code_from_a_model_repository_is_never_run() -> None:
    """Whatever loads from a folder says so: nothing trusts its code, nothing unpickles."""
    trusting, unpickling = [], []
    for path, tree in sources(*PACKAGES):
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call):
                continue
            options = {word.arg: ast.unparse(word.value) for word in node.keywords}
            if options.get("trust_remote_code", "False") != "False":
                trusting.append(f"{path}:{node.lineno}")
            if ast.unparse(node.func) == "torch.load" and options.get("weights_only") != "True":
                unpickling.append(f"{path}:{node.lineno}")
    assert (trusting, unpickling) == ([], [])
