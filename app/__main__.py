"""``python -m app``: serve the page."""

import argparse
import os
import socket
import sys
import threading
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path

from lora_engine.catalog import DEFAULT_HOME


def main(arguments: list[str] | None = None) -> int:
    """Serve the page until Ctrl-C or a termination signal; gives the exit status."""
    chosen = _parser().parse_args(arguments)
    if not _port_is_free(chosen.host, chosen.port):
        print(  # noqa: T201
            f"Port {chosen.port} on {chosen.host} is taken or not allowed; "
            "choose another one with --port.",
            file=sys.stderr,
        )
        return 2
    home: Path = chosen.data_dir.expanduser().resolve()
    _stay_private(home)
    return _serve(home, chosen.host, chosen.port, allowed_hosts(chosen.host, chosen.allow_host))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m app", description="Serve the page.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=7860, help="port to listen on")
    parser.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="another name under which browsers may ask for the page, such as a proxy's",
    )
    parser.add_argument(
        "--data-dir", type=Path, default=DEFAULT_HOME, help="where everything is kept"
    )
    return parser


def address(host: str, port: int) -> str:
    """Where the page is, as a browser takes it."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def allowed_hosts(host: str, others: Sequence[str] = ()) -> list[str]:
    """The names under which a page that listens on ``host`` may be asked for.

    On this machine alone it is asked for by this machine's names alone: a page from elsewhere could
    give its own name this address (DNS rebinding), and read what lies here.
    """
    try:
        is_here = ip_address(host).is_loopback
    except ValueError:
        is_here = host.lower() == "localhost"
    return ["localhost", "127.0.0.1", "[::1]", host, *others] if is_here else ["*"]


def _port_is_free(host: str, port: int) -> bool:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        if os.name == "posix":  # elsewhere this option would let two servers share a port
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except (OSError, OverflowError):
            return False
    return True


def _stay_private(home: Path) -> None:
    """No telemetry, and uploads on the same disk as the data; must precede ``import gradio``."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    os.environ.setdefault("GRADIO_TEMP_DIR", str(home / "uploads"))


def _serve(home: Path, host: str, port: int, hosts: list[str]) -> int:
    import signal

    from app.logs import start_logging
    from app.main import build_page, launch_options
    from app.services import Services
    from app.sweeping import sweep
    from jobs.devices import machine
    from lora_engine.errors import WorkbenchError

    try:
        start_logging(home)
        services = Services.open(home)
    except (OSError, WorkbenchError) as error:
        print(f"The data folder {home} cannot be used: {error}", file=sys.stderr)  # noqa: T201
        return 2
    ended = threading.Event()
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), lambda *_: ended.set())
    blocks = build_page(services)
    try:
        blocks.launch(
            server_name=host,
            server_port=port,
            prevent_thread_lock=True,
            **launch_options(services, hosts),
        )
        print(f"LoRA Workbench: {address(host, port)}", flush=True)  # noqa: T201
        sweep(services)
        machine()  # asks a graphics driver, for which the first count must not wait
        while not ended.wait(0.5):  # a plain wait would not see Ctrl-C on Windows
            pass
    finally:
        blocks.close(verbose=False)
        services.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
