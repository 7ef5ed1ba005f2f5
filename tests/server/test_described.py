"""The OpenAPI description: it is valid, it tells of every answer, and what is sent is what it says."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from fastapi.openapi.models import OpenAPI
from jsonschema import Draft202012Validator
from tests.fakes.described import Description
from tests.fakes.service import FakeModelService, Script, completed, spoken, token
from tests.fakes.tools import FakeToolService
from tests.limits import LIMIT_S

from vllm_mlx.config import ServerConfig
from vllm_mlx.core.errors import Unavailable
from vllm_mlx.core.events import Finished, ReasoningDelta, Started, TextDelta, ToolCallDelta, ToolCallStart
from vllm_mlx.server.app import create_app
from vllm_mlx.server.docs import AnswerTypes
from vllm_mlx.server.openai import wire
from vllm_mlx.service.tool_loop import ToolLoop

pytestmark = [pytest.mark.anyio, pytest.mark.requirement(96)]

SAY = [*spoken("hello big world"), completed(3)]
WORK = [
    Started(0, 5, 3),
    ReasoningDelta(0, "hm", (token("hm"),)),
    TextDelta(0, "so", (token("so", None), token("x", others=["y", "z"]))),
    ToolCallStart(0, 0, "call_1", "box__t"),
    ToolCallDelta(0, 0, '{"a":'),
    ToolCallDelta(0, 0, "1}"),
    Finished(0, "tool_calls"),
    completed(),
]
CUT = [Started(0, 5), TextDelta(0, "a"), Finished(0, "length"), completed()]
STOPPED = [Started(0, 5), TextDelta(0, "a"), Finished(0, "stop", "END"), completed()]
BROKEN = [Started(0, 5), TextDelta(0, "a"), Unavailable("gone")]
SCRIPTS = [SAY, WORK, CUT, STOPPED]

FUNCTION = {"name": "box__t", "description": "d", "parameters": {"type": "object"}}
CHAT: dict[str, Any] = {"messages": [{"role": "user", "content": "hi"}]}
CHAT_TOOLS = {"tools": [{"type": "function", "function": FUNCTION}], "parallel_tool_calls": False}
MESSAGE: dict[str, Any] = {"model": "default", "max_tokens": 9, **CHAT}
SPACE = {"type": "namespace", "name": "n", "description": "d", "tools": [{"type": "function", "name": "f"}]}
RESPONSE: dict[str, Any] = {
    "input": "hi",
    "tools": [{"type": "function", **FUNCTION, "strict": True}, SPACE],
    "metadata": {"a": "b"},
}
SHOWN = {"include": ["message.output_text.logprobs", "reasoning.encrypted_content"], "top_logprobs": 2}
SCHEMA = {"type": "json_schema", "name": "n", "schema": {"type": "object"}}
BODIES: list[tuple[str, dict[str, Any]]] = [
    ("/v1/chat/completions", CHAT),
    ("/v1/chat/completions", {**CHAT, "logprobs": True, "top_logprobs": 2, "service_tier": "auto"}),
    ("/v1/chat/completions", {**CHAT, **CHAT_TOOLS}),
    ("/v1/completions", {"prompt": "a"}),
    ("/v1/completions", {"prompt": ["a", "b"], "n": 2, "logprobs": 2}),
    ("/v1/messages", MESSAGE),
    ("/v1/messages", {**MESSAGE, "thinking": {"type": "enabled", "budget_tokens": 1024}, "max_tokens": 2048}),
    ("/v1/responses", {"input": "hi"}),
    ("/v1/responses", {**RESPONSE, **SHOWN, "text": {"format": SCHEMA, "verbosity": "low"}}),
    ("/v1/responses", {**RESPONSE, "reasoning": {"effort": "low", "summary": "auto"}, "tool_choice": "auto"}),
    ("/v1/responses", {**RESPONSE, "tool_choice": {"type": "function", "name": "f", "namespace": "n"}}),
    (
        "/v1/responses",
        {
            **RESPONSE,
            "tool_choice": {
                "type": "allowed_tools",
                "mode": "auto",
                "tools": [{"type": "function", "name": "box__t"}],
            },
        },
    ),
]

OPEN = {
    "AnthropicMcpToolUseBlock.input",
    "AnthropicToolUseBlock.input",
    "Description.components",
    "Description.info",
    "Description.paths",
    "McpExecution.structured_content",
    "McpTool.parameters",
    "ResponsesFunctionTool.parameters",
    "ResponsesTextFormat.schema",
}
"""What only the caller, a tool or the document itself knows."""


@pytest.fixture(scope="module")
def document() -> Any:
    return create_app(FakeModelService(), ServerConfig()).openapi()


@pytest.fixture
def description(document: Any) -> Description:
    return Description(document)


@pytest.fixture
def tools() -> FakeToolService:
    return FakeToolService({"t": "five"})


@pytest.fixture
def app(service: FakeModelService, tools: FakeToolService) -> Any:
    return create_app(service, ServerConfig(), tool_loop=ToolLoop(tools, always=False))


@pytest.fixture
async def client(app: Any) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost", timeout=LIMIT_S) as client:
        yield client


def operations(document: Any) -> Iterator[tuple[str, str, Any]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method, path, operation


def test_the_document_is_valid(document: Any) -> None:
    OpenAPI.model_validate(document)
    assert document["openapi"].startswith("3.1.")
    names = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(set(names)) == len(names)
    for method, path, operation in operations(document):
        named = {each["name"] for each in operation.get("parameters", ()) if each["in"] == "path"}
        assert named == set(re.findall(r"\{(\w+)\}", path)), (method, path)
        assert all(each["required"] for each in operation.get("parameters", ()) if each["in"] == "path")
        assert all("description" in response for response in operation["responses"].values())
    for name, schema in document["components"]["schemas"].items():
        assert re.fullmatch(r"[A-Za-z0-9]+", name)
        Draft202012Validator.check_schema(schema)
    references = set(re.findall(r"#/components/schemas/([^'\"]+)", str(document)))
    assert references <= set(document["components"]["schemas"])


def test_every_answer_is_described(document: Any) -> None:
    schemas = document["components"]["schemas"]
    seen: set[str] = set()
    found: set[str] = set()

    def visit(schema: Any, where: str) -> None:
        if "$ref" in schema:
            name = schema["$ref"].rpartition("/")[2]
            if name not in seen:
                seen.add(name)
                visit(schemas[name], name)
            return
        says = {"enum", "const", "anyOf", "items", "prefixItems", "properties", "additionalProperties"}
        plain = schema.get("type") in ("string", "integer", "number", "boolean", "null")
        empty = schema.get("maxItems") == 0
        if not (plain or empty or says & set(schema)) or schema.get("additionalProperties") is True:
            found.add(where)
        for key, each in schema.get("properties", {}).items():
            visit(each, f"{where}.{key}")
        nested = [*schema.get("anyOf", ()), schema.get("items"), schema.get("additionalProperties")]
        for each in nested:
            if isinstance(each, dict):
                visit(each, where)

    for method, path, operation in operations(document):
        if path == "/v1/responses/{response_id}/cancel":
            assert set(operation["responses"]) == {
                "400",
                "default",
            }  # nothing can be cancelled
            continue
        content = operation["responses"]["200"]["content"]
        assert content, (method, path)
        for answer in content.values():
            visit(answer["schema"], f"{method} {path}")
    assert found == OPEN


@pytest.mark.parametrize(("path", "body"), BODIES)
@pytest.mark.parametrize("script", SCRIPTS)
async def test_generated_answers_are_as_described(
    client: httpx.AsyncClient,
    service: FakeModelService,
    description: Description,
    script: Script,
    path: str,
    body: dict[str, Any],
) -> None:
    def play(request: Any) -> Script:
        return script

    service.script = play
    for fields in ({}, {"stream": True}):
        response = await client.post(path, json={**body, **fields})
        assert response.status_code == 200, response.text
        assert description.check(response)


async def test_usage_in_a_stream_is_as_described(client: httpx.AsyncClient, description: Description) -> None:
    more = {"stream": True, "stream_options": {"include_usage": True}}
    for path, body in (("/v1/chat/completions", CHAT), ("/v1/completions", {"prompt": "a"})):
        events = description.check(await client.post(path, json={**body, **more}))
        assert events[0]["usage"] is None
        assert {"usage", "metrics"} <= set(events[-1])


@pytest.mark.parametrize("outcome", ["five", Unavailable("gone")])
@pytest.mark.parametrize(("path", "body"), [("/v1/messages", MESSAGE), ("/v1/responses", {"input": "hi"})])
async def test_answers_with_tools_that_were_run_are_as_described(
    client: httpx.AsyncClient,
    service: FakeModelService,
    tools: FakeToolService,
    description: Description,
    path: str,
    body: dict[str, Any],
    outcome: Any,
) -> None:
    tools.script = {"t": outcome}
    for fields in ({}, {"stream": True}):
        turns = iter((WORK, SAY))
        service.script = lambda _, turns=turns: next(turns)
        response = await client.post(path, json={**body, **fields, "mcp_tools": True})
        assert "mcp_" in response.text
        assert description.check(response)


async def test_every_event_that_is_described_is_sent_and_every_one_sent_described(
    client: httpx.AsyncClient, service: FakeModelService, tools: FakeToolService, description: Description
) -> None:
    padded = {"stream_options": {"include_obfuscation": True}}
    for script in (WORK, CUT, BROKEN):
        service.script = script
        for path, body in BODIES:
            if path in ("/v1/messages", "/v1/responses"):
                more = padded if path == "/v1/responses" else {}
                description.check(await client.post(path, json={**body, **more, "stream": True}))
    for outcome in ("five", Unavailable("gone")):
        turns = iter((WORK, SAY))
        tools.script = {"t": outcome}
        service.script = lambda _, turns=turns: next(turns)
        body = {"input": "hi", "mcp_tools": True, "stream": True, **padded}
        description.check(await client.post("/v1/responses", json=body))
    described = set()
    for path in ("/v1/messages", "/v1/responses"):
        content = description.operation("post", path)["responses"]["200"]["content"]
        for each in content["text/event-stream"]["schema"]["anyOf"]:
            kind = description.document["components"]["schemas"][each["$ref"].rpartition("/")[2]]
            named = kind["properties"]["type"]
            described |= {named["const"]} if "const" in named else set(named["enum"])
    assert description.events == described


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions"])
async def test_an_error_in_a_stream_is_as_described(
    client: httpx.AsyncClient, service: FakeModelService, description: Description, path: str
) -> None:
    service.script = BROKEN
    body = {"prompt": "a"} if path == "/v1/completions" else CHAT
    events = description.check(await client.post(path, json={**body, "stream": True}))
    assert "error" in events[-1]


@pytest.mark.parametrize("failing", [False, True])
async def test_tools_that_the_server_runs_are_as_described(
    client: httpx.AsyncClient, service: FakeModelService, description: Description, failing: bool
) -> None:
    body: dict[str, Any] = {**CHAT, "mcp_tools": True}
    for stream in (False, True):
        turns = iter([WORK] * 64 if failing else [WORK, SAY])
        service.script = lambda _, turns=turns: next(turns)  # type: ignore[misc]
        answer = description.check(await client.post("/v1/chat/completions", json={**body, "stream": stream}))
        assert "mcp_calls" in str(answer)
        assert ("mcp_stopped" in str(answer)) == failing


async def test_kept_answers_are_as_described(
    client: httpx.AsyncClient, service: FakeModelService, description: Description
) -> None:
    service.script = WORK
    told = [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "phase": "commentary", "content": [{"type": "refusal", "refusal": "no"}]},
        {"role": "assistant", "content": [{"type": "output_text", "text": "yes"}]},
        {
            "type": "reasoning",
            "summary": [{"type": "summary_text", "text": "s"}],
            "content": [{"type": "reasoning_text", "text": "t"}],
            "encrypted_content": "x",
        },
        {"type": "function_call", "call_id": "a", "name": "f", "namespace": "n", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "a", "output": [{"type": "input_text", "text": "o"}]},
        {"type": "function_call", "call_id": "b", "name": "box__t"},
        {"type": "function_call_output", "call_id": "b", "output": [{"type": "input_image"}]},
    ]
    made = description.check(await client.post("/v1/responses", json={**RESPONSE, **SHOWN, "input": told}))
    place = f"/v1/responses/{made['id']}"
    assert description.check(await client.get(place)) == made
    assert description.check(await client.get(place, params={"stream": True}))
    items = description.check(await client.get(f"{place}/input_items", params={"order": "asc"}))["data"]
    assert [item["type"] for item in items] == [item.get("type", "message") for item in told]
    assert [set(item) for item in items] == [
        {"type", "id", "role", "status", "content"},
        {"type", "id", "role", "status", "content", "phase"},
        {"type", "id", "role", "status", "content"},
        {"type", "id", "summary", "content", "encrypted_content"},
        {"type", "id", "call_id", "name", "namespace", "arguments", "status"},
        {"type", "id", "call_id", "output", "status"},
        {"type", "id", "call_id", "name", "arguments", "status"},
        {"type", "id", "call_id", "output", "status"},
    ]
    nothing = await client.get(f"{place}/input_items", params={"after": items[0]["id"]})
    assert description.check(nothing)["first_id"] is None
    cancelled = await client.post(f"{place}/cancel")
    assert cancelled.status_code == 400
    description.check(cancelled)
    assert description.check(await client.delete(place))["deleted"]
    description.check(await client.get(place))


async def test_the_other_answers_are_as_described(
    client: httpx.AsyncClient, service: FakeModelService, description: Description
) -> None:
    for path, body in [
        ("/v1/messages/count_tokens", {"model": "default", **CHAT}),
        ("/v1/responses/input_tokens", {"input": "hi"}),
        ("/tokenize", {"prompt": "a"}),
        ("/detokenize", {"tokens": [1]}),
        ("/v1/chat/completions/render", CHAT),
        ("/v1/mcp/execute", {"tool_name": "box__t"}),
    ]:
        response = await client.post(path, json=body)
        assert response.status_code == 200, response.text
        assert description.check(response)
    described = {path for method, path, _ in operations(description.document) if method == "get"}
    asked = {path for path in described if "{" not in path} - {
        "/docs",
        "/v1/status",
    }  # tests/e2e asks for it
    for path in asked:
        response = await client.get(path)
        assert response.status_code == 200
        assert description.check(response)
    for headers in ({}, {"anthropic-version": "2023-06-01"}):
        for path in ("/v1/models", "/v1/models/default"):
            description.check(await client.get(path, headers=headers))
    failed = await client.post("/v1/messages", json={}, headers={"anthropic-version": "2023-06-01"})
    assert failed.status_code == 400
    description.check(failed)


def test_a_type_that_nobody_listed_cannot_be_named() -> None:
    with pytest.raises(ValueError, match="must be among"):
        AnswerTypes("X", wire.Completion).of(wire.ChatCompletion)
