"""Whatever goes wrong below /v1/responses is told in OpenAI's shape, and wrong input reaches no model."""

from __future__ import annotations

import json
import logging
from typing import Any

import httpx
import pytest
from tests.fakes.responses import checked_events
from tests.fakes.service import FakeModelService
from tests.server.test_bad_input import NO_JSON, openai_error

from vllm_mlx.core.errors import (
    AppError,
    ContextOverflow,
    DeadlineExceeded,
    InternalError,
    Overloaded,
    Unavailable,
)
from vllm_mlx.core.events import Finished, Started, TextDelta
from vllm_mlx.server.responses.schema import MAX_ITEMS

pytestmark = [pytest.mark.anyio, pytest.mark.requirement(38)]

USER = {"role": "user", "content": "hi"}
CALL = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
OUTPUT = {"type": "function_call_output", "call_id": "c", "output": "x"}
F = {"type": "function", "name": "f"}
GROUP = {"type": "namespace", "name": "n", "description": "", "tools": [F]}
IMAGE = {"type": "input_image", "image_url": "data:image/png;base64,AAAA", "detail": "auto"}
PATHS = ["/v1/responses", "/v1/responses/input_tokens"]


def says(*content: Any, **fields: Any) -> dict[str, Any]:
    return {"input": [{"role": "user", "content": list(content), **fields}]}


def items(*given: Any) -> dict[str, Any]:
    return {"input": list(given)}


def form(**fields: Any) -> dict[str, Any]:
    return {"text": {"format": fields}}


