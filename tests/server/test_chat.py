"""Chat completions: fields in, fields out, and the stream that adds up to the whole answer."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from tests.fakes.service import FakeModelService, completed, spoken, token
from tests.fakes.wire import as_folded, folded_chat, frames

from vllm_mlx.core.events import Finished, ReasoningDelta, Started, TextDelta, ToolCallDelta, ToolCallStart
from vllm_mlx.core.messages import Message, Reasoning, Text, ToolCall, ToolResult
from vllm_mlx.core.requests import ChatInput

pytestmark = pytest.mark.anyio

HELLO = {"model": "default", "messages": [{"role": "user", "content": "hi"}]}

TOOL_TURN = [
    Started(0, 5, 3),
    ReasoningDelta(0, "let me ", (token("let me "),)),
    ReasoningDelta(0, "see", (token("see"),)),
    ToolCallStart(0, 0, "call_a", "weather"),
    ToolCallDelta(0, 0, '{"city":'),
    ToolCallDelta(0, 0, '"Bern"}'),
    ToolCallStart(0, 1, "call_b", "time"),
    ToolCallDelta(0, 1, "{}"),
    Finished(0, "tool_calls"),
    completed(9),
]


async def ask(client: httpx.AsyncClient, **fields: Any) -> Any:
    response = await client.post("/v1/chat/completions", json=HELLO | fields)
    assert response.status_code == 200, response.text
    return frames(response.text) if fields.get("stream") else response.json()


@pytest.mark.requirement(33, 88, 89)
async def test_a_whole_answer_has_openais_fields_and_the_routers_metrics(client: httpx.AsyncClient) -> None:
    body = await ask(client)
    assert body["id"].startswith("chatcmpl-")
    assert isinstance(body["created"], int)
    assert {key: body[key] for key in ("object", "model")} == {
        "object": "chat.completion",
        "model": "org/tiny",
    }
    assert body["choices"] == [
        {
            "index": 0,
            "message": {
                "role": "assistant",
                "content": "hello big world",
                "refusal": None,
                "annotations": [],
                "reasoning": None,
                "reasoning_content": None,
            },
            "logprobs": None,
            "finish_reason": "stop",
            "stop_reason": None,
        }
    ]
    assert body["usage"] == {
        "prompt_tokens": 5,
        "completion_tokens": 3,
        "total_tokens": 8,
        "prompt_tokens_details": {"cached_tokens": 3},
        "completion_tokens_details": {"reasoning_tokens": 1},
    }
    assert body["metrics"] == {
        "time_to_first_token_ms": 12.5,
        "generation_time_ms": 30.0,
        "tokens_per_second": 2 / 0.03,
    }


@pytest.mark.requirement(34)
async def test_a_stream_opens_with_the_role_and_ends_with_the_reason_then_usage(
    client: httpx.AsyncClient,
) -> None:
    chunks = await ask(client, stream=True, stream_options={"include_usage": True})
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert len({chunk["id"] for chunk in chunks}) == 1
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert [chunk["choices"][0]["delta"]["content"] for chunk in chunks[1:4]] == ["hello ", "big ", "world"]
    assert chunks[4]["choices"][0]["delta"] == {}
    assert chunks[4]["choices"][0]["finish_reason"] == "stop"
    assert all(chunk["usage"] is None for chunk in chunks[:5])
    assert chunks[5]["choices"] == []
    assert chunks[5]["usage"]["total_tokens"] == 8
    assert len(chunks) == 6


async def test_a_stream_says_nothing_of_usage_unless_asked(client: httpx.AsyncClient) -> None:
    chunks = await ask(client, stream=True)
    assert all("usage" not in chunk for chunk in chunks)
    assert all(chunk["choices"] for chunk in chunks)


@pytest.mark.parametrize("logprobs", [False, True])
async def test_the_stream_adds_up_to_the_whole_answer(
    client: httpx.AsyncClient, service: FakeModelService, logprobs: bool
) -> None:
    first, second = spoken("one two"), spoken("drei vier fünf", choice=1, reason="length")
    interleaved = [event for pair in zip(first, second, strict=False) for event in pair] + second[
        len(first) :
    ]
    for script in (TOOL_TURN, [*interleaved, completed(5)]):
        service.script = script
        fields: dict[str, Any] = {"logprobs": True, "top_logprobs": 2} if logprobs else {}
        whole = await ask(client, **fields)
        streamed = await ask(client, stream=True, stream_options={"include_usage": True}, **fields)
        assert folded_chat(streamed) == as_folded(whole)
        assert streamed[-1]["usage"] == whole["usage"]


async def test_tool_calls_and_thought_stand_in_the_message(
    client: httpx.AsyncClient, service: FakeModelService
) -> None:
    service.script = TOOL_TURN
    choice = (await ask(client))["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    message = choice["message"]
    assert message["content"] is None
    assert message["reasoning"] == message["reasoning_content"] == "let me see"
    assert message["tool_calls"] == [
        {"id": "call_a", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Bern"}'}},
        {"id": "call_b", "type": "function", "function": {"name": "time", "arguments": "{}"}},
    ]


async def test_without_parallel_tool_calls_only_the_first_call_is_shown(
    client: httpx.AsyncClient, service: FakeModelService
) -> None:
    service.script = TOOL_TURN
    calls = (await ask(client, parallel_tool_calls=False))["choices"][0]["message"]["tool_calls"]
    assert [call["id"] for call in calls] == ["call_a"]


async def test_logprobs_have_bytes_and_alternatives_and_no_infinity(
    client: httpx.AsyncClient, service: FakeModelService
) -> None:
    service.script = [
        Started(0, 1),
        TextDelta(0, "é", (token("é", float("-inf"), others=["é", "e"]),)),
        Finished(0, "stop"),
        completed(1),
    ]
    body = await ask(client, logprobs=True, top_logprobs=2)
    assert service.requests[0].sampling.logprobs == 2
    assert body["choices"][0]["logprobs"] == {
        "content": [
            {
                "token": "é",
                "logprob": -9999.0,
                "bytes": [195, 169],
                "top_logprobs": [
                    {"token": "é", "logprob": -1.0, "bytes": [195, 169]},
                    {"token": "e", "logprob": -2.0, "bytes": [101]},
                ],
            }
        ],
        "refusal": None,
    }


async def test_logprobs_nobody_asked_for_are_not_sent(client: httpx.AsyncClient) -> None:
    assert (await ask(client))["choices"][0]["logprobs"] is None
    assert all(chunk["choices"][0]["logprobs"] is None for chunk in await ask(client, stream=True))


async def test_every_sampling_field_reaches_the_service(
    client: httpx.AsyncClient, service: FakeModelService
) -> None:
    await ask(
        client,
        temperature=0,
        top_p=0.5,
        top_k=3,
        min_p=0.1,
        repetition_penalty=1.5,
        presence_penalty=1,
        frequency_penalty=-1,
        logit_bias={"17": -100, "3": 2.5},
        seed=42,
        max_tokens=20,
        max_completion_tokens=7,
        min_tokens=2,
        stop="END",
        stop_token_ids=[9],
        ignore_eos=True,
        n=2,
        priority=-1,
        cache_salt="mine",
        timeout=2.5,
    )
    request = service.requests[0]
    sampling = request.sampling
    assert (sampling.temperature, sampling.top_p, sampling.top_k, sampling.min_p) == (0, 0.5, 3, 0.1)
    assert (sampling.repetition_penalty, sampling.presence_penalty, sampling.frequency_penalty) == (
        1.5,
        1,
        -1,
    )
    assert sampling.logit_bias == {17: -100, 3: 2.5}
    assert (sampling.seed, sampling.max_tokens, sampling.min_tokens, sampling.n) == (42, 7, 2, 2)
    assert (sampling.stop, sampling.stop_token_ids, sampling.ignore_eos) == (("END",), (9,), True)
    assert (request.model, request.priority, request.cache_salt, request.timeout_s) == (
        "default",
        -1,
        "mine",
        2.5,
    )


async def test_what_is_left_out_or_null_is_left_to_the_model(
    client: httpx.AsyncClient, service: FakeModelService
) -> None:
    nothing = dict.fromkeys(
        ("temperature", "top_p", "n", "stop", "seed", "logit_bias", "tools", "tool_choice", "user", "stream"),
        None,
    )
    await ask(client)
    await ask(client, **nothing)
    plain, nulled = service.requests
    assert plain.sampling == nulled.sampling
    assert plain.sampling.temperature is None
    assert plain.sampling.n == 1


async def test_the_conversation_is_decoded_turn_by_turn(
    client: httpx.AsyncClient, service: FakeModelService
) -> None:
    function = {"name": "weather", "description": "d", "parameters": {"type": "object"}}
    await ask(
        client,
        messages=[
            {"role": "system", "content": "be brief"},
            {
                "role": "user",
                "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}],
                "name": "x",
            },
            {
                "role": "assistant",
                "content": None,
                "reasoning_content": "hm",
                "tool_calls": [
                    {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"a":1}'}}
                ],
            },
            {"role": "tool", "tool_call_id": "c1", "content": "sunny"},
        ],
        tools=[{"type": "function", "function": function}],
        tool_choice="none",
        chat_template_kwargs={"style": "x"},
        enable_thinking=False,
        thinking_token_budget=7,
    )
    given = service.requests[0].input
    assert isinstance(given, ChatInput)
    assert given.messages == (
        Message("system", (Text("be brief"),)),
        Message("user", (Text("a"), Text("b")), name="x"),
        Message("assistant", (Reasoning("hm"), ToolCall("c1", "weather", '{"a":1}'))),
        Message("tool", (ToolResult("c1", "sunny"),)),
    )
    assert [(tool.name, tool.description, tool.parameters) for tool in given.tools] == [
        ("weather", "d", {"type": "object"})
    ]
    assert given.tool_choice.mode == "none"
    assert given.template_kwargs == {"style": "x", "enable_thinking": False}
    assert service.requests[0].thinking_budget == 7


@pytest.mark.requirement(55)
@pytest.mark.parametrize(
    ("effort", "variables"),
    [
        ("none", {"enable_thinking": False}),
        ("minimal", {"enable_thinking": False, "reasoning_effort": "low"}),
        ("low", {"enable_thinking": True, "reasoning_effort": "low"}),
        ("high", {"enable_thinking": True, "reasoning_effort": "high"}),
        ("max", {"enable_thinking": True, "reasoning_effort": "high"}),
    ],
)
async def test_reasoning_effort_is_told_to_the_template(
    client: httpx.AsyncClient, service: FakeModelService, effort: str, variables: dict[str, Any]
) -> None:
    await ask(client, reasoning_effort=effort)
    await ask(client, reasoning_effort=effort, enable_thinking=True, chat_template_kwargs={"x": 1})
    plain, told = [request.input for request in service.requests]
    assert isinstance(plain, ChatInput)
    assert isinstance(told, ChatInput)
    assert plain.template_kwargs == variables
    assert told.template_kwargs == variables | {"enable_thinking": True, "x": 1}


async def test_who_names_a_tier_hears_which_one_it_was(client: httpx.AsyncClient) -> None:
    assert (await ask(client, service_tier="priority"))["service_tier"] == "default"
    chunks = await ask(client, service_tier="auto", stream=True, stream_options={"include_usage": True})
    assert {chunk["service_tier"] for chunk in chunks} == {"default"}
    assert "service_tier" not in await ask(client)


@pytest.mark.requirement(88)
async def test_the_last_chunk_carries_the_timings(client: httpx.AsyncClient) -> None:
    options = {"include_usage": True, "include_obfuscation": False}
    chunks = await ask(client, stream=True, stream_options=options)
    assert chunks[-1]["metrics"] == (await ask(client))["metrics"]
    assert not any("metrics" in chunk for chunk in chunks[:-1])


async def test_several_rounds_of_calls_and_results_hold_together(
    client: httpx.AsyncClient, service: FakeModelService
) -> None:
    def calling(*ids: str) -> dict[str, Any]:
        function = {"name": "f", "arguments": "{}"}
        calls = [{"id": each, "type": "function", "function": function} for each in ids]
        return {"role": "assistant", "content": None, "tool_calls": calls}

    def result(call_id: str) -> dict[str, Any]:
        return {"role": "tool", "tool_call_id": call_id, "content": "x"}

    user = {"role": "user", "content": "hi"}
    # Ids may come back in a later round; some models count from 0 each time.
    rounds = [calling("a", "b"), result("b"), result("a"), calling("a"), result("a")]
    await ask(client, messages=[user, *rounds, user])
    given = service.requests[0].input
    assert isinstance(given, ChatInput)
    assert len(given.messages) == 7


async def test_unknown_and_idle_fields_are_tolerated(client: httpx.AsyncClient) -> None:
    await ask(
        client,
        user="u",
        metadata={"a": "b"},
        store=False,
        service_tier="auto",
        verbosity="low",
        prompt_cache_key="k",
        safety_identifier="s",
        response_format={"type": "text"},
        modalities=["text"],
        prediction={"type": "content", "content": "x"},
        prompt_cache_options={"mode": "implicit"},
        prompt_cache_retention="24h",
        something_new={"deep": [1]},
        functions=None,
        tools=[],
        parallel_tool_calls=True,
    )


async def test_the_answer_names_the_request(client: httpx.AsyncClient, service: FakeModelService) -> None:
    response = await client.post("/v1/chat/completions", json=HELLO)
    assert response.headers["x-request-id"] == service.requests[0].request_id
