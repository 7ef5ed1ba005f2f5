"""Each field that asks for a form of the answer, and each choice among tools, as the service gets it."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from tests.fakes.service import FakeModelService

from vllm_mlx.core.constraints import (
    Choice,
    Constraint,
    JsonObject,
    JsonSchema,
    Lark,
    Regex,
    StructuralTag,
    StructuralTags,
)
from vllm_mlx.core.requests import ChatInput
from vllm_mlx.core.tools import ToolChoice

pytestmark = pytest.mark.anyio

SCHEMA = {"type": "object", "properties": {"z": {}, "a": {}}}
TAG = {"structures": [{"begin": "<a>", "schema": SCHEMA, "end": "</a>"}], "triggers": ["<a"]}
TAGS = StructuralTags((StructuralTag("<a>", SCHEMA, "</a>"),), ("<a",))
NAMED = {"type": "json_schema", "json_schema": {"name": "f", "schema": SCHEMA, "strict": True}}
NAMELESS = {"type": "json_schema", "json_schema": {"schema": SCHEMA, "strict": False}}
FORMS: list[tuple[dict[str, Any], Constraint | None]] = [
    ({}, None),
    ({"response_format": None, "guided_json": None, "structured_outputs": None}, None),
    ({"response_format": {"type": "text"}, "guided_choice": None, "guided_json_object": False}, None),
    ({"response_format": {"type": "text"}, "guided_regex": "a"}, Regex("a")),
    ({"response_format": {"type": "json_object"}}, JsonObject()),
    ({"response_format": {"type": "json_object", "schema": SCHEMA}}, JsonSchema(SCHEMA)),
    ({"response_format": {"type": "json_schema", "schema": SCHEMA}}, JsonSchema(SCHEMA)),
    ({"response_format": NAMED}, JsonSchema(SCHEMA, "f")),
    ({"response_format": NAMELESS}, JsonSchema(SCHEMA)),
    ({"response_format": {"type": "json_schema", "json_schema": {"schema": True}}}, JsonSchema(True)),
    ({"response_format": {"type": "regex", "regex": "a+"}}, Regex("a+")),
    ({"response_format": {"type": "choice", "choice": ["a", "b"]}}, Choice(("a", "b"))),
    ({"response_format": {"type": "grammar", "grammar": 'start: "a"'}}, Lark('start: "a"')),
    ({"response_format": {"type": "structural_tag", **TAG}}, TAGS),
    ({"guided_json": SCHEMA}, JsonSchema(SCHEMA)),
    ({"guided_json": json.dumps(SCHEMA)}, JsonSchema(SCHEMA)),
    ({"guided_regex": "a+"}, Regex("a+")),
    ({"guided_choice": ["a", "b"]}, Choice(("a", "b"))),
    ({"guided_grammar": 'start: "a"'}, Lark('start: "a"')),
    ({"guided_json_object": True}, JsonObject()),
    ({"grammar": 'root ::= "a"'}, Lark('root ::= "a"')),
    ({"json_schema": SCHEMA}, JsonSchema(SCHEMA)),
    ({"json_schema": json.dumps(SCHEMA)}, JsonSchema(SCHEMA)),
    ({"regex": "a+"}, Regex("a+")),
    ({"grammar": "", "json_schema": "", "regex": "", "ebnf": "", "format": ""}, None),
    ({"structured_outputs": {"json": SCHEMA}}, JsonSchema(SCHEMA)),
    ({"structured_outputs": {"json": json.dumps(SCHEMA)}}, JsonSchema(SCHEMA)),
    ({"structured_outputs": {"regex": "a+"}}, Regex("a+")),
    ({"structured_outputs": {"choice": ["a", "b"]}}, Choice(("a", "b"))),
    ({"structured_outputs": {"grammar": 'start: "a"'}}, Lark('start: "a"')),
    ({"structured_outputs": {"json_object": True, "backend": None, "disable_fallback": False}}, JsonObject()),
    ({"structured_outputs": {"structural_tag": TAG}}, TAGS),
    ({"structured_outputs": {"structural_tag": json.dumps({"type": "structural_tag", **TAG})}}, TAGS),
]
ROUTES = {
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "Hi"}]},
    "/v1/completions": {"prompt": "Hi"},
}
TOOLS = [{"type": "function", "function": {"name": name}} for name in ("f", "g")]


async def chat(client: httpx.AsyncClient, service: FakeModelService, **fields: Any) -> ChatInput:
    route = "/v1/chat/completions"
    answer = await client.post(route, json=ROUTES[route] | {"tools": TOOLS} | fields)
    assert answer.status_code == 200, answer.text
    given = service.requests[-1].input
    assert isinstance(given, ChatInput)
    return given


@pytest.mark.requirement(46, 63)
@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize(("fields", "constraint"), FORMS, ids=range(len(FORMS)))
async def test_every_dialect_of_a_form_becomes_one_value(
    client: httpx.AsyncClient,
    service: FakeModelService,
    route: str,
    fields: dict[str, Any],
    constraint: Constraint | None,
) -> None:
    answer = await client.post(route, json=ROUTES[route] | fields)
    assert answer.status_code == 200, answer.text
    request = service.requests[-1]
    assert request.constraint == constraint
    if isinstance(constraint, JsonSchema) and isinstance(constraint.schema, dict):
        assert isinstance(request.constraint, JsonSchema)
        assert list(request.constraint.schema["properties"]) == ["z", "a"]  # in the caller's order
    if constraint is not None:
        assert request.constraint_param in fields


@pytest.mark.requirement(63)
async def test_the_choice_among_tools_reaches_the_service(
    client: httpx.AsyncClient, service: FakeModelService
) -> None:
    named = {"type": "function", "function": {"name": "g"}}
    assert (await chat(client, service)).tool_choice == ToolChoice("auto")
    assert (await chat(client, service, tool_choice="none")).tool_choice == ToolChoice("none")
    assert (await chat(client, service, tool_choice="required")).tool_choice == ToolChoice("required")
    assert (await chat(client, service, tool_choice=named)).tool_choice == ToolChoice("named", "g")


@pytest.mark.requirement(63)
@pytest.mark.parametrize("mode", ["auto", "required"])
async def test_only_the_allowed_tools_are_on_offer(
    client: httpx.AsyncClient, service: FakeModelService, mode: str
) -> None:
    allowed = {"mode": mode, "tools": [{"type": "function", "function": {"name": "g"}}]}
    given = await chat(client, service, tool_choice={"type": "allowed_tools", "allowed_tools": allowed})
    assert [tool.name for tool in given.tools] == ["g"]
    assert given.tool_choice == ToolChoice(mode)  # type: ignore[arg-type]


@pytest.mark.requirement(63)
async def test_several_calls_are_allowed_unless_the_caller_says_no(
    client: httpx.AsyncClient, service: FakeModelService
) -> None:
    assert (await chat(client, service)).parallel_tool_calls
    assert (await chat(client, service, parallel_tool_calls=True)).parallel_tool_calls
    assert not (await chat(client, service, parallel_tool_calls=False)).parallel_tool_calls


async def test_any_is_another_word_for_required(client: httpx.AsyncClient, service: FakeModelService) -> None:
    assert (await chat(client, service, tool_choice="any")).tool_choice.mode == "required"


@pytest.mark.parametrize("name", ["thinking_token_budget", "thinking_budget", "max_thinking_tokens"])
async def test_a_budget_for_thoughts_has_the_names_of_other_servers(
    client: httpx.AsyncClient, service: FakeModelService, name: str
) -> None:
    await chat(client, service, **{name: 7})
    assert service.requests[-1].thinking_budget == 7
    answer = await client.post("/v1/responses", json={"input": "hi", name: 8})
    assert (answer.status_code, service.requests[-1].thinking_budget) == (200, 8)
    for budget in (8, 0):
        message = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 9, name: budget}
        refused = await client.post("/v1/messages", json=message)
        assert refused.status_code == 400
        assert "thinking.budget_tokens" in refused.json()["error"]["message"]


@pytest.mark.parametrize("name", ["guided_json_object", "ebnf", "guided_grammar", "structured_outputs"])
async def test_a_form_in_the_words_of_another_api_is_refused_with_the_right_place(
    client: httpx.AsyncClient, name: str
) -> None:
    message = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 9}
    for path, body, place in (
        ("/v1/responses", {"input": "hi"}, "text.format"),
        ("/v1/messages", message, "output_config.format"),
    ):
        refused = await client.post(path, json={**body, name: True})
        assert refused.status_code == 400
        assert place in refused.json()["error"]["message"]
