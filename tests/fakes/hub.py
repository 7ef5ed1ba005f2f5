"""A model hub on loopback: as much of its HTTP as fetching a snapshot needs, and faults on request."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "c" * 40


class FakeHub:
    """What the hub holds, and what it was asked for.

    Attributes:
        repos: repository id to file name to content.
        gated: ids that answer 403.
        cut: names of files whose connection breaks half-way.
        asked: "METHOD path" of each request.
    """

    def __init__(self) -> None:
        self.repos: dict[str, Mapping[str, bytes]] = {}
        self.gated: set[str] = set()
        self.cut: set[str] = set()
        self.asked: list[str] = []
        self.url = ""

    def fetched(self) -> set[str]:
        """Names of the files whose content was asked for."""
        gets = (line for line in self.asked if line.startswith("GET") and "/resolve/" in line)
        return {line.rpartition("/")[2] for line in gets}


@contextmanager
def fake_hub() -> Iterator[FakeHub]:
    """Serve a hub on a free port of 127.0.0.1."""
    hub = FakeHub()
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    hub: FakeHub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def log_message(self, *_: object) -> None:
        """Stay quiet."""

    def _answer(self) -> None:
        path = self.path.partition("?")[0]
        self.hub.asked.append(f"{self.command} {path}")
        for repo, files in self.hub.repos.items():
            if (
                path.startswith((f"/api/models/{repo}/", f"/{repo}/resolve/"))
                or path == f"/api/models/{repo}"
            ):
                if repo in self.hub.gated:
                    return self._send(403, b"{}", {"X-Error-Code": "GatedRepo"})
                return self._file(path, files) if "/resolve/" in path else self._info(repo, path, files)
        return self._send(404, b"{}", {"X-Error-Code": "RepoNotFound"})

    def _info(self, repo: str, path: str, files: Mapping[str, bytes]) -> None:
        if "/tree/" in path:
            listing = [{"type": "file", "path": n, "size": len(c), "oid": _oid(c)} for n, c in files.items()]
            return self._send(200, json.dumps(listing).encode())
        info = {"id": repo, "sha": COMMIT, "siblings": [{"rfilename": name} for name in files]}
        return self._send(200, json.dumps(info).encode())

    def _file(self, path: str, files: Mapping[str, bytes]) -> None:
        name = path.partition(f"/resolve/{COMMIT}/")[2]
        if name not in files:
            return self._send(404, b"", {"X-Error-Code": "EntryNotFound"})
        content = files[name]
        headers = {"ETag": f'"{_oid(content)}"', "X-Repo-Commit": COMMIT}
        if self.command == "GET" and name in self.hub.cut:
            self.close_connection = True
        return self._send(200, content, headers, cut=self.command == "GET" and name in self.hub.cut)

    def _send(
        self, status: int, body: bytes, headers: Mapping[str, str] | None = None, *, cut: bool = False
    ) -> None:
        self.send_response(status)
        for key, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[: len(body) // 2] if cut else body)


def _oid(content: bytes) -> str:
    return hashlib.sha1(content, usedforsecurity=False).hexdigest()
