from collections.abc import Iterator
from pathlib import Path

import pytest
from gradio_client import Client

from app.services import Services
from tests.app.serving import running_page

ROWS = 40


def make_table(path: Path, rows: int = ROWS) -> Path:
    """A small table of questions and answers."""
    lines = ["question,answer"] + [f"What is {i}?,It is {i} and no more." for i in range(rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Services]:
    """A data folder of the test's own."""
    opened = Services.open(tmp_path / "home")
    yield opened
    opened.close()
    opened.store.close()


@pytest.fixture(scope="session")
def served_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder of the running page."""
    return tmp_path_factory.mktemp("served") / "home"


@pytest.fixture(scope="session")
def address(served_home: Path) -> Iterator[str]:
    """A running page, as a program sees it."""
    with running_page(served_home) as address:
        yield address


@pytest.fixture(scope="session")
def client(address: str, tmp_path_factory: pytest.TempPathFactory) -> Client:
    """A program's view of the page. The address is plain HTTP, and the client would load all
    certificates anew at each call, which takes ten times as long as the call."""
    downloads = tmp_path_factory.mktemp("downloads")
    return Client(
        address, verbose=False, analytics_enabled=False, ssl_verify=False, download_files=downloads
    )


@pytest.fixture(scope="session")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_table(tmp_path_factory.mktemp("data") / "numbers.csv")
