"""Whatever goes wrong below /v1/messages is told in Anthropic's shape, and wrong input reaches no model."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, MutableMapping
from typing import Any

import httpx
import pytest
from tests.fakes.service import FakeModelService
from tests.fakes.wire import named_events

from vllm_mlx.core.errors import (
    AppError,
    AuthenticationFailed,
    ContextOverflow,
    DeadlineExceeded,
    InternalError,
    InvalidRequest,
    ModelLoadError,
    ModelNotFound,
    Overloaded,
    PermissionDenied,
    Unavailable,
)
from vllm_mlx.core.events import Started, TextDelta
from vllm_mlx.server.anthropic.errors import error_frame
from vllm_mlx.server.anthropic.messages_encode import PING
from vllm_mlx.server.replies import EventStream, StreamStyle

pytestmark = [pytest.mark.anyio, pytest.mark.requirement(39)]

HI = {"role": "user", "content": "hi"}
BODY: dict[str, Any] = {"max_tokens": 64, "messages": [HI]}
PATHS = ["/v1/messages", "/v1/messages/count_tokens"]
USE = {"type": "tool_use", "id": "t", "name": "f", "input": {}}
RESULT = {"type": "tool_result", "tool_use_id": "t", "content": "x"}
IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}
TOOL = {"name": "f", "input_schema": {"type": "object"}}
FORMAT = {"type": "json_schema", "schema": {}}


def error_of(response: httpx.Response) -> dict[str, Any]:
    """The error, in a body that has Anthropic's shape."""
    assert response.headers["content-type"] == "application/json"
    body = response.json()
    assert set(body) == {"type", "error", "request_id"}
    assert body["type"] == "error"
    assert body["request_id"] == response.headers["request-id"]
    assert set(body["error"]) - {"details"} == {"type", "message"}
    assert len(response.content) < 1000
    return dict(body["error"])


ERRORS: list[tuple[AppError, int, str]] = [
    (InvalidRequest("bad", param="n"), 400, "invalid_request_error"),
    (ContextOverflow("4096 < 5000"), 400, "invalid_request_error"),
    (AuthenticationFailed("no key"), 401, "authentication_error"),
    (PermissionDenied("no"), 403, "permission_error"),
    (ModelNotFound("no such model"), 404, "not_found_error"),
    (Overloaded("full", retry_after_s=2.2), 429, "rate_limit_error"),
    (Unavailable("gone"), 503, "overloaded_error"),
    (ModelLoadError("incomplete"), 503, "overloaded_error"),
    (DeadlineExceeded("late"), 504, "timeout_error"),
]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("error", "status", "kind"), ERRORS, ids=lambda value: str(value)[:20])
async def test_each_error_has_its_status_and_anthropics_shape(
    client: httpx.AsyncClient,
    service: FakeModelService,
    error: AppError,
    status: int,
    kind: str,
    stream: bool,
) -> None:
    service.script = [error]
    response = await client.post("/v1/messages", json=BODY | {"stream": stream})
    assert response.status_code == status
    words = "prompt is too long: " if isinstance(error, ContextOverflow) else ""
    assert error_of(response) == {"type": kind, "message": words + error.message}
    assert response.headers.get("retry-after") == ("3" if status == 429 else None)


@pytest.mark.parametrize("fault", [RuntimeError("/secret"), InternalError("/secret"), AppError("/secret")])
async def test_a_fault_of_ours_shows_fixed_text_only(
    client: httpx.AsyncClient, service: FakeModelService, fault: Exception
) -> None:
    service.script = [fault]
    response = await client.post("/v1/messages", json=BODY)
    assert (response.status_code, error_of(response)["type"]) == (500, "api_error")
    service.script = [Started(0, 1), TextDelta(0, "a"), fault]
    streamed = await client.post("/v1/messages", json=BODY | {"stream": True})
    assert named_events(streamed.text)[-1]["error"]["type"] == "api_error"
    assert "secret" not in response.text + streamed.text


async def test_an_error_within_a_stream_is_its_last_event(
    client: httpx.AsyncClient, service: FakeModelService
) -> None:
    service.script = [Started(0, 1), TextDelta(0, "a"), DeadlineExceeded("too slow")]
    response = await client.post("/v1/messages", json=BODY | {"stream": True})
    assert named_events(response.text)[-1] == {
        "type": "error",
        "error": {"type": "timeout_error", "message": "too slow"},
        "request_id": response.headers["request-id"],
    }
    assert service.open_streams == 0


