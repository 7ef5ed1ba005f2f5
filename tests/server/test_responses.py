"""POST /v1/responses: what reaches the service, and what comes back, streamed and whole."""

from __future__ import annotations

from typing import Any

import anyio
import httpx
import openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel
from tests.fakes.responses import asked, checked_events, kinds, prompt, streamed, whole
from tests.fakes.service import FakeModelService, completed, spoken, token

from vllm_mlx.config import ServerConfig
from vllm_mlx.core.constraints import JsonSchema
from vllm_mlx.core.errors import ContextOverflow
from vllm_mlx.core.events import Finished, ReasoningDelta, Started, TextDelta, ToolCallDelta, ToolCallStart
from vllm_mlx.core.messages import Message, Reasoning, Text
from vllm_mlx.core.requests import ChatInput
from vllm_mlx.core.tools import ToolChoice
from vllm_mlx.server.app import create_app
from vllm_mlx.server.responses.answer import Framer, StreamedAnswer
from vllm_mlx.server.responses.decode import opening
from vllm_mlx.server.responses.encode import ResponsesEncoder, Shown
from vllm_mlx.server.responses.schema import ResponsesRequest
from vllm_mlx.server.responses.tools_decode import Toolbox

pytestmark = [pytest.mark.anyio, pytest.mark.requirement(38)]

F = {"type": "function", "name": "f", "description": "d", "parameters": {"type": "object"}, "strict": True}
G = {"type": "function", "name": "g"}
AGENTS = {"type": "namespace", "name": "agents", "description": "Helpers", "tools": [G]}
THOUGHT_AND_CALLS = [
    Started(0, 5, 3),
    ReasoningDelta(0, "h"),
    ReasoningDelta(0, "m"),
    TextDelta(0, "I "),
    TextDelta(0, "look."),
    ToolCallStart(0, 0, "call_1", "f"),
    ToolCallDelta(0, 0, '{"a":'),
    ToolCallDelta(0, 0, "1}"),
    ToolCallStart(0, 1, "call_2", "agents__g"),
    Finished(0, "tool_calls"),
    completed(7),
]


async def test_a_stream_has_openais_events_in_openais_order(
    client: httpx.AsyncClient, service: FakeModelService
) -> None:
    service.script = THOUGHT_AND_CALLS
    events = await streamed(client, tools=[F, AGENTS])
    assert kinds(events) == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "reasoning_text.delta",
        "reasoning_text.delta",
        "reasoning_text.done",
        "content_part.done",
        "output_item.done",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
        "output_item.added",
        "function_call_arguments.done",
        "output_item.done",
        "completed",
    ]


def without_ids(items: list[Any]) -> list[Any]:
    assert len({item.pop("id") for item in items}) == len(items)
    return items


async def test_a_whole_answer_is_what_its_stream_adds_up_to(
    client: httpx.AsyncClient, service: FakeModelService
) -> None:
    service.script = THOUGHT_AND_CALLS
    answer = await whole(client, tools=[F, AGENTS])
    last = (await streamed(client, tools=[F, AGENTS]))[-1]["response"]
    assert without_ids(answer["output"]) == without_ids(last["output"])
    assert answer["output"] == [
        {
            "type": "reasoning",
            "status": "completed",
            "summary": [],
            "content": [{"type": "reasoning_text", "text": "hm"}],
        },
        {
            "type": "message",
            "status": "completed",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "I look.", "annotations": [], "logprobs": []}],
        },
        {
            "type": "function_call",
            "status": "completed",
            "call_id": "call_1",
            "name": "f",
            "arguments": '{"a":1}',
        },
        {
            "type": "function_call",
            "status": "completed",
            "call_id": "call_2",
            "namespace": "agents",
            "name": "g",
            "arguments": "",
        },
    ]
    assert answer["usage"] == {
        "input_tokens": 5,
        "input_tokens_details": {"cached_tokens": 3, "cache_write_tokens": 0},
        "output_tokens": 7,
        "output_tokens_details": {"reasoning_tokens": 1},
        "total_tokens": 12,
    }
    assert (answer["status"], answer["incomplete_details"], answer["error"]) == ("completed", None, None)
    assert answer["completed_at"] >= answer["created_at"] > 0