WRONG_PROMPTS: list[tuple[dict[str, Any], str]] = [
    ({"input": None}, "input"),
    ({"input": []}, "input"),
    ({"input": 5}, "input"),
    ({"input": {}}, "input"),
    (items("hi"), "input[0]"),
    (items(None), "input[0]"),
    (items(USER, {"role": "king", "content": "x"}), "input[1].role"),
    (items({"role": "tool", "content": "x"}), "input[0].role"),
    (items({"content": "x"}), "input[0].role"),
    (items({"role": "user"}), "input[0].content"),
    (items({"role": "user", "content": 7}), "input[0].content"),
    (items({"role": "user", "content": {}}), "input[0].content"),
    (says("x"), "input[0].content[0]"),
    (says({"text": "x"}), "input[0].content[0].type"),
    (says({"type": "input_text"}), "input[0].content[0].text"),
    (says({"type": "input_text", "text": 1}), "input[0].content[0].text"),
    (says({"type": "refusal", "text": "x"}), "input[0].content[0].refusal"),
    (says({"type": "hologram"}), "input[0].content[0].type"),
    (says(IMAGE), "input[0].content[0].type"),
    (says({"type": "input_file", "file_id": "f"}), "input[0].content[0].type"),
    (says({"type": "input_audio", "input_audio": {}}), "input[0].content[0].type"),
    (items({"type": "hologram"}), "input[0].type"),
    (items({"type": 5}), "input[0].type"),
    (items({"type": "web_search_call", "id": "w", "status": "completed"}), "input[0].type"),
    (items({"type": "computer_call_output", "call_id": "c"}), "input[0].type"),
    (items({"type": "mcp_list_tools", "id": "m"}), "input[0].type"),
    (items({"type": "mcp_call", "name": "t"}), "input[0].id"),
    (items({"type": "mcp_call", "id": "m"}), "input[0].name"),
    (items({"type": "mcp_call", "id": "m", "name": "t"}), "input[0].output"),
    (items(*[{"type": "mcp_call", "id": "m", "name": "t", "output": "x"}] * 2), "input[1].id"),
    (items({"type": "local_shell_call", "id": "m"}), "input[0].type"),
    (items({"type": "custom_tool_call", "call_id": "c", "name": "f", "input": "x"}), "input[0].type"),
    (items(OUTPUT), "input[0].call_id"),
    (items(CALL, OUTPUT, OUTPUT), "input[2].call_id"),
    (items(CALL, CALL), "input[1].call_id"),
    (items(OUTPUT, CALL), "input[0].call_id"),
    (items(CALL), "input"),
    (items(CALL, OUTPUT, CALL | {"call_id": "d"}), "input"),
    (items(CALL, OUTPUT | {"call_id": None}), "input[1].call_id"),
    (items(CALL, OUTPUT | {"output": None}), "input[1].output"),
    (items(CALL, OUTPUT | {"output": {}}), "input[1].output"),
    (items(CALL, OUTPUT | {"output": [IMAGE | {"type": "hologram"}]}), "input[1].output[0].type"),
    (items(CALL | {"call_id": ""}), "input[0].call_id"),
    (items(CALL | {"call_id": 5}), "input[0].call_id"),
    (items(CALL | {"name": ""}), "input[0].name"),
    (items(CALL | {"arguments": {}}), "input[0].arguments"),
    (items({"type": "reasoning", "summary": "x"}), "input[0].summary"),
    (items({"type": "reasoning", "summary": [{"type": "summary_text"}]}), "input[0].summary[0].text"),
    (items({"type": "reasoning", "encrypted_content": 5}), "input[0].encrypted_content"),
    (items({"type": "item_reference"}), "input[0].id"),
    ({"input": [USER] * (MAX_ITEMS + 1)}, "input"),
    (says(*[{"type": "input_text", "text": "x"}] * (MAX_ITEMS + 1)), "input[0].content"),
    ({"instructions": 5}, "instructions"),
    ({"instructions": [USER]}, "instructions"),
    ({"model": 5}, "model"),
    ({"previous_response_id": 5}, "previous_response_id"),
    ({"tools": {}}, "tools"),
    ({"tools": ["f"]}, "tools[0]"),
    ({"tools": [{"name": "f"}]}, "tools[0].type"),
    ({"tools": [{"type": "function"}]}, "tools[0].name"),
    ({"tools": [{"type": "function", "name": ""}]}, "tools[0].name"),
    ({"tools": [F | {"parameters": []}]}, "tools[0].parameters"),
    ({"tools": [F | {"strict": "yes"}]}, "tools[0].strict"),
    ({"tools": [F, F]}, "tools"),
    ({"tools": [F | {"name": "n__f"}, GROUP]}, "tools"),
    ({"tools": [GROUP | {"name": None}]}, "tools[0].name"),
    ({"tools": [GROUP | {"tools": [GROUP]}]}, "tools[0].tools[0].type"),
    ({"tools": [GROUP | {"tools": {}}]}, "tools[0].tools"),
    ({"tools": [F] * 2000}, "tools"),
    *(
        ({"tools": [F, {"type": kind}]}, "tools[1].type")
        for kind in (
            "web_search",
            "web_search_preview",
            "file_search",
            "code_interpreter",
            "computer_use_preview",
            "computer",
            "image_generation",
            "mcp",
            "local_shell",
            "shell",
            "apply_patch",
            "tool_search",
            "custom",
        )
    ),
    ({"tool_choice": "always"}, "tool_choice"),
    ({"tool_choice": "required"}, "tool_choice"),
    ({"tool_choice": 5}, "tool_choice"),
    ({"tools": [F], "tool_choice": {"name": "f"}}, "tool_choice.type"),
    ({"tools": [F], "tool_choice": {"type": "function"}}, "tool_choice.name"),
    ({"tools": [F], "tool_choice": {"type": "function", "name": "g"}}, "tool_choice.name"),
    ({"tools": [F], "tool_choice": {"type": "web_search_preview"}}, "tool_choice.type"),
    ({"tools": [F], "tool_choice": {"type": "mcp", "server_label": "x"}}, "tool_choice.type"),
    ({"tools": [F], "tool_choice": {"type": "allowed_tools", "tools": [F]}}, "tool_choice.mode"),
    (
        {"tools": [F], "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [GROUP]}},
        "tool_choice.tools[0].type",
    ),
    ({"tools": [F], "tool_choice": {"type": "allowed_tools", "mode": "required"}}, "tool_choice"),
    ({"parallel_tool_calls": 1}, "parallel_tool_calls"),
    ({"reasoning": "high"}, "reasoning"),
    ({"reasoning": {"effort": 5}}, "reasoning.effort"),
    ({"reasoning": {"summary": "long"}}, "reasoning.summary"),
    ({"truncation": "middle"}, "truncation"),
    ({"chat_template_kwargs": []}, "chat_template_kwargs"),
    ({"conversation": "conv_1"}, "conversation"),
    ({"conversation": {"id": "conv_1"}}, "conversation"),
    ({"prompt": {"id": "pmpt_1"}}, "prompt"),
    ({"context_management": [{"type": "compaction"}]}, "context_management"),
    ({"moderation": {"model": "m"}}, "moderation"),
]

WRONG_ANSWERS: list[tuple[dict[str, Any], str]] = [
    ({"text": "json"}, "text"),
    (form(type="grammar"), "text.format.type"),
    (form(type="json_schema", name="n"), "text.format.schema"),
    (form(type="json_schema", name="n", schema=[]), "text.format.schema"),
    ({"text": {"verbosity": "huge"}}, "text.verbosity"),
    ({"stream": "yes"}, "stream"),
    ({"stream_options": {"include_obfuscation": False}}, "stream_options"),
    ({"stream": True, "stream_options": {"include_obfuscation": 1}}, "stream_options.include_obfuscation"),
    ({"store": "no"}, "store"),
    ({"include": "x"}, "include"),
    ({"include": ["everything"]}, "include[0]"),
    ({"include": [5]}, "include[0]"),
    ({"max_output_tokens": 0}, "max_output_tokens"),
    ({"max_output_tokens": 1.5}, "max_output_tokens"),
    ({"max_output_tokens": 10**18}, "max_output_tokens"),
    ({"temperature": -1}, "temperature"),
    ({"temperature": "1"}, "temperature"),
    ({"top_p": 0}, "top_p"),
    ({"top_k": -2}, "top_k"),
    ({"seed": 10**300}, "seed"),
    ({"top_logprobs": 2}, "top_logprobs"),
    ({"top_logprobs": 21, "include": ["message.output_text.logprobs"]}, "top_logprobs"),
    ({"metadata": []}, "metadata"),
    ({"metadata": {"a": 1}}, "metadata.a"),
    ({"metadata": {str(i): "x" for i in range(17)}}, "metadata"),
    ({"metadata": {"a": "x" * 513}}, "metadata.a"),
    ({"metadata": {"k" * 65: "x"}}, f"metadata.{'k' * 65}"),
    ({"user": "x" * 1025}, "user"),
    ({"safety_identifier": "x" * 1025}, "safety_identifier"),
    ({"prompt_cache_key": "x" * 1025}, "prompt_cache_key"),
    ({"background": True}, "background"),
    ({"user": 5}, "user"),
    ({"prompt_cache_key": 5}, "prompt_cache_key"),
    ({"service_tier": 5}, "service_tier"),
    ({"cache_salt": "x" * 2000}, "cache_salt"),
    ({"stop": ["x"]}, "stop"),
]


async def refused(
    client: httpx.AsyncClient, service: FakeModelService, path: str, fields: Any, param: str
) -> None:
    response = await client.post(path, content=json.dumps({"input": "hi"} | fields))
    assert response.status_code == 400
    error = openai_error(response)
    assert error["param"] == param
    assert param.split("[")[0].split(".")[0] in error["message"]
    assert not service.requests
    assert not service.tokenized


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(("fields", "param"), WRONG_PROMPTS, ids=lambda value: str(value)[:60])
async def test_a_wrong_field_of_the_prompt_is_named(
    client: httpx.AsyncClient, service: FakeModelService, path: str, fields: Any, param: str
) -> None:
    await refused(client, service, path, fields, param)


@pytest.mark.parametrize(("fields", "param"), WRONG_ANSWERS, ids=lambda value: str(value)[:60])
async def test_a_wrong_field_of_the_answer_is_named(
    client: httpx.AsyncClient, service: FakeModelService, fields: Any, param: str
) -> None:
    await refused(client, service, "/v1/responses", fields, param)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("body", NO_JSON, ids=lambda value: str(value)[:30])
async def test_what_is_no_json_object_is_refused(client: httpx.AsyncClient, path: str, body: bytes) -> None:
    response = await client.post(path, content=body)
    assert response.status_code == 400
    assert openai_error(response)["code"] in ("invalid_json", "nesting_too_deep")


async def test_a_hosted_tool_is_refused_by_its_name(client: httpx.AsyncClient) -> None:
    response = await client.post("/v1/responses", json={"input": "hi", "tools": [{"type": "web_search"}]})
    assert "'web_search'" in openai_error(response)["message"]


async def test_a_hundred_thousand_items_are_refused_at_once(client: httpx.AsyncClient) -> None:
    body = json.dumps({"input": [{}] * 100_000})
    assert openai_error(await client.post("/v1/responses", content=body))["param"] == "input"


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ContextOverflow("too long", param="messages"), 400),
        (Overloaded("full"), 429),
        (Unavailable("gone"), 503),
        (DeadlineExceeded("late"), 504),
    ],
)
@pytest.mark.parametrize("stream", [True, False])
async def test_what_fails_before_the_first_event_is_an_http_error(
    client: httpx.AsyncClient, service: FakeModelService, error: AppError, status: int, stream: bool
) -> None:
    service.script = [error]
    response = await client.post("/v1/responses", json={"input": "hi", "stream": stream})
    assert response.status_code == status
    shown = openai_error(response)
    assert (shown["code"], shown["param"]) == (error.code, "input" if status == 400 else None)


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (ContextOverflow("too long"), "invalid_prompt", "too long"),
        (Overloaded("full"), "rate_limit_exceeded", "full"),
        (Unavailable("The engine died."), "server_error", "The engine died."),
        (InternalError("secret"), "server_error", "internal error"),
        (ZeroDivisionError("secret"), "server_error", "internal error"),
    ],
)
async def test_a_stream_that_fails_says_so_and_ends(
    client: httpx.AsyncClient,
    service: FakeModelService,
    error: Exception,
    code: str,
    message: str,
) -> None:
    service.script = [Started(0, 5), TextDelta(0, "a"), error]
    response = await client.post("/v1/responses", json={"input": "hi", "stream": True})
    last = checked_events(response.text)[-1]
    assert last["type"] == "response.failed"
    answer = last["response"]
    assert (answer["status"], answer["error"]["code"]) == ("failed", code)
    assert message in answer["error"]["message"]
    assert "secret" not in response.text
    assert [item["status"] for item in answer["output"]] == ["incomplete"]
    assert (await client.get(f"/v1/responses/{answer['id']}")).status_code == 404