async def test_a_long_silence_is_filled_with_pings() -> None:
    sent: list[MutableMapping[str, Any]] = []
    got = asyncio.Event()

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)
        if message.get("body"):
            got.set()

    async def receive() -> dict[str, Any]:
        await asyncio.Event().wait()
        return {"type": "http.disconnect"}

    async def slow() -> AsyncGenerator[str, None]:
        await got.wait()
        raise Overloaded("later")
        yield ""

    style = StreamStyle(lambda error: error_frame(error, "req_1"), end=b"", keep_alive=PING)
    stream = EventStream(slow(), str.encode, style, keep_alive_s=0.001)
    await stream({"type": "http"}, receive, send)
    events = named_events(b"".join(message.get("body", b"") for message in sent).decode())
    assert {event["type"] for event in events[:-1]} == {"ping"}
    assert events[-1]["error"]["type"] == "rate_limit_error"


async def test_routes_methods_and_sizes(client: httpx.AsyncClient) -> None:
    for path in ("/v1/messages/", "/v1/messages/batches", "/v1/messages/x/y"):
        response = await client.post(path, json=BODY)
        assert (response.status_code, error_of(response)["type"]) == (404, "not_found_error")
    response = await client.get("/v1/messages")
    assert (response.status_code, error_of(response)["type"]) == (405, "invalid_request_error")
    assert response.headers["allow"] == "POST"
    for path in PATHS:
        response = await client.post(path, content=b" " * (1024 * 1024 + 1))
        assert (response.status_code, error_of(response)["type"]) == (413, "request_too_large")
        response = await client.post(path, json=BODY, headers={"x-a": "b" * 40_000})
        assert (response.status_code, error_of(response)["type"]) == (431, "request_too_large")


def turn(role: str, *blocks: Any) -> dict[str, Any]:
    return {"messages": [{"role": role, "content": list(blocks)}]}


def document(kind: str, **source: Any) -> dict[str, Any]:
    return {"type": "document", "source": {"type": kind, **source}}


def called(*more: Any) -> dict[str, Any]:
    """A call, and the blocks of the turn after it."""
    return {
        "messages": [HI, {"role": "assistant", "content": [USE]}, {"role": "user", "content": list(more)}]
    }


