"""What becomes of a messages request's documents, marks, known tools, formats and late system prompts."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from tests.fakes.service import FakeModelService, completed, spoken

from vllm_mlx.core.constraints import JsonSchema
from vllm_mlx.core.events import Started
from vllm_mlx.core.messages import Message, Text, ToolCall, ToolResult
from vllm_mlx.core.requests import ChatInput, GenerateRequest

pytestmark = [pytest.mark.anyio, pytest.mark.requirement(39)]

HI = {"role": "user", "content": "hi"}
BODY: dict[str, Any] = {"model": "default", "max_tokens": 2048, "messages": [HI]}
KEEP = {"type": "ephemeral"}


async def asked(client: httpx.AsyncClient, service: FakeModelService, **fields: Any) -> GenerateRequest:
    """The request that the service sees of a body."""
    response = await client.post("/v1/messages", json=BODY | fields)
    assert response.status_code == 200, response.text
    return service.requests[-1]


async def conversation(client: httpx.AsyncClient, service: FakeModelService, **fields: Any) -> ChatInput:
    prompt = (await asked(client, service, **fields)).input
    assert isinstance(prompt, ChatInput)
    return prompt


def text(said: str, *, keep: bool = False) -> dict[str, Any]:
    return {"type": "text", "text": said} | ({"cache_control": KEEP} if keep else {})


def turn(role: str, *blocks: dict[str, Any]) -> dict[str, Any]:
    return {"role": role, "content": list(blocks)}


async def test_documents_and_search_results_are_text_in_tags(
    client: httpx.AsyncClient, service: FakeModelService
) -> None:
    source = {"type": "text", "media_type": "text/plain", "data": "All is well."}
    document = {"type": "document", "title": "Log", "context": "from today", "source": source}
    pieces = {"type": "document", "source": {"type": "content", "content": [text("a"), text("b")]}}
    found = {"type": "search_result", "source": "http://x", "title": "X", "content": [text("c")]}
    blocks = (document, pieces, found, text("Well?"))
    expected = (
        "<document>\n<title>Log</title>\n<context>from today</context>\nAll is well.\n</document>"
        "\n\n<document>\na\n\nb\n</document>"
        "\n\n<search_result>\n<title>X</title>\n<source>http://x</source>\nc\n</search_result>"
    )
    prompt = await conversation(client, service, messages=[turn("user", *blocks)])
    assert prompt.messages == (Message("user", (Text(expected + "\n\nWell?"),)),)
    use = {"type": "tool_use", "id": "t", "name": "f", "input": {}}
    result = {"type": "tool_result", "tool_use_id": "t", "content": [document, pieces, found]}
    answered = [HI, turn("assistant", use), turn("user", result)]
    prompt = await conversation(client, service, messages=answered)
    assert prompt.messages[2].parts == (ToolResult("t", expected),)


async def test_what_cannot_be_read_in_a_tools_result_is_named_to_the_model(
    client: httpx.AsyncClient, service: FakeModelService
) -> None:
    picture = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}
    pdf = {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "AA"}}
    use = {"type": "tool_use", "id": "t", "name": "f", "input": {}}
    result = {"type": "tool_result", "tool_use_id": "t", "content": [text("a.png"), picture, pdf]}
    prompt = await conversation(client, service, messages=[HI, turn("assistant", use), turn("user", result)])
    expected = "a.png\n\n[image: this model takes text only]\n\n[document: this model takes text only]"
    assert prompt.messages[2].parts == (ToolResult("t", expected),)


async def test_a_system_prompt_in_mid_conversation_is_told_with_the_users_turn(
    client: httpx.AsyncClient, service: FakeModelService
) -> None:
    late = {"role": "system", "content": "Be kind."}
    use = {"type": "tool_use", "id": "t", "name": "f", "input": {}}
    result = {"type": "tool_result", "tool_use_id": "t", "content": "x"}
    messages = [HI, late, turn("assistant", use), turn("system", text("Be brief.")), turn("user", result)]
    prompt = await conversation(client, service, messages=messages)
    assert prompt.messages == (
        Message("user", (Text("hi\n\n<system>\nBe kind.\n</system>"),)),
        Message("assistant", (ToolCall("t", "f", "{}"),)),
        Message("user", (Text("<system>\nBe brief.\n</system>"), ToolResult("t", "x"))),
    )
    prompt = await conversation(client, service, system="Be quick.", messages=[late, HI])
    assert prompt.messages == (
        Message("system", (Text("Be quick.\n\nBe kind."),)),
        Message("user", (Text("hi"),)),
    )


async def test_a_system_turn_can_be_for_one_answer_only(
    client: httpx.AsyncClient, service: FakeModelService
) -> None:
    note = {"role": "system", "content": "Be kind.", "clear_at": "next_user_message"}
    kept = note | {"content": "Be brief.", "clear_at": "never"}
    prompt = await conversation(client, service, messages=[HI, note])
    assert prompt.messages == (Message("user", (Text("hi\n\n<system>\nBe kind.\n</system>"),)),)
    said = turn("assistant", text("Hello."))
    prompt = await conversation(client, service, messages=[HI, note, kept, said, HI, note])
    assert prompt.messages == (
        Message("user", (Text("hi\n\n<system>\nBe brief.\n</system>"),)),
        Message("assistant", (Text("Hello."),)),
        Message("user", (Text("hi\n\n<system>\nBe kind.\n</system>"),)),
    )


async def test_with_interleaved_thoughts_a_budget_may_exceed_the_answer(
    client: httpx.AsyncClient, service: FakeModelService
) -> None:
    """The budget is for a turn of several answers then; Qwen Code asks for 32,000 in answers of 8,000."""
    body = BODY | {"thinking": {"type": "enabled", "budget_tokens": 32_000}, "max_tokens": 8_000}
    for betas in ({}, {"anthropic-beta": "files-api-2025-04-14"}):
        refused = await client.post("/v1/messages", json=body, headers=betas)
        assert refused.status_code == 400
        assert "thinking.budget_tokens" in refused.json()["error"]["message"]
    beta = {"anthropic-beta": "files-api-2025-04-14, interleaved-thinking-2025-05-14"}
    assert (await client.post("/v1/messages", json=body, headers=beta)).status_code == 200
    assert service.requests[-1].thinking_budget == 32_000


async def test_a_salt_keeps_a_prompt_from_the_cache_of_others(
    client: httpx.AsyncClient, service: FakeModelService
) -> None:
    assert (await asked(client, service, cache_salt="mine")).cache_salt == "mine"
    assert (await asked(client, service)).cache_salt == ""


@pytest.mark.parametrize(
    ("kind", "name", "needed"),
    [
        ("bash_20250124", "bash", []),
        ("text_editor_20250124", "str_replace_editor", ["command", "path"]),
        ("text_editor_20250728", "str_replace_based_edit_tool", ["command", "path"]),
        ("memory_20250818", "memory", ["command"]),
    ],
)
async def test_a_tool_that_the_client_runs_has_its_known_schema(
    client: httpx.AsyncClient, service: FakeModelService, kind: str, name: str, needed: list[str]
) -> None:
    tools = [{"type": kind, "name": name, "cache_control": KEEP}]
    (tool,) = (await conversation(client, service, tools=tools)).tools
    assert (tool.name, (tool.parameters or {})["required"]) == (name, needed)
    assert tool.description


@pytest.mark.parametrize(
    "fields",
    [
        {"output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}}},
        {"output_format": {"type": "json_schema", "schema": {"type": "object"}}},
    ],
)
async def test_a_schema_of_the_answer_is_a_constraint(
    client: httpx.AsyncClient, service: FakeModelService, fields: dict[str, Any]
) -> None:
    assert (await asked(client, service, **fields)).constraint == JsonSchema({"type": "object"})
    assert (await asked(client, service)).constraint is None


async def test_only_a_thought_that_is_enabled_has_a_budget(
    client: httpx.AsyncClient, service: FakeModelService
) -> None:
    budget = {"budget_tokens": 1024}
    for kind, expected in (("enabled", 1024), ("adaptive", None), ("disabled", None)):
        request = await asked(client, service, thinking={"type": kind, **budget})
        assert request.thinking_budget == expected


MARKED: list[tuple[dict[str, Any], tuple[Message, ...] | None]] = [
    ({}, None),
    ({"cache_control": None}, None),
    ({"cache_control": KEEP}, (Message("user", (Text("hi"),)),)),
    ({"system": [text("a", keep=True), text("b")]}, (Message("system", (Text("a"),)),)),
    (
        {"system": "a", "tools": [{"name": "f", "input_schema": {}, "cache_control": KEEP}]},
        (Message("system", (Text("a"),)),),
    ),
    (
        {"messages": [turn("user", text("a", keep=True), text("b", keep=True), text("c"))]},
        (Message("user", (Text("a\n\nb"),)),),
    ),
    (
        {
            "system": [text("s", keep=True)],
            "messages": [HI, turn("assistant", text("x", keep=True), text("y")), HI],
        },
        (
            Message("system", (Text("s"),)),
            Message("user", (Text("hi"),)),
            Message("assistant", (Text("x"),)),
        ),
    ),
]


@pytest.mark.parametrize(("fields", "mark"), MARKED, ids=range(len(MARKED)))
async def test_the_last_cache_mark_ends_a_beginning_of_the_conversation(
    client: httpx.AsyncClient,
    service: FakeModelService,
    fields: dict[str, Any],
    mark: tuple[Message, ...] | None,
) -> None:
    assert (await conversation(client, service, **fields)).cache_mark == mark


@pytest.mark.parametrize(("marked", "cached", "created"), [(0, 3, 0), (2, 3, 0), (5, 3, 2), (4, 0, 4)])
async def test_what_was_marked_and_not_read_was_written(
    client: httpx.AsyncClient, service: FakeModelService, marked: int, cached: int, created: int
) -> None:
    whole = completed(cached=cached, marked=marked)
    service.script = [Started(0, 5, cached, marked), *spoken("hi")[1:], whole]
    usage = (await client.post("/v1/messages", json=BODY)).json()["usage"]
    assert usage["cache_read_input_tokens"] == cached
    assert usage["cache_creation_input_tokens"] == created
    assert usage["input_tokens"] == 5 - cached - created


@pytest.mark.requirement(55)
@pytest.mark.parametrize(
    ("fields", "thinks"),
    [
        ({}, False),
        ({"enable_thinking": True}, True),
        ({"enable_thinking": False}, False),
        ({"enable_thinking": True, "thinking": {"type": "disabled"}}, False),
        ({"enable_thinking": False, "thinking": {"type": "adaptive"}}, True),
    ],
)
async def test_the_switch_of_chat_counts_where_thinking_is_not_given(
    client: httpx.AsyncClient, service: FakeModelService, fields: dict[str, Any], thinks: bool
) -> None:
    body = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 5, **fields}
    assert (await client.post("/v1/messages", json=body)).status_code == 200
    chat = service.requests[-1].input
    assert isinstance(chat, ChatInput)
    assert chat.template_kwargs["enable_thinking"] is thinks
