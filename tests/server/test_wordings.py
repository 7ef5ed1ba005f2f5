"""An error about a name or an id tells which was given, and which there are."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from tests.fakes.service import FakeModelService, completed, spoken
from tests.fakes.tools import FakeToolService
from tests.limits import LIMIT_S

from vllm_mlx.config import ServerConfig
from vllm_mlx.server.app import create_app
from vllm_mlx.service.tool_loop import ToolLoop

pytestmark = [pytest.mark.anyio, pytest.mark.requirement(96)]

CHAT, MESSAGES, RESPONSES = "/v1/chat/completions", "/v1/messages", "/v1/responses"
HI = {"role": "user", "content": "hi"}
TALK = {"messages": [HI]}
SHORT = {**TALK, "max_tokens": 9}
SCHEMA = {"type": "object"}
NAMES = [f"tool_{i}" for i in range(11)]
ALL_OF_THEM = "'tool_0', 'tool_1', 'tool_2', 'tool_3', 'tool_4', 'tool_5', 'tool_6', 'tool_7' and 3 more"
IN_ORDER = "'tool_0', 'tool_1', 'tool_10', 'tool_2', 'tool_3', 'tool_4', 'tool_5', 'tool_6' and 3 more"
OF_CHAT = [{"type": "function", "function": {"name": name}} for name in NAMES]
OF_RESPONSES = [{"type": "function", "name": name} for name in NAMES]
OF_MESSAGES = [{"name": name, "input_schema": SCHEMA} for name in NAMES]
CALLED = {"role": "assistant", "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f"}}]}
USED = {"role": "assistant", "content": [{"type": "tool_use", "id": "c1", "name": "f", "input": {}}]}
FUNCTION_CALL = {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"}
OUTPUT = {"type": "function_call_output", "output": "x"}


def result(call_id: str) -> dict[str, Any]:
    return {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call_id, "content": "x"}]}


def named(name: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name}}


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    service = FakeModelService([*spoken("hello"), completed()])
    app = create_app(service, ServerConfig(), tool_loop=ToolLoop(FakeToolService({"t": "five"})))
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", timeout=LIMIT_S) as http:
        yield http


@pytest.mark.parametrize(
    ("path", "body", "told"),
    [
        (
            CHAT,
            {**TALK, "tools": OF_CHAT, "tool_choice": named("tule")},
            f"'tule'; the tools are: {IN_ORDER}",
        ),
        (CHAT, {**TALK, "tool_choice": named("tule")}, "no tool 'tule'; the tools are: none"),
        (CHAT, {**TALK, "mcp_tools": True, "tool_choice": named("t")}, "the tools are: 'box__t'"),
        (
            CHAT,
            {"messages": [CALLED, {"role": "tool", "tool_call_id": "c2", "content": "x"}]},
            "messages[1].tool_call_id is 'c2' and answers no open call of the assistant; open are: 'c1'",
        ),
        (CHAT, {"messages": [CALLED, HI]}, "not all are answered: 'c1'"),
        (CHAT, {"messages": [CALLED]}, "not all are answered: 'c1'"),
        (
            RESPONSES,
            {"input": "hi", "tools": OF_RESPONSES, "tool_choice": {"type": "function", "name": "tule"}},
            f"tool_choice.name is 'tule', but the functions in tools are: {ALL_OF_THEM}",
        ),
        (RESPONSES, {"input": "hi", "tools": [*OF_RESPONSES, OF_RESPONSES[3]]}, "two are 'tool_3'"),
        (
            RESPONSES,
            {"input": [FUNCTION_CALL, {**OUTPUT, "call_id": "c2"}]},
            "input[1].call_id is 'c2', that of no earlier function_call; waiting are: 'c1'",
        ),
        (
            RESPONSES,
            {"input": [FUNCTION_CALL, *[{**OUTPUT, "call_id": "c1"}] * 2]},
            "input[2].call_id is 'c1', which has its function_call_output already",
        ),
        (RESPONSES, {"input": [FUNCTION_CALL] * 2}, "input[1].call_id is 'c1', that of an earlier"),
        (RESPONSES, {"input": "hi", "previous_response_id": "resp_1"}, "No response 'resp_1' is stored"),
        (RESPONSES, {"input": "hi", "previous_response_id": "resp_1"}, "conversation can stand in input"),
        (
            RESPONSES,
            {"input": "hi", "include": ["thoughts"]},
            "'thoughts' is not known; there are: 'message.",
        ),
        (RESPONSES, {"input": "hi", "text": {"format": {"type": "xml"}}}, "'xml' is not supported; use text"),
        (
            MESSAGES,
            {**SHORT, "tools": OF_MESSAGES, "tool_choice": {"type": "tool", "name": "tule"}},
            f"tool_choice.name is 'tule', but the tools are: {ALL_OF_THEM}",
        ),
        (MESSAGES, {**SHORT, "tools": [*OF_MESSAGES, OF_MESSAGES[3]]}, "two are 'tool_3'"),
        (
            MESSAGES,
            {**SHORT, "messages": [HI, USED, result("c2")]},
            "tool_use_id is 'c2', that of no earlier tool_use block; waiting are: 'c1'",
        ),
        (MESSAGES, {**SHORT, "messages": [HI, USED, result("c1"), result("c1")]}, "is 'c1', which has its"),
        (MESSAGES, {**SHORT, "messages": [HI, USED, HI]}, "tool_result of a tool_use block: 'c1'"),
    ],
)
async def test_what_was_given_is_named_and_what_there_is(
    http: httpx.AsyncClient, path: str, body: dict[str, Any], told: str
) -> None:
    answer = await http.post(path, json=body)
    assert answer.status_code in (400, 404)
    assert told in answer.json()["error"]["message"]


async def test_a_model_that_a_page_cannot_begin_at_is_named(http: httpx.AsyncClient) -> None:
    headers = {"anthropic-version": "2023-06-01"}
    answer = await http.get("/v1/models?after_id=nobody", headers=headers)
    assert answer.json()["error"]["message"] == "after_id: 'nobody' is none of the models 'org/tiny'."


async def test_long_names_of_a_clients_are_cut(http: httpx.AsyncClient) -> None:
    tools = [{"type": "function", "function": {"name": f"{i}" + "x" * 2000}} for i in range(9)]
    answer = await http.post(CHAT, json={**TALK, "tools": tools, "tool_choice": named("y" * 3000)})
    message = answer.json()["error"]["message"]
    assert "'0xxxx" in message
    assert len(message) < 600