async def test_bad_input_is_no_news_for_the_log(
    client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        for fields, _ in WRONG_PROMPTS + WRONG_ANSWERS:
            await client.post("/v1/responses", content=json.dumps({"input": "hi"} | fields))
    assert not caplog.records


async def test_a_null_character_is_text_like_any_other(
    client: httpx.AsyncClient, service: FakeModelService
) -> None:
    service.script = [Started(0, 5), TextDelta(0, "\0"), Finished(0, "stop"), Unavailable("x")]
    response = await client.post("/v1/responses", json={"input": "a\0b", "stream": True})
    assert checked_events(response.text)[-1]["response"]["output"][0]["content"][0]["text"] == "\0"


@pytest.mark.parametrize(
    ("method", "path", "param"),
    [
        ("GET", "/v1/responses/x/input_items?limit=0", "limit"),
        ("GET", "/v1/responses/x/input_items?limit=101", "limit"),
        ("GET", "/v1/responses/x/input_items?limit=many", "limit"),
        ("GET", "/v1/responses/x/input_items?order=random", "order"),
        ("GET", "/v1/responses/x?stream=perhaps", "stream"),
        ("GET", "/v1/responses/x?starting_after=a", "starting_after"),
        ("GET", "/v1/responses/x?include=reasoning.encrypted_content", "include"),
        ("GET", "/v1/responses/x?include[]=reasoning.encrypted_content", "include"),
    ],
)
async def test_a_wrong_query_is_named(client: httpx.AsyncClient, method: str, path: str, param: str) -> None:
    response = await client.request(method, path)
    assert response.status_code == 400
    error = openai_error(response)
    assert (error["param"], error["type"]) == (param, "invalid_request_error")


async def test_a_model_that_is_not_served_is_not_found(client: httpx.AsyncClient) -> None:
    response = await client.post("/v1/responses", json={"model": "no-such", "input": "hi"})
    assert response.status_code == 404
    assert openai_error(response)["code"] == "model_not_found"
