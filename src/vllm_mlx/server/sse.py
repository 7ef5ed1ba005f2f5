"""Server-sent events: frames on the wire."""

from __future__ import annotations

DATA = b"data: "
END = b"\n\n"
DONE = b"data: [DONE]\n\n"
KEEP_ALIVE = b": keep-alive\n\n"
"""A comment, which clients skip; it keeps proxies from closing a connection that has nothing to say yet."""

HEADERS = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-cache",
    "x-accel-buffering": "no",
}


def frame(data: bytes) -> bytes:
    """One event. `data` is JSON on one line: an encoder that escapes line breaks needs no further care."""
    return DATA + data + END


def event(name: bytes, data: bytes) -> bytes:
    """One event with a name; `data` as for `frame`."""
    return b"event: " + name + b"\n" + DATA + data + END
