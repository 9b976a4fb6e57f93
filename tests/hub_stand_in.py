"""A small model hub on this machine: the few requests that huggingface_hub makes of a real one."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class StandIn:
    """Repositories as ``{repo_id: {path: bytes}}``; remembers the files that were asked for."""

    def __init__(self, repos: dict[str, dict[str, bytes]], gated: frozenset[str] = frozenset()):
        self.repos = repos
        self.gated = gated
        self.fetched: list[str] = []
        self.endpoint = ""

    @contextmanager
    def running(self) -> Iterator["StandIn"]:
        """Serve on a free port until the block ends."""
        server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        self.endpoint = f"http://127.0.0.1:{server.server_port}"
        try:
            yield self
        finally:
            server.shutdown()
            thread.join()
            server.server_close()


def _handler(hub: StandIn) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer(with_body=True)

        def do_HEAD(self) -> None:
            self._answer(with_body=False)

        def _answer(self, with_body: bool) -> None:
            path = self.path.partition("?")[0].strip("/").removeprefix("api/models/")
            owner, name, *rest = [*path.split("/"), "", ""]
            repo = f"{owner}/{name}"
            verb, file = rest[0], "/".join(part for part in rest[2:] if part)
            if repo not in hub.repos:
                return self._refuse(HTTPStatus.NOT_FOUND, "RepoNotFound", with_body)
            if repo in hub.gated:
                return self._refuse(HTTPStatus.FORBIDDEN, "GatedRepo", with_body)
            files = hub.repos[repo]
            if verb != "resolve":
                listing = [
                    {"type": "file", "path": path, "size": len(data), "oid": _oid(data)}
                    for path, data in files.items()
                ]
                info = {"id": repo, "sha": COMMIT, "siblings": []}
                return self._send(json.dumps(listing if verb == "tree" else info).encode(), {})
            if file not in files:
                return self._refuse(HTTPStatus.NOT_FOUND, "EntryNotFound", with_body)
            if with_body:
                hub.fetched.append(file)
            return self._send(files[file], {"ETag": f'"{_oid(files[file])}"'}, with_body)

        def _send(self, body: bytes, headers: dict[str, str], with_body: bool = True) -> None:
            self.send_response(HTTPStatus.OK)
            for key, value in ({"X-Repo-Commit": COMMIT} | headers).items():
                self.send_header(key, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if with_body:
                self.wfile.write(body)

        def _refuse(self, status: HTTPStatus, code: str, with_body: bool) -> None:
            self.send_response(status)
            self.send_header("X-Error-Code", code)
            self.send_header("Content-Length", "2")
            self.end_headers()
            if with_body:
                self.wfile.write(b"{}")

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    return Handler


def _oid(data: bytes) -> str:
    return hashlib.sha1(data).hexdigest()
