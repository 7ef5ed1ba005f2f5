"""POST /v1/messages: what reaches the service, and what comes back, streamed and whole."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from tests.fakes.service import FakeModelService, completed, spoken
from tests.fakes.wire import named_events

from vllm_mlx.core.events import Finished, ReasoningDelta, Started, TextDelta, ToolCallDelta, ToolCallStart
from vllm_mlx.core.messages import Message, Reasoning, Text, ToolCall, ToolResult
from vllm_mlx.core.requests import ChatInput, GenerateRequest
from vllm_mlx.core.tools import ToolChoice, ToolSpec

pytestmark = [pytest.mark.anyio, pytest.mark.requirement(39)]

HI = {"role": "user", "content": "hi"}
BODY: dict[str, Any] = {"model": "default", "max_tokens": 2048, "messages": [HI]}
THOUGHT_AND_CALLS = [
    Started(0, 5, 3),
    ReasoningDelta(0, "h"),
    ReasoningDelta(0, "m"),
    TextDelta(0, "I "),
    TextDelta(0, "look."),
    ToolCallStart(0, 0, "call_1", "f"),
    ToolCallDelta(0, 0, '{"a":'),
    ToolCallDelta(0, 0, "1}"),
    ToolCallStart(0, 1, "call_2", "g"),
    Finished(0, "tool_calls"),
    completed(7),
]


def opened(index: int, **block: Any) -> dict[str, Any]:
    return {"type": "content_block_start", "index": index, "content_block": block}


def more(index: int, **delta: Any) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": delta}


def closed(index: int) -> dict[str, Any]:
    return {"type": "content_block_stop", "index": index}


async def asked(client: httpx.AsyncClient, service: FakeModelService, **fields: Any) -> GenerateRequest:
    """The request that the service sees of a body."""
    response = await client.post("/v1/messages", json=BODY | fields)
    assert response.status_code == 200, response.text
    return service.requests[-1]


async def turns(client: httpx.AsyncClient, service: FakeModelService, **fields: Any) -> tuple[Message, ...]:
    prompt = (await asked(client, service, **fields)).input
    assert isinstance(prompt, ChatInput)
    return prompt.messages


async def test_sampling_and_stops_reach_the_service(
    client: httpx.AsyncClient, service: FakeModelService
) -> None:
    fields = {"temperature": 0.5, "top_p": 0.9, "top_k": 7, "stop_sequences": ["a", "b"], "max_tokens": 9}
    sampling = (await asked(client, service, **fields)).sampling
    assert (sampling.temperature, sampling.top_p, sampling.top_k) == (0.5, 0.9, 7)
    assert (sampling.stop, sampling.max_tokens, sampling.n) == (("a", "b"), 9, 1)


async def test_what_other_clients_send_is_tolerated(
    client: httpx.AsyncClient, service: FakeModelService
) -> None:
    body = BODY | {
        "metadata": {"user_id": "u"},
        "service_tier": "auto",
        "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
        "cache_control": {"type": "ephemeral"},
        "mcp_servers": [],
        "new_field": 1,
    }
    headers = {"anthropic-version": "2023-06-01", "anthropic-beta": "a-2025-01-01,b", "x-api-key": "any"}
    response = await client.post("/v1/messages?beta=true", json=body, headers=headers)
    assert response.status_code == 200
    assert response.headers["request-id"].startswith("req_")


async def test_a_system_prompt_is_text_or_blocks(
    client: httpx.AsyncClient, service: FakeModelService
) -> None:
    user = Message("user", (Text("hi"),))
    assert await turns(client, service, system="Be kind.") == (Message("system", (Text("Be kind."),)), user)
    blocks = [
        {"type": "text", "text": "Be kind.", "cache_control": {"type": "ephemeral"}},
        {"type": "text", "text": "Be brief."},
    ]
    assert (await turns(client, service, system=blocks))[0].text() == "Be kind.\n\nBe brief."
    assert await turns(client, service, system="") == await turns(client, service, system=[]) == (user,)


async def test_the_changing_first_line_of_claude_code_is_not_part_of_the_prompt(
    client: httpx.AsyncClient, service: FakeModelService
) -> None:
    line = "x-anthropic-billing-header: cc_version=2.1; cch=1f2e3;"
    for system in (
        [{"type": "text", "text": line}, {"type": "text", "text": "Be kind."}],
        line + "\n\nBe kind.",
    ):
        assert (await turns(client, service, system=system))[0].text() == "Be kind."


async def test_a_conversation_with_tools_and_thoughts(
    client: httpx.AsyncClient, service: FakeModelService
) -> None:
    messages = [
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "hm", "signature": "s"},
                {"type": "redacted_thinking", "data": "xyz"},
                {"type": "text", "text": "I look."},
                {"type": "tool_use", "id": "t1", "name": "f", "input": {"a": 1}},
                {"type": "tool_use", "id": "t2", "name": "g", "input": {}},
            ],
        },
        {
            "role": "user",
            "content": [
                {
                    "type": "tool_result",
                    "tool_use_id": "t1",
                    "content": [{"type": "text", "text": "x"}, {"type": "text", "text": "y"}],
                },
                {"type": "tool_result", "tool_use_id": "t2", "content": "no such g", "is_error": True},
                {"type": "text", "text": "go on"},
            ],
        },
    ]
    assert await turns(client, service, messages=messages) == (
        Message("user", (Text("a\n\nb"),)),
        Message(
            "assistant",
            (
                Reasoning("hm"),
                Text("I look."),
                ToolCall("t1", "f", '{"a":1}'),
                ToolCall("t2", "g", "{}"),
            ),
        ),
        Message("user", (ToolResult("t1", "x\n\ny"), ToolResult("t2", "Error: no such g"), Text("go on"))),
    )


async def test_turns_of_one_role_in_a_row_are_one_turn(
    client: httpx.AsyncClient, service: FakeModelService
) -> None:
    messages = [HI, {"role": "user", "content": "there"}]
    assert await turns(client, service, messages=messages) == (Message("user", (Text("hi\n\nthere"),)),)


async def test_a_last_turn_of_the_assistant_is_continued(
    client: httpx.AsyncClient, service: FakeModelService
) -> None:
    prompt = (await asked(client, service, messages=[HI, {"role": "assistant", "content": "I am"}])).input
    assert isinstance(prompt, ChatInput)
    assert prompt.continue_final_message
    for empty in ("", [], [{"type": "text", "text": ""}]):
        request = await asked(client, service, messages=[HI, {"role": "assistant", "content": empty}])
        assert request.input == (await asked(client, service)).input


async def test_tools_and_their_choice(client: httpx.AsyncClient, service: FakeModelService) -> None:
    schema = {"type": "object"}
    tools = [
        {
            "name": "f",
            "description": "does f",
            "input_schema": schema,
            "cache_control": {"type": "ephemeral"},
        },
        {"type": "custom", "name": "g", "input_schema": schema},
    ]
    prompt = (await asked(client, service, tools=tools, tool_choice={"type": "none"})).input
    assert isinstance(prompt, ChatInput)
    assert prompt.tools == (ToolSpec("f", "does f", schema), ToolSpec("g", None, schema))
    assert prompt.tool_choice == ToolChoice("none")
    for choice, decoded in [
        ({"type": "auto", "disable_parallel_tool_use": False}, ToolChoice("auto")),
        ({"type": "any"}, ToolChoice("required")),
        ({"type": "tool", "name": "g"}, ToolChoice("named", "g")),
    ]:
        prompt = (await asked(client, service, tools=tools, tool_choice=choice)).input
        assert isinstance(prompt, ChatInput)
        assert (prompt.tool_choice, prompt.parallel_tool_calls) == (decoded, True)


@pytest.mark.parametrize(
    ("fields", "variables"),
    [
        ({}, {"enable_thinking": False}),
        ({"thinking": {"type": "disabled"}}, {"enable_thinking": False}),
        ({"thinking": {"type": "adaptive"}}, {"enable_thinking": True}),
        (
            {"thinking": {"type": "enabled", "budget_tokens": 1024}},
            {"enable_thinking": True, "thinking_budget": 1024},
        ),
        ({"output_config": {"effort": "low"}}, {"enable_thinking": False, "reasoning_effort": "low"}),
        ({"output_config": {"effort": "max"}}, {"enable_thinking": False, "reasoning_effort": "high"}),
        ({"chat_template_kwargs": {"enable_thinking": True, "x": 1}}, {"enable_thinking": True, "x": 1}),
    ],
)
@pytest.mark.requirement(55)
async def test_thinking_is_a_matter_of_the_template(
    client: httpx.AsyncClient, service: FakeModelService, fields: dict[str, Any], variables: dict[str, Any]
) -> None:
    prompt = (await asked(client, service, **fields)).input
    assert isinstance(prompt, ChatInput)
    assert prompt.template_kwargs == variables


async def test_a_whole_message(client: httpx.AsyncClient) -> None:
    message = (await client.post("/v1/messages", json=BODY)).json()
    assert message.pop("id").startswith("msg_")
    assert message == {
        "type": "message",
        "role": "assistant",
        "model": "org/tiny",
        "content": [{"type": "text", "text": "hello big world"}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {
            "input_tokens": 2,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 3,
            "output_tokens": 3,
            "output_tokens_details": {"thinking_tokens": 1},
        },
    }


@pytest.mark.parametrize(
    ("finished", "reason", "sequence"),
    [
        (Finished(0, "stop"), "end_turn", None),
        (Finished(0, "stop", "END"), "stop_sequence", "END"),
        (Finished(0, "length"), "max_tokens", None),
        (Finished(0, "tool_calls"), "tool_use", None),
        (Finished(0, "tool_calls", "END"), "tool_use", None),
    ],
)
async def test_each_end_has_its_reason(
    client: httpx.AsyncClient,
    service: FakeModelService,
    finished: Finished,
    reason: str,
    sequence: str | None,
) -> None:
    service.script = [Started(0, 5), finished, completed(2048)]
    message = (await client.post("/v1/messages", json=BODY)).json()
    assert (message["stop_reason"], message["stop_sequence"], message["content"]) == (reason, sequence, [])


async def test_an_answer_cut_before_its_limit_met_the_end_of_the_context(
    client: httpx.AsyncClient, service: FakeModelService
) -> None:
    service.script = [Started(0, 5), Finished(0, "length"), completed(2047)]
    message = (await client.post("/v1/messages", json=BODY)).json()
    assert message["stop_reason"] == "model_context_window_exceeded"
    assert service.requests[-1].cut_to_context


async def test_a_stream_has_anthropics_events_in_order(
    client: httpx.AsyncClient, service: FakeModelService
) -> None:
    service.script = THOUGHT_AND_CALLS
    response = await client.post("/v1/messages", json=BODY | {"stream": True})
    assert response.headers["content-type"].startswith("text/event-stream")
    start, *events = named_events(response.text)
    assert start["message"]["content"] == []
    assert start["message"]["stop_reason"] is None
    assert start["message"]["usage"]["input_tokens"] == 2
    assert start["message"]["usage"]["cache_read_input_tokens"] == 3
    signature = events[4]["delta"].pop("signature")
    assert signature

    assert events == [
        {"type": "ping"},
        opened(0, type="thinking", thinking="", signature=""),
        more(0, type="thinking_delta", thinking="h"),
        more(0, type="thinking_delta", thinking="m"),
        more(0, type="signature_delta"),
        closed(0),
        opened(1, type="text", text=""),
        more(1, type="text_delta", text="I "),
        more(1, type="text_delta", text="look."),
        closed(1),
        opened(2, type="tool_use", id="call_1", name="f", input={}),
        more(2, type="input_json_delta", partial_json='{"a":'),
        more(2, type="input_json_delta", partial_json="1}"),
        closed(2),
        opened(3, type="tool_use", id="call_2", name="g", input={}),
        closed(3),
        {
            "type": "message_delta",
            "delta": {"stop_reason": "tool_use", "stop_sequence": None},
            "usage": {
                "input_tokens": 2,
                "cache_read_input_tokens": 3,
                "cache_creation_input_tokens": 0,
                "output_tokens": 7,
                "output_tokens_details": {"thinking_tokens": 1},
            },
        },
        {"type": "message_stop"},
    ]
    whole = (await client.post("/v1/messages", json=BODY)).json()
    assert whole["content"] == [
        {"type": "thinking", "thinking": "hm", "signature": signature},
        {"type": "text", "text": "I look."},
        {"type": "tool_use", "id": "call_1", "name": "f", "input": {"a": 1}},
        {"type": "tool_use", "id": "call_2", "name": "g", "input": {}},
    ]
    assert whole["usage"] == events[-2]["usage"]


async def test_only_the_first_call_is_shown_to_who_wants_one_at_a_time(
    client: httpx.AsyncClient, service: FakeModelService
) -> None:
    service.script = THOUGHT_AND_CALLS
    choice = {"type": "auto", "disable_parallel_tool_use": True}
    message = (await client.post("/v1/messages", json=BODY | {"tool_choice": choice})).json()
    prompt = service.requests[-1].input
    assert isinstance(prompt, ChatInput)
    assert not prompt.parallel_tool_calls
    assert [block["id"] for block in message["content"] if block["type"] == "tool_use"] == ["call_1"]


@pytest.mark.parametrize("arguments", ['{"a": "cut', "", "[1]", "3", f'{{"a": {"[" * 3000}{"]" * 3000}}}'])
async def test_a_call_without_a_whole_object_has_no_input(
    client: httpx.AsyncClient, service: FakeModelService, arguments: str
) -> None:
    call = [ToolCallStart(0, 0, "c", "f"), ToolCallDelta(0, 0, arguments)]
    service.script = [Started(0, 5), *call, Finished(0, "length"), completed(2048)]
    message = (await client.post("/v1/messages", json=BODY)).json()
    assert (message["content"][0]["input"], message["stop_reason"]) == ({}, "max_tokens")


async def test_a_hidden_thought_comes_back_with_the_next_turn(
    client: httpx.AsyncClient, service: FakeModelService
) -> None:
    service.script = [Started(0, 5), ReasoningDelta(0, "hm 日本"), *spoken("So.")[1:], completed()]
    body = BODY | {"thinking": {"type": "adaptive", "display": "omitted"}}
    answer = (await client.post("/v1/messages", json=body)).json()
    assert [block.get("thinking") for block in answer["content"]] == ["", None]
    streamed = await client.post("/v1/messages", json=body | {"stream": True})
    assert "hm" not in streamed.text
    again = [HI, {"role": "assistant", "content": answer["content"]}, HI]
    assert (await turns(client, service, messages=again))[1].parts == (Reasoning("hm 日本"), Text("So."))
    for foreign in ("", "EqQBCgIYAhIM", "vllm-mlx-sealed.%%%", "vllm-mlx-sealed./w=="):
        block = {"type": "thinking", "thinking": "", "signature": foreign}
        messages = [HI, {"role": "assistant", "content": [block, {"type": "text", "text": "So."}]}, HI]
        assert (await turns(client, service, messages=messages))[1].parts == (Text("So."),)


async def test_count_tokens_counts_the_same_prompt(
    client: httpx.AsyncClient, service: FakeModelService
) -> None:
    body = BODY | {
        "system": "Be kind.",
        "tools": [{"name": "f", "input_schema": {"type": "object"}}],
        "thinking": {"type": "enabled", "budget_tokens": 1024},
    }
    request = await asked(client, service, **body)
    body.pop("max_tokens")
    response = await client.post("/v1/messages/count_tokens?beta=true", json=body)
    assert response.json() == {"input_tokens": 3}
    assert response.headers["request-id"].startswith("req_")
    assert service.tokenized == [(request.input, True)]