WRONG_PROMPTS: list[tuple[dict[str, Any], str]] = [
    ({"messages": None}, "messages"),
    ({"messages": []}, "messages"),
    ({"messages": "hi"}, "messages"),
    ({"messages": ["hi"]}, "messages[0]"),
    ({"messages": [HI] * 100_000}, "messages"),
    ({"messages": [{"role": "assistant", "content": ""}]}, "messages"),
    ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role"),
    ({"messages": [{"content": "x"}]}, "messages[0].role"),
    ({"messages": [{"role": "user"}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": 7}]}, "messages[0].content"),
    (turn("user", "x"), "messages[0].content[0]"),
    (turn("user", {"text": "x"}), "messages[0].content[0].type"),
    (turn("user", {"type": "text"}), "messages[0].content[0].text"),
    (turn("user", {"type": "text", "text": 5}), "messages[0].content[0].text"),
    (turn("user", {"type": "video"}), "messages[0].content[0].type"),
    (turn("user", IMAGE), "messages[0].content[0].type"),
    (turn("user", {"type": "document"}), "messages[0].content[0].source"),
    (turn("user", {"type": "document", "source": "x"}), "messages[0].content[0].source"),
    (turn("user", {"type": "document", "source": {}}), "messages[0].content[0].source.type"),
    (turn("user", document("base64", media_type="application/pdf")), "messages[0].content[0].source.type"),
    (turn("user", document("url", url="http://x")), "messages[0].content[0].source.type"),
    (turn("user", document("text")), "messages[0].content[0].source.data"),
    (turn("user", document("content")), "messages[0].content[0].source.content"),
    (turn("user", document("content", content=[IMAGE])), "messages[0].content[0].source.content[0].type"),
    (
        turn("user", {**document("text", data="x"), "citations": {"enabled": True}}),
        "messages[0].content[0].citations",
    ),
    (turn("user", {"type": "search_result"}), "messages[0].content[0].content"),
    (turn("user", {"type": "container_upload", "file_id": "f"}), "messages[0].content[0].type"),
    (turn("assistant", {"type": "server_tool_use", "id": "s"}), "messages[0].content[0].type"),
    (turn("system", document("text", data="x")), "messages[0].content[0].type"),
    (turn("user", {"type": "text", "text": "x", "cache_control": {}}), "cache_control.type"),
    (
        turn("user", {"type": "text", "text": "x", "cache_control": {"type": "ephemeral", "ttl": "9h"}}),
        "cache_control.ttl",
    ),
    ({"messages": [{**HI, "clear_at": "never"}]}, "messages[0].clear_at"),
    ({"messages": [{**HI, "clear_at": "soon"}]}, "messages[0].clear_at"),
    (turn("user", USE), "messages[0].content[0].type"),
    (turn("user", {"type": "thinking", "thinking": "x"}), "messages[0].content[0].type"),
    (turn("user", RESULT), "messages[0].content[0].tool_use_id"),
    (turn("assistant", RESULT), "messages[0].content[0].type"),
    (turn("assistant", USE), "messages"),
    (turn("assistant", USE, USE), "messages[0].content[1].id"),
    (turn("assistant", {**USE, "id": ""}), "messages[0].content[0].id"),
    (turn("assistant", {**USE, "name": ""}), "messages[0].content[0].name"),
    (turn("assistant", {**USE, "input": None}), "messages[0].content[0].input"),
    (turn("assistant", {**USE, "input": "{}"}), "messages[0].content[0].input"),
    (turn("system", RESULT), "messages[0].content[0].type"),
    (called({"type": "text", "text": "stop"}), "messages"),
    (called({**RESULT, "tool_use_id": "u"}), "messages[2].content[0].tool_use_id"),
    (called({"type": "tool_result"}), "messages[2].content[0].tool_use_id"),
    (called(RESULT, RESULT), "messages[2].content[1].tool_use_id"),
    (
        called({**RESULT, "content": [{**IMAGE, "type": "hologram"}]}),
        "messages[2].content[0].content[0].type",
    ),
    (called({**RESULT, "content": [{"type": "text"}]}), "messages[2].content[0].content[0].text"),
    (called({**RESULT, "content": 5}), "messages[2].content[0].content"),
    (called({**RESULT, "content": [RESULT]}), "messages[2].content[0].content[0].type"),
    (
        called({**RESULT, "content": [{"type": "tool_reference", "tool_name": "f"}]}),
        "messages[2].content[0].content[0].type",
    ),
    (
        {
            "messages": [
                HI,
                {"role": "assistant", "content": [USE]},
                HI,
                {"role": "assistant", "content": "x"},
            ]
        },
        "messages[3]",
    ),
    (called({**RESULT, "is_error": "no"}), "messages[2].content[0].is_error"),
    ({"system": 5}, "system"),
    ({"system": [IMAGE]}, "system[0].type"),
    ({"system": ["x"]}, "system[0]"),
    ({"model": 5}, "model"),
    ({"tools": {}}, "tools"),
    ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "tools[0].type"),
    ({"tools": [{"type": "computer_20250124", "name": "computer"}]}, "tools[0].type"),
    ({"tools": [{"type": "code_execution_20250825", "name": "code_execution"}]}, "tools[0].type"),
    ({"tools": [{"type": "bash_20990101", "name": "bash"}]}, "tools[0].type"),
    ({"tools": [{"type": "bash_20250124"}, {"type": "bash_20250124"}]}, "tools"),
    ({"tools": [{"input_schema": {}}]}, "tools[0].name"),
    ({"tools": [{"name": "f"}]}, "tools[0].input_schema"),
    ({"tools": [{"name": "f", "input_schema": "x"}]}, "tools[0].input_schema"),
    ({"tools": [TOOL, TOOL]}, "tools"),
    ({"tools": [TOOL] * 2000}, "tools"),
    ({"tool_choice": {"type": "any"}}, "tool_choice"),
    ({"tools": [], "tool_choice": {"type": "tool", "name": "f"}}, "tool_choice"),
    ({"tools": [TOOL], "tool_choice": {"type": "tool", "name": "g"}}, "tool_choice.name"),
    ({"tools": [TOOL], "tool_choice": {"type": "tool"}}, "tool_choice.name"),
    ({"tool_choice": "auto"}, "tool_choice"),
    ({"tool_choice": {"type": "required"}}, "tool_choice.type"),
    ({"thinking": True}, "thinking"),
    ({"thinking": {"type": "maybe"}}, "thinking.type"),
    ({"thinking": {"type": "enabled", "budget_tokens": "9"}}, "thinking.budget_tokens"),
    ({"thinking": {"type": "enabled", "budget_tokens": 0}}, "thinking.budget_tokens"),
    ({"thinking": {"type": "adaptive", "display": "loud"}}, "thinking.display"),
    ({"output_config": {"format": {"type": "json_schema"}}}, "output_config.format.schema"),
    ({"output_config": {"format": {"type": "regex", "schema": {}}}}, "output_config.format.type"),
    ({"output_config": {"format": {"type": "json_schema", "schema": "x"}}}, "output_config.format.schema"),
    ({"output_config": {"effort": "utter"}}, "output_config.effort"),
    ({"output_config": []}, "output_config"),
    ({"output_format": {"type": "json_schema"}}, "output_format.schema"),
    ({"output_config": {"format": FORMAT}, "output_format": FORMAT}, "output_format"),
    ({"cache_control": "ephemeral"}, "cache_control"),
    ({"mcp_servers": [{"name": "m"}]}, "mcp_servers"),
    ({"container": "c"}, "container"),
    ({"thread": {"id": "t"}}, "thread"),
    ({"compaction": {"type": "summarize"}}, "compaction"),
    ({"chat_template_kwargs": []}, "chat_template_kwargs"),
]

WRONG_MESSAGES: list[tuple[dict[str, Any], str]] = [
    ({"max_tokens": None}, "max_tokens"),
    ({"max_tokens": -1}, "max_tokens"),
    ({"max_tokens": "9"}, "max_tokens"),
    ({"max_tokens": 1.5}, "max_tokens"),
    ({"max_tokens": 10**300}, "max_tokens"),
    ({"thinking": {"type": "enabled", "budget_tokens": 64}}, "thinking.budget_tokens"),
    ({"temperature": -1}, "temperature"),
    ({"cache_salt": 5}, "cache_salt"),
    ({"cache_salt": "x" * 2000}, "cache_salt"),
    ({"temperature": "1"}, "temperature"),
    ({"temperature": 10**400}, "temperature"),
    ({"top_p": 0}, "top_p"),
    ({"top_k": 1.5}, "top_k"),
    ({"stop_sequences": "x"}, "stop_sequences"),
    ({"stop_sequences": [""]}, "stop"),
    ({"stop_sequences": ["x"] * 1000}, "stop"),
    ({"stream": "yes"}, "stream"),
    ({"metadata": "x"}, "metadata"),
]


@pytest.mark.requirement(80)
@pytest.mark.parametrize(
    ("path", "fields", "field"),
    [
        *((path, *wrong) for path in PATHS for wrong in WRONG_PROMPTS),
        *((PATHS[0], *wrong) for wrong in WRONG_MESSAGES),
    ],
    ids=lambda value: str(value)[:50],
)
async def test_a_wrong_field_is_named(
    client: httpx.AsyncClient, service: FakeModelService, path: str, fields: Any, field: str
) -> None:
    response = await client.post(path, content=json.dumps(BODY | fields))
    assert response.status_code in (400, 413)
    error = error_of(response)
    if response.status_code == 400:
        assert error["type"] == "invalid_request_error"
        assert field in error["message"]
    assert not service.requests
    assert not service.tokenized


@pytest.mark.requirement(80)
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{",
        b'{"a":NaN}',
        b'{"a":' + b"9" * 5000 + b"}",
        b'{"a":"\\ud800"}',
        b'{"a":"\xff"}',
        b"\x00",
        b'{"a":' * 1000 + b"1" + b"}" * 1000,
    ],
    ids=lambda value: str(value)[:30],
)
async def test_what_is_no_json_object_is_refused(client: httpx.AsyncClient, path: str, body: bytes) -> None:
    response = await client.post(path, content=body)
    assert (response.status_code, error_of(response)["type"]) == (400, "invalid_request_error")


async def test_a_model_that_is_not_served_is_not_found(client: httpx.AsyncClient) -> None:
    for path in PATHS:
        response = await client.post(path, json=BODY | {"model": "no-such"})
        assert (response.status_code, error_of(response)["type"]) == (404, "not_found_error")


async def test_a_held_conversation_is_refused_with_the_code_that_clients_look_for(
    client: httpx.AsyncClient,
) -> None:
    response = await client.post(PATHS[0], json=BODY | {"thread": {"type": "create"}})
    assert error_of(response)["details"]["error_code"] == "thread_unsupported_request"
