"""A copy of start.py in a folder of its own, with packages that do nothing heavy."""

import importlib.util
import shutil
import socket
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[2]

PAGE = """
import argparse, http.server, signal, sys
parser = argparse.ArgumentParser()
parser.add_argument("--host"); parser.add_argument("--port", type=int)
parser.add_argument("--data-dir")
options = parser.parse_args()
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        open("page asked", "w").close()
        self.send_response(200); self.end_headers()
    def log_message(self, *_): pass
def leave(*_):
    open("page ended", "w").write(str(options.data_dir)); sys.exit()
signal.signal(signal.SIGTERM, leave)
http.server.HTTPServer((options.host, options.port), Handler).serve_forever()
"""
WORKER = """
import signal, sys, time
def leave(*_):
    open("worker ended", "w").write(" ".join(sys.argv[1:])); sys.exit()
signal.signal(signal.SIGTERM, leave)
print("worker up", flush=True)
while True: time.sleep(0.05)
"""


def write_project(folder: Path) -> ModuleType:
    """Make the project and load its start.py."""
    folder.mkdir()
    shutil.copy(ROOT / "start.py", folder)
    (folder / "constraints.txt").write_text("pip==26.3\n")
    (folder / "pyproject.toml").write_text("[project]\n")
    for package, source in (("app", PAGE), ("jobs", WORKER)):
        (folder / package).mkdir()
        (folder / package / "__init__.py").touch()
        (folder / package / "__main__.py").write_text(source)
    return load(folder / "start.py")


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("start_copy", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])
