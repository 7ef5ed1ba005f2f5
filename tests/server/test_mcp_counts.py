"""Counted and rendered prompts have the MCP tools that the first turn of the same call has."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from tests.fakes.service import FakeModelService, completed, spoken
from tests.fakes.tools import FakeToolService
from tests.limits import LIMIT_S

from vllm_mlx.config import ServerConfig
from vllm_mlx.core.requests import ChatInput
from vllm_mlx.server.app import create_app
from vllm_mlx.service.tool_loop import ToolLoop

pytestmark = [pytest.mark.anyio, pytest.mark.requirement(64)]

HELLO = [{"role": "user", "content": "hi"}]
PAIRS: list[tuple[str, str, dict[str, Any]]] = [
    ("/v1/chat/completions", "/v1/chat/completions/render", {"messages": HELLO}),
    ("/v1/messages", "/v1/messages/count_tokens", {"messages": HELLO, "max_tokens": 64}),
    ("/v1/responses", "/v1/responses/input_tokens", {"input": "hi"}),
]
CHAT, MESSAGES, RESPONSES = PAIRS
SCHEMA = {"type": "object"}
OWN = {"type": "function", "function": {"name": "mine", "parameters": SCHEMA}}
TWIN = {"type": "function", "function": {"name": "box__t", "parameters": SCHEMA}}
FORCED = {"type": "function", "function": {"name": "box__t"}}


async def both(
    pair: tuple[str, str, dict[str, Any]], more: dict[str, Any], *, served: bool = True, always: bool = False
) -> tuple[list[httpx.Response], FakeModelService]:
    """The same body to the call and to what counts or renders it."""
    service = FakeModelService([*spoken("hello"), completed()])
    loop = ToolLoop(FakeToolService({"t": "five", "u": "six"}), always=always) if served else None
    transport = httpx.ASGITransport(create_app(service, ServerConfig(), tool_loop=loop))
    call, count, body = pair
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", timeout=LIMIT_S) as http:
        return [await http.post(path, json={**body, **more}) for path in (call, count)], service


@pytest.mark.parametrize(
    ("pair", "always", "more", "offered"),
    [
        *((pair, False, {}, 0) for pair in PAIRS),
        *((pair, False, {"mcp_tools": True}, 2) for pair in PAIRS),
        *((pair, False, {"mcp_tools": ["box__u"]}, 1) for pair in PAIRS),
        *((pair, True, {}, 2) for pair in PAIRS),
        *((pair, True, {"mcp_tools": False}, 0) for pair in PAIRS),
        (CHAT, False, {"mcp_tools": True, "tools": [OWN], "tool_choice": FORCED}, 3),
        (CHAT, True, {"n": 2}, 0),
        (CHAT, True, {"tools": [TWIN]}, 2),
        (MESSAGES, False, {"mcp_tools": True, "tool_choice": {"type": "tool", "name": "box__t"}}, 2),
        (MESSAGES, True, {"tools": [{"name": "mine", "input_schema": SCHEMA}]}, 3),
        (MESSAGES, True, {"messages": [*HELLO, {"role": "assistant", "content": "I"}]}, 0),
        (RESPONSES, False, {"mcp_tools": True, "tool_choice": {"type": "function", "name": "box__t"}}, 2),
        (RESPONSES, True, {"truncation": "auto"}, 0),
        (RESPONSES, True, {"max_tool_calls": 3}, 0),
    ],
)
async def test_what_is_counted_is_what_the_model_reads_first(
    pair: tuple[str, str, dict[str, Any]], always: bool, more: dict[str, Any], offered: int
) -> None:
    answers, service = await both(pair, more, always=always)
    assert [answer.status_code for answer in answers] == [200, 200]
    counted = service.rendered or [given for given, _ in service.tokenized]
    read = service.requests[0].input
    assert isinstance(read, ChatInput)
    assert len(read.tools) == offered
    assert counted[-1] == read


@pytest.mark.parametrize(
    ("pair", "more"),
    [
        *((pair, {"mcp_tools": ["nobody"]}) for pair in PAIRS),
        *((pair, {"mcp_tools": "box"}) for pair in PAIRS),
        (CHAT, {"mcp_tools": True, "tools": [TWIN]}),
        (CHAT, {"mcp_tools": True, "n": 2}),
        (CHAT, {"mcp_tools": True, "tool_choice": {"type": "function", "function": {"name": "nobody"}}}),
        (MESSAGES, {"mcp_tools": True, "tool_choice": {"type": "tool", "name": "nobody"}}),
        (MESSAGES, {"mcp_tools": True, "messages": [*HELLO, {"role": "assistant", "content": "I"}]}),
        (RESPONSES, {"mcp_tools": True, "tool_choice": {"type": "function", "name": "nobody"}}),
        (RESPONSES, {"mcp_tools": True, "truncation": "auto"}),
        (RESPONSES, {"mcp_tools": True, "max_tool_calls": 3}),
    ],
)
async def test_what_the_call_refuses_is_not_counted(
    pair: tuple[str, str, dict[str, Any]], more: dict[str, Any]
) -> None:
    (called, counted), _ = await both(pair, more)
    assert called.status_code == 400
    assert (counted.status_code, counted.json()["error"]) == (400, called.json()["error"])


@pytest.mark.parametrize("pair", PAIRS)
async def test_without_servers_none_can_be_counted(pair: tuple[str, str, dict[str, Any]]) -> None:
    (called, counted), _ = await both(pair, {"mcp_tools": True}, served=False)
    assert called.status_code == 400
    assert (counted.status_code, counted.json()["error"]) == (400, called.json()["error"])
