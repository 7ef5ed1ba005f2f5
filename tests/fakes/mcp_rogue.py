"""An MCP server over stdio that misbehaves in one way: `python tests/fakes/mcp_rogue.py WAY`.

It speaks the protocol by hand, with the standard library alone, so that it starts fast. `WAYS` lists the
ways; `fine` is none.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

ECHO = {
    "name": "echo",
    "description": "Says it again",
    "inputSchema": {
        "type": "object",
        "properties": {"text": {"type": "string"}},
        "required": ["text"],
        "additionalProperties": False,
    },
    "annotations": {"readOnlyHint": True},
}
BAD_TOOLS: list[Any] = [
    "no object",
    {"name": "no_schema"},
    {"name": "schema_is_text", "inputSchema": "object"},
    {"name": "bad_type", "inputSchema": {"type": "object", "properties": {"a": {"type": "nonsense"}}}},
    {"name": "remote", "inputSchema": {"type": "object", "properties": {"a": {"$ref": "http://x.test/s"}}}},
    {"name": "huge", "inputSchema": {"type": "object", "description": "x" * 100_000}},
    {"name": "long", "description": "x" * 100_000, "inputSchema": {"type": "object"}},
    {"name": "", "inputSchema": {"type": "object"}},
    {"inputSchema": {"type": "object"}},
    {"name": "odd output", "inputSchema": {"type": "object"}, "outputSchema": {"type": "object"}},
    {"name": "odd.output", "inputSchema": {"type": "object"}},
    {"name": "n" * 100, "inputSchema": {"type": "object"}},
]
WAYS = (
    "fine",
    "exits",  # at once
    "complains",  # of a key that it was given, and exits
    "mute",  # never answers anything
    "deaf",  # never answers a call
    "dies",  # in mid call
    "greets",  # writes lines that are no messages, then works
    "babbles",  # writes nothing else
    "endless-line",
    "chatters",  # sends notifications for ever, and works
    "bad-tools",
    "bad-result",
    "big-result",
    "no-tools",
    "refuses",  # the handshake
    "stubborn",  # ignores the end of its input and SIGTERM
)


def main(way: str) -> None:
    """Answer requests from stdin, line by line."""
    if way == "exits":
        sys.exit(4)
    if way == "complains":
        print(f"Traceback (most recent call last):\nKeyError: {os.environ['KEY']}", file=sys.stderr)
        sys.exit(4)
    if way == "greets":
        print("Hello!\n\n{}\nnot json", flush=True)
    while way == "babbles":
        print("blah blah blah", flush=True)
    while way == "endless-line":
        sys.stdout.write("x" * 1_000_000)
    for line in sys.stdin:
        request = json.loads(line)
        if "id" in request and way != "mute":
            answer(way, request)
    while way == "stubborn":
        import signal  # noqa: PLC0415

        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.pause()


def answer(way: str, request: dict[str, Any]) -> None:
    method = request["method"]
    if method == "initialize" and way == "refuses":
        return send({"id": request["id"], "error": {"code": -32000, "message": "go away"}})
    if method == "initialize":
        return reply(
            request,
            {
                "protocolVersion": request["params"]["protocolVersion"],
                "capabilities": {"tools": {}},
                "serverInfo": {"name": "rogue", "version": "0"},
            },
        )
    if method == "tools/list" and way == "no-tools":
        return send({"id": request["id"], "error": {"code": -32601, "message": "no such method"}})
    if method == "tools/list":
        return reply(request, {"tools": [*BAD_TOOLS, ECHO] if way == "bad-tools" else [ECHO]})
    if way == "dies":
        os._exit(3)
    if way == "deaf":
        return None
    if way == "bad-result":
        return reply(request, {"content": "just text"})
    if way == "chatters":
        note = {"method": "notifications/message", "params": {"level": "info", "data": "blah"}}
        for _ in range(2000):
            send(note)
    text = "x" * 1_000_000 if way == "big-result" else request["params"]["arguments"].get("text", "none")
    return reply(request, {"content": [{"type": "text", "text": text}]})


def reply(request: dict[str, Any], result: dict[str, Any]) -> None:
    send({"id": request["id"], "result": result})


def send(message: dict[str, Any]) -> None:
    print(json.dumps({"jsonrpc": "2.0", **message}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