PIECES = st.lists(st.tuples(st.sampled_from(["text", "thought", "call"]), st.text(max_size=4)), max_size=12)


SERVICE = FakeModelService()
APP = create_app(SERVICE, ServerConfig())


@settings(max_examples=50, deadline=None)
@given(PIECES, st.booleans(), st.booleans())
def test_any_chunking_adds_up(pieces: list[tuple[str, str]], summaries: bool, padded: bool) -> None:
    script: list[Any] = [Started(0, 5)]
    expected: list[tuple[str, str]] = []
    calls = 0
    for kind, piece in pieces:
        if kind == "call":
            script += [ToolCallStart(0, calls, f"c{calls}", "f"), ToolCallDelta(0, calls, piece)]
            expected.append(("function_call", piece))
            calls += 1
            continue
        script.append(TextDelta(0, piece) if kind == "text" else ReasoningDelta(0, piece))
        item = "message" if kind == "text" else "reasoning"
        if piece and expected and expected[-1][0] == item:
            expected[-1] = (item, expected[-1][1] + piece)
        elif piece:
            expected.append((item, piece))
    SERVICE.script = [*script, Finished(0, "stop"), completed()]

    async def ask() -> list[Any]:
        transport = httpx.ASGITransport(APP)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            return await streamed(
                client,
                reasoning={"summary": "auto"} if summaries else None,
                stream_options={"include_obfuscation": padded},
            )

    events = anyio.run(ask)
    assert [(item["type"], said(item)) for item in events[-1]["response"]["output"]] == expected
    deltas = [event for event in events if event["type"].endswith(".delta")]
    assert all(("obfuscation" in event) == padded for event in deltas)
    if padded:
        assert all(len((e["delta"] + e["obfuscation"]).encode()) % 16 == 0 for e in deltas)


def said(item: dict[str, Any]) -> str:
    if item["type"] == "function_call":
        return str(item["arguments"])
    return "".join(part["text"] for part in [*item.get("summary", []), *item.get("content", [])])


async def test_a_thought_is_its_own_summary_where_summaries_are_asked_for(
    client: httpx.AsyncClient, service: FakeModelService
) -> None:
    service.script = [Started(0, 5), ReasoningDelta(0, "hm"), *spoken("yes")[1:], completed()]
    events = await streamed(client, reasoning={"summary": "auto", "effort": "low"})
    assert kinds(events)[2:8] == [
        "output_item.added",
        "reasoning_summary_part.added",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.done",
        "reasoning_summary_part.done",
        "output_item.done",
    ]
    answer = events[-1]["response"]
    assert answer["output"][0]["summary"] == [{"type": "summary_text", "text": "hm"}]
    assert "content" not in answer["output"][0]
    assert answer["reasoning"] == {"effort": "low", "summary": "auto"}
    chat = service.requests[-1].input
    assert isinstance(chat, ChatInput)
    assert chat.template_kwargs == {"enable_thinking": True, "reasoning_effort": "low"}


@pytest.mark.parametrize("summary", [None, "detailed"])
async def test_a_sealed_thought_goes_back_as_it_was(
    client: httpx.AsyncClient, service: FakeModelService, summary: str | None
) -> None:
    service.script = [Started(0, 5), ReasoningDelta(0, "höm"), *spoken("yes")[1:], completed()]
    answer = await whole(
        client, include=["reasoning.encrypted_content"], store=False, reasoning={"summary": summary}
    )
    thought, message = answer["output"]
    assert "höm" not in thought["encrypted_content"]
    # A client that keeps nothing else of it.
    kept = {"type": "reasoning", "summary": [], "encrypted_content": thought["encrypted_content"]}
    chat = await prompt(client, service, input=[{"role": "user", "content": "hi"}, kept, message])
    assert chat.messages[1] == Message("assistant", (Reasoning("höm"), Text("yes")))


async def test_one_call_at_most(client: httpx.AsyncClient, service: FakeModelService) -> None:
    service.script = THOUGHT_AND_CALLS
    answer = await whole(client, tools=[F, AGENTS], parallel_tool_calls=False)
    calls = [item["name"] for item in answer["output"] if item["type"] == "function_call"]
    assert (calls, answer["parallel_tool_calls"]) == (["f"], False)
    chat = service.requests[-1].input
    assert isinstance(chat, ChatInput)
    assert chat.parallel_tool_calls is False


