"""Put first on PYTHONPATH: refuses every socket beyond loopback, and writes down who asked for one."""

from __future__ import annotations

import os
import sys

LOCAL = ("127.0.0.1", "::1", "localhost", "0.0.0.0", "::", "", None)


def watch(event: str, arguments: tuple[object, ...]) -> None:
    """An audit hook: Python calls it before each of these events, whichever library causes them."""
    if event in ("socket.connect", "socket.sendto"):
        address = arguments[1]
        host = address[0] if isinstance(address, tuple) else None  # a Unix socket stays on this machine
    elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
        host = arguments[0]
    else:
        return
    if isinstance(host, bytes):
        host = host.decode()
    if host not in LOCAL:
        with open(os.environ["OUTBOUND_LOG"], "a", encoding="utf-8") as log:
            log.write(f"{event} {host}\n")
        raise OSError(101, "Network is unreachable")


sys.addaudithook(watch)
