"""Tools that this server runs in the middle of an answer of the Responses and the Messages API."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anthropic
import httpx
import openai
import pytest
from tests.e2e.server import LIMIT_S, in_thread
from tests.fakes.service import FakeModelService, completed, spoken
from tests.fakes.tools import FakeToolService

from vllm_mlx.config import ServerConfig
from vllm_mlx.core.errors import InternalError
from vllm_mlx.core.events import (
    Finished,
    Started,
    TextDelta,
    ToolCallDelta,
    ToolCallStart,
    ToolRunStarted,
)
from vllm_mlx.core.messages import Message, Text, ToolCall, ToolResult
from vllm_mlx.core.requests import ChatInput
from vllm_mlx.core.tools import ToolChoice
from vllm_mlx.server.app import create_app
from vllm_mlx.server.responses.decode import opening
from vllm_mlx.server.responses.encode import ResponsesEncoder, Shown
from vllm_mlx.server.responses.schema import ResponsesRequest
from vllm_mlx.server.responses.tools_decode import Toolbox
from vllm_mlx.server.responses.wire import Failed, ItemDone
from vllm_mlx.service.tool_loop import LoopLimits, ToolLoop

pytestmark = [pytest.mark.anyio, pytest.mark.requirement(38, 39, 64)]

CALLS = [
    Started(0, 5, 3),
    TextDelta(0, "Let me see."),
    ToolCallStart(0, 0, "call_1", "box__t"),
    ToolCallDelta(0, 0, '{"a":1}'),
    ToolCallStart(0, 1, "call_2", "box__fails"),
    ToolCallDelta(0, 1, "{}"),
    Finished(0, "tool_calls"),
    completed(2),
]
SAY = [*spoken("It is 5."), completed(3)]
RESPONSES = {"input": "hi"}
MESSAGES = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 64}
BOTH = [("/v1/responses", RESPONSES), ("/v1/messages", MESSAGES)]


def model(*turns: Any) -> FakeModelService:
    left = iter(turns or (CALLS, SAY, SAY))
    return FakeModelService(lambda _: next(left))


def tools() -> FakeToolService:
    return FakeToolService({"t": "5 o'clock", "fails": InternalError("It broke.")})


@asynccontextmanager
async def client(
    service: FakeModelService, *, always: bool = False, limits: LoopLimits | None = None
) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(service, ServerConfig(), tool_loop=ToolLoop(tools(), limits, always=always))
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://127.0.0.1", timeout=LIMIT_S
    ) as http:
        yield http


def turns(service: FakeModelService, place: int) -> tuple[Message, ...]:
    chat = service.requests[place].input
    assert isinstance(chat, ChatInput)
    return chat.messages


def without_ids(item: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in item.items() if name != "id"}


async def test_a_response_holds_the_calls_that_were_run_as_items() -> None:
    service = model()
    async with client(service) as http:
        body = (await http.post("/v1/responses", json={**RESPONSES, "mcp_tools": True})).json()
        first, ran, failed, last = body["output"]
        assert [first["content"][0]["text"], last["content"][0]["text"]] == ["Let me see.", "It is 5."]
        assert without_ids(ran) == {
            "type": "mcp_call",
            "name": "box__t",
            "server_label": "box",
            "arguments": '{"a":1}',
            "status": "completed",
            "output": "5 o'clock",
            "error": None,
        }
        assert (failed["status"], failed["output"]) == ("failed", None)
        assert failed["error"] == {"type": "mcp_tool_execution_error", "content": "It broke."}
        assert (body["status"], body["usage"]["output_tokens"]) == ("completed", 5)
        # The next answer reads them as calls and results, from the store and from the client alike.
        more = {"previous_response_id": body["id"], "input": "and now?"}
        own = {"input": [*body["output"], {"role": "user", "content": "and now?"}], "store": False}
        for asked in (more, own):
            service.script = lambda _: SAY
            assert (await http.post("/v1/responses", json=asked)).status_code == 200
            said = [part for turn in turns(service, -1) for part in turn.parts]
            assert ToolCall(ran["id"], "box__t", '{"a":1}') in said
            assert ToolResult(ran["id"], "5 o'clock") in said
            assert ToolResult(failed["id"], "It broke.") in said
        listed = (await http.get(f"/v1/responses/{body['id']}")).json()
        assert listed["output"] == body["output"]


def test_the_official_sdk_streams_a_response_with_tools_and_streams_it_again() -> None:
    with (
        in_thread(model(), tool_loop=ToolLoop(tools())) as url,
        openai.OpenAI(base_url=url + "/v1", api_key="x", max_retries=0, timeout=LIMIT_S) as sdk,
    ):
        events = list(
            sdk.responses.create(model="default", input="hi", stream=True, extra_body={"mcp_tools": ["box"]})
        )
        whole = events[-1].response
        again = list(sdk.responses.retrieve(whole.id, stream=True))
    kinds = [event.type.removeprefix("response.") for event in events if "mcp" in event.type]
    begun = ["mcp_call.in_progress", "mcp_call_arguments.delta", "mcp_call_arguments.done"]
    assert kinds[:6] == begun * 2
    assert sorted(kinds[6:]) == ["mcp_call.completed", "mcp_call.failed"]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    for told in (events, again):
        done = {event.output_index: event.item for event in told if event.type.endswith("item.done")}
        assert [done[i] for i in range(4)] == whole.output
    assert [item.type for item in whole.output] == ["message", "mcp_call", "mcp_call", "message"]


def shown(content: list[Any]) -> list[str]:
    """The blocks without what the SDK adds; two tools that run side by side are done in any order."""
    return sorted(block.model_dump_json(exclude={"parsed_output"}) for block in content)


def test_the_official_sdk_builds_a_message_of_what_was_run() -> None:
    service = model()
    with (
        in_thread(service, tool_loop=ToolLoop(tools())) as url,
        anthropic.Anthropic(base_url=url, api_key="x", max_retries=0, timeout=LIMIT_S) as sdk,
    ):
        asked: dict[str, Any] = {"model": "default", **MESSAGES, "extra_body": {"mcp_tools": True}}
        with sdk.beta.messages.stream(**asked) as stream:
            streamed = stream.get_final_message()
        left = iter((CALLS, SAY, SAY))
        service.script = lambda _: next(left)
        whole = sdk.beta.messages.create(**asked)
        assert shown(streamed.content) == shown(whole.content)
        sdk.beta.messages.create(
            model="default",
            max_tokens=8,
            messages=[
                *MESSAGES["messages"],
                {"role": "assistant", "content": whole.content},
                {"role": "user", "content": "and now?"},
            ],
        )
    text, call, other, *results, last = whole.content
    assert (text.text, last.text, whole.stop_reason) == ("Let me see.", "It is 5.", "end_turn")
    assert (call.type, call.id, call.name, call.server_name, call.input) == (
        *("mcp_tool_use", "call_1", "box__t", "box"),
        {"a": 1},
    )
    assert other.input == {}
    found = {block.tool_use_id: (block.content[0].text, block.is_error) for block in results}
    assert found == {"call_1": ("5 o'clock", False), "call_2": ("It broke.", True)}
    hi, said, answered, then, now = turns(service, -1)
    assert [turn.role for turn in (hi, said, answered, then, now)] == [
        *("user", "assistant", "user", "assistant", "user")
    ]
    assert said.parts == (
        *(Text("Let me see."), ToolCall("call_1", "box__t", '{"a":1}')),
        ToolCall("call_2", "box__fails", "{}"),
    )
    assert set(answered.parts) == {
        ToolResult("call_1", "5 o'clock"),
        ToolResult("call_2", "Error: It broke."),
    }
    assert (then.parts, now.parts) == ((Text("It is 5."),), (Text("and now?"),))


@pytest.mark.parametrize(("path", "body"), BOTH)
async def test_calls_beyond_a_limit_are_left_to_the_client(path: str, body: dict[str, Any]) -> None:
    async with client(model(CALLS), limits=LoopLimits(max_turns=1)) as http:
        answer = (await http.post(path, json={**body, "mcp_tools": True})).json()
    kinds = [part["type"] for part in answer.get("output") or answer["content"]]
    assert kinds in (["message", "function_call", "function_call"], ["text", "tool_use", "tool_use"])


@pytest.mark.parametrize(("path", "body"), BOTH)
async def test_tools_can_be_offered_without_asking_and_declined(path: str, body: dict[str, Any]) -> None:
    for more, offered in (({}, 2), ({"mcp_tools": False}, 0)):
        service = model(SAY)
        async with client(service, always=True) as http:
            assert (await http.post(path, json={**body, **more})).status_code == 200
        chat = service.requests[0].input
        assert isinstance(chat, ChatInput)
        assert len(chat.tools) == offered


@pytest.mark.parametrize(
    ("path", "body", "choice"),
    [
        ("/v1/responses", RESPONSES, {"type": "function", "name": "box__t"}),
        ("/v1/messages", MESSAGES, {"type": "tool", "name": "box__t"}),
    ],
)
@pytest.mark.parametrize("always", [False, True])
async def test_a_tool_of_a_server_may_be_the_one_that_must_be_called(
    path: str, body: dict[str, Any], choice: Any, *, always: bool
) -> None:
    service = model()
    async with client(service, always=always) as http:
        asked = {**body, "tool_choice": choice} | ({} if always else {"mcp_tools": True})
        assert (await http.post(path, json=asked)).status_code == 200
        chosen = [request.input.tool_choice for request in service.requests]  # type: ignore[union-attr]
        assert chosen == [ToolChoice("named", "box__t"), ToolChoice()]
        refused = await http.post(path, json={**asked, "tool_choice": {**choice, "name": "box__u"}})
        assert refused.status_code == 400
        assert "box__u" in json.dumps(refused.json()["error"])


async def test_the_tools_that_are_left_to_a_response_may_be_a_servers() -> None:
    service = model()
    mine = {"type": "function", "name": "mine"}
    both = [{**mine, "name": name} for name in ("box__t", "box__fails")]
    choice = {"type": "allowed_tools", "mode": "required", "tools": both}
    asked = {**RESPONSES, "mcp_tools": True, "tools": [mine], "tool_choice": choice}
    async with client(service) as http:
        assert (await http.post("/v1/responses", json=asked)).status_code == 200
        chats = [request.input for request in service.requests]
        assert [{tool.name for tool in chat.tools} for chat in chats] == [{"box__t", "box__fails"}] * 2  # type: ignore[union-attr]
        assert chats[0].tool_choice.mode == "required"  # type: ignore[union-attr]
        choice["tools"] = [{**mine, "name": "box__u"}]
        refused = await http.post("/v1/responses", json=asked)
        assert refused.status_code == 400
        assert "box__u" in refused.json()["error"]["message"]


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/v1/responses", {**RESPONSES, "mcp_tools": ["nobody"]}, "no such tool"),
        ("/v1/responses", {**RESPONSES, "mcp_tools": True, "truncation": "auto"}, "truncation"),
        ("/v1/responses", {**RESPONSES, "mcp_tools": True, "max_tool_calls": 3}, "max_tool_calls"),
        ("/v1/responses", {**RESPONSES, "mcp_tools": "box"}, "mcp_tools"),
        ("/v1/responses", {**RESPONSES, "mcp_tools": ["box"] * 1025}, "1024"),
        ("/v1/messages", {**MESSAGES, "mcp_tools": ["box"] * 1025}, "1024"),
        ("/v1/messages", {**MESSAGES, "mcp_tools": ["nobody"]}, "no such tool"),
        ("/v1/messages", {**MESSAGES, "mcp_tools": 1}, "mcp_tools"),
    ],
)
async def test_what_does_not_go_together_is_refused(path: str, body: dict[str, Any], field: str) -> None:
    async with client(model()) as http:
        answer = await http.post(path, json=body)
    assert answer.status_code == 400
    assert field in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/responses", {**RESPONSES, "tools": [{"type": "mcp", "server_label": "x", "server_url": "y"}]}),
        ("/v1/messages", {**MESSAGES, "mcp_servers": [{"type": "url", "name": "x", "url": "y"}]}),
    ],
)
async def test_a_server_that_a_request_brings_is_refused_with_the_field_for_our_own(
    path: str, body: dict[str, Any]
) -> None:
    async with client(model()) as http:
        answer = await http.post(path, json=body)
    assert answer.status_code == 400
    assert "mcp_tools offers the tools of its own" in answer.json()["error"]["message"]


async def test_a_response_that_fails_after_its_tools_ran_shows_them() -> None:
    def fail() -> Any:
        raise InternalError("The model is gone.")

    turns_left = iter((CALLS, None))

    def script(_: Any) -> Any:
        found = next(turns_left)
        return fail() if found is None else found

    async with client(FakeModelService(script)) as http:
        answer = await http.post("/v1/responses", json={**RESPONSES, "mcp_tools": True, "stream": True})
    last = json.loads(answer.text.strip().rpartition("data: ")[2])
    assert last["type"] == "response.failed"
    states = {item["type"]: item["status"] for item in last["response"]["output"]}
    assert states == {"message": "completed", "mcp_call": "failed"}


def test_a_response_that_fails_while_a_tool_runs_says_that_its_call_is_incomplete() -> None:
    body = ResponsesRequest(input="hi")
    encoder = ResponsesEncoder(
        opening(body, "resp_1", "m", stored=False), Toolbox((), ToolChoice(), {}), Shown()
    )
    encoder.encode(Started(0, 5))
    encoder.encode(ToolRunStarted(0, 0, "call_1", "box__t", "box", "{}"))
    done, last = encoder.fail(InternalError("It broke."))[-2:]
    assert isinstance(done, ItemDone)
    assert isinstance(last, Failed)
    assert last.response.output == (done.item,)
    assert (done.item.status, encoder.response.status) == ("incomplete", "failed")