async def test_what_the_answer_repeats_and_what_changes_nothing(
    client: httpx.AsyncClient, service: FakeModelService
) -> None:
    plain = await asked(client, service)
    fields: dict[str, Any] = {
        "metadata": {"a": "b"},
        "user": "u",
        "safety_identifier": "s",
        "prompt_cache_key": "k",
        "truncation": "disabled",
        "max_tool_calls": 3,
        "instructions": None,
    }
    answer = await whole(client, service_tier="auto", client_metadata={"x": "y"}, **fields)
    assert {name: answer[name] for name in fields} == fields
    assert (answer["service_tier"], answer["background"]) == ("default", False)
    request = service.requests[-1]
    assert (request.input, request.sampling, request.cache_salt) == (plain.input, plain.sampling, "")


async def test_logprobs_come_where_they_are_included(
    client: httpx.AsyncClient, service: FakeModelService
) -> None:
    service.script = [
        Started(0, 5),
        TextDelta(0, "a", (token("a", others=["a", "x"]),)),
        TextDelta(0, "", (token("b", float("-inf")),)),
        Finished(0, "stop"),
        completed(),
    ]
    include = ["message.output_text.logprobs"]
    events = await streamed(client, include=include, top_logprobs=2)
    assert service.requests[-1].sampling.logprobs == 2
    deltas = [event for event in events if event["type"].endswith(".delta")]
    part = events[-1]["response"]["output"][0]["content"][0]
    assert [entry for event in deltas for entry in event["logprobs"]] == part["logprobs"]
    assert [entry["token"] for entry in part["logprobs"]] == ["a", "b"]
    assert [other["token"] for other in part["logprobs"][0]["top_logprobs"]] == ["a", "x"]
    assert part["logprobs"][1]["logprob"] == -9999.0
    answer = await whole(client)
    assert answer["output"][0]["content"][0]["logprobs"] == []


@pytest.mark.parametrize("stream", [True, False])
async def test_an_answer_that_is_cut_is_incomplete(
    client: httpx.AsyncClient, service: FakeModelService, stream: bool
) -> None:
    service.script = [
        Started(0, 5),
        ReasoningDelta(0, "hm"),
        TextDelta(0, "a"),
        Finished(0, "length"),
        completed(),
    ]
    answer = (await streamed(client))[-1]["response"] if stream else await whole(client)
    assert answer["status"] == "incomplete"
    assert answer["incomplete_details"] == {"reason": "max_output_tokens"}
    assert [item["status"] for item in answer["output"]] == ["completed", "incomplete"]
    assert answer["usage"]["output_tokens"] == 2


async def test_an_answer_of_nothing_is_whole(client: httpx.AsyncClient, service: FakeModelService) -> None:
    service.script = [Started(0, 5), Finished(0, "stop"), completed(0)]
    assert (await streamed(client))[-1]["response"]["output"] == []


class Person(BaseModel):
    name: str
    age: int


def test_the_clients_own_parser_gets_what_it_asks_for(sdk: openai.OpenAI, service: FakeModelService) -> None:
    service.script = [*spoken('{"name": "Ada", "age": 36}'), completed()]
    answer = sdk.responses.parse(model="default", input="Who?", text_format=Person)
    assert answer.output_parsed == Person(name="Ada", age=36)
    with sdk.responses.stream(model="default", input="Who?", text_format=Person) as stream:
        assert stream.get_final_response().output_parsed == answer.output_parsed
    constraint = service.requests[-1].constraint
    assert isinstance(constraint, JsonSchema)
    assert isinstance(constraint.schema, dict)
    assert set(constraint.schema["properties"]) == {"name", "age"}
    assert constraint.name == "Person"


def test_a_stream_that_fails_before_its_first_event_begins_all_the_same() -> None:
    """Signs of life may have been sent by then."""
    response = opening(ResponsesRequest(input="hi"), "resp_1", "m", stored=False)
    encoder = ResponsesEncoder(response, Toolbox((), ToolChoice(), {}), Shown())
    answer = StreamedAnswer(encoder, Framer(), lambda _: None)
    events = checked_events(answer.failed(ContextOverflow("too long")).decode())
    assert kinds(events) == ["created", "in_progress", "failed"]
