"""Runs a service that stands between a client and the server, for as long as a block lasts."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event

from task import LIMIT_S

START_LIMIT_S = 240


@contextmanager
def running(*words: str, ready: str, **environment: str) -> Iterator[str]:
    """The service's address, once it answers.

    Args:
        words: a command of this Python's environment, and its arguments; the port is added.
        ready: the path to ask.
        environment: variables that it gets besides ours.
    """
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [str(Path(sys.executable).parent / words[0]), *words[1:], "--port", str(port)]
    service = subprocess.Popen(command, stdout=sys.stderr, env={**os.environ, **environment})
    try:
        url = f"http://127.0.0.1:{port}"
        _wait_for(url + ready, service)
        yield url
    finally:
        service.terminate()
        service.wait(LIMIT_S)


def _wait_for(url: str, service: subprocess.Popen[bytes]) -> None:
    pause = Event()
    for _ in range(20 * START_LIMIT_S):
        try:
            with urllib.request.urlopen(url, timeout=LIMIT_S):
                return
        except OSError:
            if service.poll() is not None:
                break
            pause.wait(0.05)
    raise SystemExit(f"{url} did not come up")
