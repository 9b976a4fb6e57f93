"""``python -m app`` as a process: what it loads, says, serves, and how it ends."""

import http.client
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from app.__main__ import address as address_of
from app.__main__ import allowed_hosts
from tests.app.serving import ROOT, answers, end, environment, free_port, start_module, until

BUILD = """
import asyncio, os, sys
from pathlib import Path
from app.__main__ import _stay_private
home = Path(sys.argv[1])
_stay_private(home)
from app.main import build_page, launch_options
from app.services import Services

async def build():
    services = Services.open(home)
    blocks = build_page(services)
    launch_options(services)
    return blocks

blocks = asyncio.run(build())
heavy = {"torch", "transformers", "datasets", "accelerate", "peft"} & set(sys.modules)
print(sorted(heavy), blocks.analytics_enabled, os.environ["GRADIO_ANALYTICS_ENABLED"],
      os.environ["HF_HUB_DISABLE_TELEMETRY"], os.environ["GRADIO_TEMP_DIR"])
"""


def test_the_page_is_light_and_private(tmp_path: Path) -> None:
    home = tmp_path / "home"
    built = subprocess.run(
        [sys.executable, "-c", BUILD, str(home)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env=environment(),
    )
    assert built.returncode == 0, built.stderr
    assert built.stdout.strip() == f"[] False False True {home / 'uploads'}"


def test_a_taken_port_is_a_sentence(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        process = start_module("app", "--port", str(port), home=tmp_path / "home")
        assert process.wait(timeout=60) == 2
    said = (tmp_path / "home" / "app.txt").read_text()
    assert said == (
        f"Port {port} on 127.0.0.1 is taken or not allowed; choose another one with --port.\n"
    )


def test_a_data_folder_that_cannot_be_is_a_sentence(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    refused = subprocess.run(
        [sys.executable, "-m", "app", "--port", str(free_port()), "--data-dir", str(file)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env=environment(),
    )
    assert refused.returncode == 2
    assert refused.stderr.startswith(f"The data folder {file} cannot be used")
    assert "Traceback" not in refused.stderr


@pytest.mark.skipif(os.name == "nt", reason="Ctrl-C reaches a whole console there")
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_it_ends_cleanly(tmp_path: Path, name: str) -> None:
    port = free_port()
    home = tmp_path / "home"
    abandoned = home / "making-x"
    abandoned.mkdir(parents=True)
    os.utime(abandoned, (0, 0))
    process = start_module("app", "--port", str(port), home=home)
    try:
        until(lambda: process.poll() is not None or answers(port))
        until(lambda: process.poll() is not None or not abandoned.exists())
        process.send_signal(getattr(signal, name))
        assert process.wait(timeout=30) == 0
    finally:
        end(process)
    said = (home / "app.txt").read_text()
    assert said == f"LoRA Workbench: http://127.0.0.1:{port}\n"
    assert (home / "logs" / "web.log").read_text() == ""


def test_only_this_machines_names_lead_to_a_page_that_listens_here(address: str) -> None:
    """Else a page from elsewhere could give its name this address, and read what lies here."""
    host, port = address.removeprefix("http://").split(":")
    for name, status in (
        (f"{host}:{port}", 200), ("localhost", 200), ("evil.example", 400),
        ("127.0.0.1.evil.example:7860", 400),
    ):  # fmt: skip
        connection = http.client.HTTPConnection(host, int(port), timeout=30)
        try:
            connection.request("GET", "/gradio_api/info", headers={"Host": name})
            assert connection.getresponse().status == status, name
        finally:
            connection.close()


def test_the_address_of_a_page() -> None:
    assert address_of("127.0.0.1", 7860) == "http://127.0.0.1:7860"
    assert address_of("::1", 7860) == "http://[::1]:7860"


def test_the_names_of_a_page() -> None:
    assert "[::1]" in allowed_hosts("127.0.0.1")
    assert allowed_hosts("localhost", ["lab.example"])[-1] == "lab.example"
    assert allowed_hosts("0.0.0.0") == allowed_hosts("192.168.1.5") == ["*"]


@pytest.mark.parametrize(
    "path",
    [
        "/adapters/99.zip",
        "/adapters/../workbench.sqlite",
        "/gradio_api/file={home}/workbench.sqlite",
        "/gradio_api/file={home}/logs/web.log",
        "/gradio_api/file=/etc/passwd",
        "/gradio_api/file={root}/pyproject.toml",
    ],
)
def test_nothing_but_the_zips_is_served(address: str, served_home: Path, path: str) -> None:
    host = address.removeprefix("http://")
    connection = http.client.HTTPConnection(host, timeout=30)
    try:
        connection.request("GET", path.format(home=served_home, root=ROOT))
        assert connection.getresponse().status in (403, 404)
    finally:
        connection.close()
