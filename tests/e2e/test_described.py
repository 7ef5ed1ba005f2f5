"""What the whole server answers is what its OpenAPI description says."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from tests.e2e.server import LIMIT_S, ROOT, Server, eventually, serving
from tests.fakes.described import Description

pytestmark = pytest.mark.requirement(96)

CALL = json.dumps({"name": "box__echo", "arguments": {"text": "from the tool"}})
SCRIPT = [
    {"when": "<tool_response>", "text": "It said so."},
    {"text": f"<think>\nHm.\n</think>\n\nLet me see.\n<tool_call>\n{CALL}\n</tool_call>"},
]
ECHO = {"name": "box__echo", "parameters": {"type": "object", "properties": {"text": {"type": "string"}}}}
CHAT: dict[str, Any] = {"messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The scripted server with one MCP server."""
    folder = tmp_path_factory.mktemp("described")
    script, config = folder / "script.json", folder / "mcp.json"
    script.write_text(json.dumps(SCRIPT), encoding="utf-8")
    rogue = str(ROOT / "tests" / "fakes" / "mcp_rogue.py")
    box = {"command": sys.executable, "args": [rogue, "fine"], "approval": "auto"}
    config.write_text(json.dumps({"mcpServers": {"box": box}}))
    words = ("tests.fakes.serve", str(script), "--port", "0", "--mcp-config", str(config))
    with serving(*words, log=folder / "log") as server:
        eventually(lambda: server.get("/v1/mcp/servers").json()["servers"][0]["state"] == "ready")
        yield server


@pytest.fixture(scope="module")
def description(server: Server) -> Description:
    return Description(server.get("/openapi.json").json())


def test_the_status_is_as_described(server: Server, description: Description) -> None:
    status = description.check(server.get("/v1/status"))
    schemas = description.document["components"]["schemas"]
    assert set(status) == set(schemas["Status"]["properties"])  # and all that is described is there
    assert set(status["mcp"]["servers"]["box"]) == set(schemas["ToolServer"]["properties"])
    assert set(status["engine_health"]) == set(schemas["EngineState"]["properties"])


def test_tools_and_what_they_bring_are_as_described(server: Server, description: Description) -> None:
    assert description.check(server.get("/v1/mcp/servers"))["servers"]
    assert description.check(server.get("/v1/mcp/tools"))["count"] > 0
    given = {"tool_name": "box__echo", "arguments": {"text": "a"}}
    assert description.check(server.post("/v1/mcp/execute", **given))["is_error"] is False


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", {**CHAT, "tools": [{"type": "function", "function": ECHO}]}),
        ("/v1/chat/completions", {**CHAT, "logprobs": True, "mcp_tools": True}),
        ("/v1/completions", {"prompt": "hi", "logprobs": 1, "max_tokens": 8, "echo": True}),
        ("/v1/messages", {**CHAT, "model": "m", "max_tokens": 400, "tools": []}),
        ("/v1/responses", {"input": "hi", "tools": [{"type": "function", **ECHO}]}),
    ],
)
def test_answers_are_as_described(
    server: Server, description: Description, path: str, body: dict[str, Any], stream: bool
) -> None:
    response = httpx.post(server.url + path, json={**body, "stream": stream}, timeout=LIMIT_S)
    assert response.status_code == 200, response.text
    assert description.check(response)
