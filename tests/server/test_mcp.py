"""The routes of MCP tools, and chats whose tools this server runs, over tools that are only played."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import openai
import pytest
from tests.e2e.server import LIMIT_S, in_thread
from tests.fakes.service import FakeModelService, completed, spoken
from tests.fakes.tools import FakeToolService
from tests.fakes.wire import frames

from vllm_mlx.config import ServerConfig
from vllm_mlx.core.errors import AppError, DeadlineExceeded, InternalError, NotFound, Overloaded, Unavailable
from vllm_mlx.core.events import Finished, Started, TextDelta, ToolCallDelta, ToolCallStart
from vllm_mlx.core.messages import Text, ToolCall, ToolResult
from vllm_mlx.core.requests import ChatInput
from vllm_mlx.core.tools import ToolChoice
from vllm_mlx.mcp.config import McpServer
from vllm_mlx.mcp.manager import McpManager
from vllm_mlx.server.app import create_app
from vllm_mlx.server.replies import WorkReply
from vllm_mlx.server.run import DrainingServer, bind
from vllm_mlx.service.tool_loop import ToolLoop
from vllm_mlx.service.tools import ToolService

pytestmark = [pytest.mark.anyio, pytest.mark.requirement(64)]

HELLO = {"messages": [{"role": "user", "content": "hi"}]}
CALL = [
    Started(0, 5, 3),
    TextDelta(0, "Let me see."),
    ToolCallStart(0, 0, "call_1", "box__t"),
    ToolCallDelta(0, 0, '{"a":'),
    ToolCallDelta(0, 0, "1}"),
    Finished(0, "tool_calls"),
    completed(2),
]
SAY = [*spoken("It is 5."), completed(3)]


def model(*turns: Any) -> FakeModelService:
    left = iter(turns or (CALL, SAY))
    return FakeModelService(lambda _: next(left))


@asynccontextmanager
async def client(
    tools: ToolService | None, service: FakeModelService | None = None, *, always: bool = False
) -> AsyncIterator[httpx.AsyncClient]:
    loop = None if tools is None else ToolLoop(tools, always=always)
    transport = httpx.ASGITransport(
        create_app(service or model(), ServerConfig(), tool_loop=loop), raise_app_exceptions=False
    )
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", timeout=LIMIT_S) as http:
        yield http


MINE = {"type": "function", "function": {"name": "mine"}}


def named(name: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name}}


def allowed(mode: str, *names: str) -> dict[str, Any]:
    return {
        "type": "allowed_tools",
        "allowed_tools": {"mode": mode, "tools": [named(name) for name in names]},
    }


async def test_servers_and_tools_are_listed() -> None:
    async with client(FakeToolService({"t": "x"})) as http:
        (server,) = (await http.get("/v1/mcp/servers")).json()["servers"]
        assert server == {
            "name": "box",
            "state": "ready",
            "transport": "stdio",
            "tools_count": 1,
            "error": None,
            "restarts": 0,
            "refused_tools": [],
            "missing_tools": [],
        }
        assert (await http.get("/v1/mcp/tools")).json() == {
            "tools": [
                {
                    "name": "box__t",
                    "description": "Does t",
                    "server": "box",
                    "parameters": {"type": "object"},
                    "read_only": False,
                    "approved": True,
                }
            ],
            "count": 1,
        }
        assert (await http.get("/v1/status")).json()["mcp"] == {"servers": {"box": {"state": "ready"}}}


async def test_without_servers_the_lists_are_empty_and_nothing_runs() -> None:
    async with client(None) as http:
        assert (await http.get("/v1/mcp/servers")).json() == {"servers": []}
        assert (await http.get("/v1/mcp/tools")).json() == {"tools": [], "count": 0}
        assert "mcp" not in (await http.get("/v1/status")).json()
        answer = await http.post("/v1/mcp/execute", json={"tool_name": "box__t"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "mcp_server_not_found")
        answer = await http.post("/v1/chat/completions", json=HELLO | {"mcp_tools": True})
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, "mcp_tools")


@pytest.mark.parametrize(
    ("path", "body", "kind"),
    [
        ("/v1/chat/completions", HELLO, "server_error"),
        ("/v1/chat/completions/render", HELLO, "server_error"),
        ("/v1/responses", {"input": "hi"}, "server_error"),
        ("/v1/messages", HELLO | {"max_tokens": 9}, "overloaded_error"),
        ("/v1/messages", HELLO | {"max_tokens": 9, "stream": True}, "overloaded_error"),
    ],
)
async def test_tools_of_servers_that_are_not_ready_are_told_and_hold_up_nobody_else(
    monkeypatch: pytest.MonkeyPatch, path: str, body: dict[str, Any], kind: str
) -> None:
    monkeypatch.setattr("vllm_mlx.mcp.manager.FIRST_TRY_S", 0.05)

    @asynccontextmanager
    async def hang(_: McpServer) -> AsyncIterator[Any]:
        await asyncio.Event().wait()
        yield

    tools = McpManager([McpServer(name="box", prefix="box", transport="stdio")], connect=hang)
    await tools.start()
    try:
        async with client(tools, model(SAY, SAY), always=True) as http:
            for wanted in (True, ["box"], ["box__t"]):
                answer = await http.post(path, json=body | {"mcp_tools": wanted})
                assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
                error = answer.json()["error"]
                assert (error["type"], error["message"]) == (kind, "The MCP server box is connecting.")
                assert error.get("param") == ("mcp_tools" if kind == "server_error" else None)
            executed = await http.post("/v1/mcp/execute", json={"tool_name": "box__t"})
            assert (executed.status_code, executed.json()["error"]["param"]) == (503, None)
            monkeypatch.setattr("vllm_mlx.mcp.manager.FIRST_TRY_S", 10 * LIMIT_S)
            for own in ({}, {"mcp_tools": False}):
                assert (await http.post(path, json=body | own)).status_code == 200
    finally:
        await tools.aclose()


async def test_tools_are_closed_though_the_model_cannot_be_drained() -> None:
    class Broken(FakeModelService):
        async def drain(self, timeout_s: float) -> None:
            raise RuntimeError("the engine is gone")

    tools = FakeToolService({})
    server = DrainingServer(Broken(), ServerConfig(log_level="error"), tool_loop=ToolLoop(tools))
    server.should_exit = True
    with pytest.raises(RuntimeError, match="the engine is gone"):
        await asyncio.to_thread(server.run, sockets=[bind("127.0.0.1", 0)])
    assert tools.closed


async def test_a_tool_is_executed() -> None:
    tools = FakeToolService({"t": "five"})
    async with client(tools) as http:
        answer = await http.post("/v1/mcp/execute", json={"tool_name": "box__t", "arguments": {"a": 1}})
        assert answer.status_code == 200
        assert answer.json() == {
            "tool_name": "box__t",
            "content": "five",
            "structured_content": None,
            "is_error": False,
            "error_message": None,
            "truncated": False,
            "duration_ms": 1.5,
        }
        assert tools.calls == [("box__t", {"a": 1}, "route")]
        assert tools.settled == [["box__t"]]


@pytest.mark.parametrize(
    ("failure", "status", "kind"),
    [
        (NotFound("no", code="mcp_tool_not_found"), 404, "invalid_request_error"),
        (DeadlineExceeded("late"), 504, "server_error"),
        (Unavailable("gone", retry_after_s=1, code="mcp_server_unavailable"), 503, "server_error"),
        (Overloaded("full"), 429, "rate_limit_error"),
        (InternalError("a secret"), 500, "server_error"),
    ],
)
async def test_failures_are_openai_errors(failure: AppError, status: int, kind: str) -> None:
    async with client(FakeToolService({"t": failure})) as http:
        answer = await http.post("/v1/mcp/execute", json={"tool_name": "box__t"})
        error = answer.json()["error"]
        assert (answer.status_code, error["type"], error["code"]) == (status, kind, failure.code)
        assert "secret" not in error["message"]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "tool_name"),
        ({"tool_name": 1}, "tool_name"),
        ({"tool_name": "box__t", "arguments": [1]}, "arguments"),
        ({"tool_name": "box__t", "arguments": "{}"}, "arguments"),
    ],
)
async def test_a_wrong_body_is_told_the_field(body: dict[str, Any], param: str) -> None:
    async with client(FakeToolService({"t": "x"})) as http:
        answer = await http.post("/v1/mcp/execute", json=body)
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


@pytest.mark.requirement(80)
async def test_a_client_that_leaves_cancels_its_tool() -> None:
    tools = FakeToolService({"t": FakeToolService.WAIT})
    gone = asyncio.Event()

    async def receive() -> dict[str, Any]:
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(_: Any) -> None:
        raise AssertionError("nobody is there")

    async def work() -> bytes:
        await tools.execute("box__t", {}, caller="route")
        return b""

    replying = asyncio.create_task(WorkReply(work())({"type": "http"}, receive, send))
    await tools.waiting.acquire()
    gone.set()
    await replying
    assert tools.cancelled == ["box__t"]


async def test_a_chat_runs_the_tool_and_shows_it() -> None:
    service, tools = model(), FakeToolService({"t": "five"})
    async with client(tools, service) as http:
        body = (await http.post("/v1/chat/completions", json=HELLO | {"mcp_tools": True})).json()
    (choice,) = body["choices"]
    assert choice["finish_reason"] == "stop"
    assert choice["message"]["content"] == "Let me see.\n\nIt is 5."
    assert "tool_calls" not in choice["message"]
    assert choice["message"]["mcp_calls"] == [
        {
            "index": 0,
            "id": "call_1",
            "server": "box",
            "name": "box__t",
            "arguments": '{"a":1}',
            "content": "five",
            "is_error": False,
            "truncated": False,
            "duration_ms": 1.5,
        }
    ]
    assert body["usage"]["completion_tokens"] == 5
    assert len(service.requests) == 2


async def test_calls_that_were_run_are_read_when_they_are_sent_back() -> None:
    service, tools = model(CALL, SAY, SAY), FakeToolService({"t": "five"})
    now = {"role": "user", "content": "and now?"}
    async with client(tools, service) as http:
        first = await http.post("/v1/chat/completions", json=HELLO | {"mcp_tools": True})
        said = first.json()["choices"][0]["message"]
        asked = {"messages": [*HELLO["messages"], said, now]}
        assert (await http.post("/v1/chat/completions", json=asked)).status_code == 200
    chat = service.requests[-1].input
    assert isinstance(chat, ChatInput)
    assert [(message.role, message.parts) for message in chat.messages] == [
        ("user", (Text("hi"),)),
        ("assistant", (ToolCall("call_1", "box__t", '{"a":1}'),)),
        ("tool", (ToolResult("call_1", "five", "box__t"),)),
        ("assistant", (Text("Let me see.\n\nIt is 5."),)),
        ("user", (Text("and now?"),)),
    ]


async def test_a_run_call_may_stand_before_calls_that_were_left_to_the_client() -> None:
    service = model(SAY)
    run = {"id": "call_1", "name": "box__t", "content": None}
    left = {"id": "call_1", "type": "function", "function": {"name": "mine", "arguments": "{}"}}
    messages = [
        *HELLO["messages"],
        {"role": "assistant", "content": None, "mcp_calls": [run], "tool_calls": [left]},
        {"role": "tool", "tool_call_id": "call_1", "content": "six"},
        {"role": "assistant", "mcp_calls": [run | {"is_error": True, "content": "It broke."}]},
    ]
    async with client(None, service) as http:
        assert (await http.post("/v1/chat/completions", json={"messages": messages})).status_code == 200
    chat = service.requests[-1].input
    assert isinstance(chat, ChatInput)
    assert [message.parts[0] for message in chat.messages[1:]] == [
        ToolCall("call_1", "box__t", "{}"),
        ToolResult("call_1", "", "box__t"),
        ToolCall("call_1", "mine", "{}"),
        ToolResult("call_1", "six"),
        ToolCall("call_1", "box__t", "{}"),
        ToolResult("call_1", "It broke.", "box__t"),
    ]


@pytest.mark.parametrize(
    ("role", "run", "param"),
    [
        ("user", {"id": "call_1", "name": "box__t"}, "messages[0].mcp_calls"),
        ("assistant", {"id": "", "name": "box__t"}, "messages[0].mcp_calls[0].id"),
        ("assistant", {"id": "call_1", "name": ""}, "messages[0].mcp_calls[0].name"),
        ("assistant", {"id": "call_1"}, "messages[0].mcp_calls[0].name"),
    ],
)
async def test_a_run_call_that_cannot_be_one_is_refused(role: str, run: dict[str, Any], param: str) -> None:
    async with client(None) as http:
        messages = [{"role": role, "content": "x", "mcp_calls": [run]}]
        answer = await http.post("/v1/chat/completions", json={"messages": messages})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


async def test_a_stream_shows_the_call_when_it_begins_and_when_it_is_done() -> None:
    async with client(FakeToolService({"t": "five"})) as http:
        asked = HELLO | {"mcp_tools": ["box"], "stream": True, "stream_options": {"include_usage": True}}
        chunks = frames((await http.post("/v1/chat/completions", json=asked)).text)
    deltas = [choice["delta"] for chunk in chunks for choice in chunk["choices"]]
    assert [delta["role"] for delta in deltas if "role" in delta] == ["assistant"]
    assert not [delta for delta in deltas if "tool_calls" in delta]
    begun, done = [delta["mcp_calls"][0] for delta in deltas if "mcp_calls" in delta]
    assert begun == {"index": 0, "id": "call_1", "server": "box", "name": "box__t", "arguments": '{"a":1}'}
    assert done == {"index": 0, "content": "five", "is_error": False, "truncated": False, "duration_ms": 1.5}
    assert [c["finish_reason"] for chunk in chunks for c in chunk["choices"] if c["finish_reason"]] == [
        "stop"
    ]
    assert chunks[-1]["usage"]["completion_tokens"] == 5


async def test_calls_beyond_a_limit_are_left_to_the_client_with_the_reason() -> None:
    loop = [CALL] * 11
    async with client(FakeToolService({"t": "five"}), model(*loop)) as http:
        body = (await http.post("/v1/chat/completions", json=HELLO | {"mcp_tools": True})).json()
    (choice,) = body["choices"]
    assert (choice["finish_reason"], choice["message"]["mcp_stopped"]) == ("tool_calls", "turns")
    assert len(choice["message"]["mcp_calls"]) == 9
    assert [call["id"] for call in choice["message"]["tool_calls"]] == ["call_1"]


async def test_a_tool_that_is_not_approved_goes_to_the_client() -> None:
    tools = FakeToolService({"t": "five"}, approved=False)
    async with client(tools) as http:
        body = (await http.post("/v1/chat/completions", json=HELLO | {"mcp_tools": True})).json()
    (choice,) = body["choices"]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["tool_calls"][0]["function"] == {"name": "box__t", "arguments": '{"a":1}'}
    assert "mcp_calls" not in choice["message"]
    assert tools.calls == []


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"mcp_tools": True, "n": 2}, "mcp_tools"),
        ({"mcp_tools": ["nobody"]}, "mcp_tools"),
        ({"mcp_tools": [1]}, "mcp_tools[0]"),
        ({"mcp_tools": "box"}, "mcp_tools"),
        ({"mcp_tools": True, "tools": [{"type": "function", "function": {"name": "box__t"}}]}, "tools"),
        ({"mcp_tools": True, "continue_final_message": True}, "mcp_tools"),
        ({"mcp_tools": True, "tool_choice": named("box__u")}, "tool_choice"),
        ({"tool_choice": named("box__t")}, "tool_choice"),
        ({"tool_choice": "required"}, "tool_choice"),
    ],
)
async def test_what_does_not_go_together_is_refused(more: dict[str, Any], param: str) -> None:
    async with client(FakeToolService({"t": "five"})) as http:
        answer = await http.post("/v1/chat/completions", json=HELLO | more)
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


@pytest.mark.parametrize("choice", ["required", named("box__t")])
async def test_a_tool_of_a_server_may_be_the_one_that_must_be_called(choice: Any) -> None:
    service = model()
    async with client(FakeToolService({"t": "five"}), service) as http:
        asked = HELLO | {"mcp_tools": ["box"], "tool_choice": choice}
        assert (await http.post("/v1/chat/completions", json=asked)).status_code == 200
    first, second = (request.input for request in service.requests)
    assert isinstance(first, ChatInput)
    assert isinstance(second, ChatInput)
    assert first.tool_choice.mode == ("required" if choice == "required" else "named")
    assert second.tool_choice == ToolChoice()


@pytest.mark.parametrize(
    ("more", "status", "offered"),
    [
        ({"tool_choice": "required"}, 200, {"box__t"}),
        ({"tool_choice": named("box__t")}, 200, {"box__t"}),
        ({"tool_choice": named("mine"), "tools": [MINE]}, 200, {"mine"}),
        ({"tool_choice": "required", "tools": [MINE]}, 200, {"mine", "box__t"}),
        ({"tool_choice": allowed("required", "box__t"), "tools": [MINE]}, 200, {"box__t"}),
        ({"tool_choice": allowed("required", "mine"), "tools": [MINE]}, 200, {"mine"}),
        ({"tool_choice": allowed("auto", "mine", "box__t"), "tools": [MINE]}, 200, {"mine", "box__t"}),
        ({"tool_choice": allowed("auto", "box__u"), "tools": [MINE]}, 400, set()),
        ({"tool_choice": allowed("auto", "box__t"), "tools": [MINE], "mcp_tools": False}, 400, set()),
        ({"tool_choice": named("box__u")}, 400, set()),
        ({"tool_choice": "required", "mcp_tools": False}, 400, set()),
        ({"tool_choice": named("box__t"), "n": 2}, 400, set()),
    ],
)
async def test_a_choice_may_mean_tools_that_are_offered_without_asking(
    more: dict[str, Any], status: int, offered: set[str]
) -> None:
    service = model(SAY)
    async with client(FakeToolService({"t": "five"}), service, always=True) as http:
        answer = await http.post("/v1/chat/completions", json=HELLO | more)
    assert answer.status_code == status, answer.text
    for request in service.requests:
        assert isinstance(request.input, ChatInput)
        assert {tool.name for tool in request.input.tools} == offered


async def test_a_choice_that_is_none_is_told_all_that_there_are() -> None:
    asked = HELLO | {"mcp_tools": True, "tools": [MINE], "tool_choice": allowed("auto", "nobody")}
    async with client(FakeToolService({"t": "five"})) as http:
        message = (await http.post("/v1/chat/completions", json=asked)).json()["error"]["message"]
    assert "the tools are: 'box__t', 'mine'" in message


async def test_tools_can_be_offered_without_asking_and_declined() -> None:
    service = model(SAY, SAY, SAY, SAY, SAY)
    own = {"type": "function", "function": {"name": "box__t"}}
    cases: list[tuple[dict[str, Any], int]] = [
        ({}, 2),
        ({"mcp_tools": False}, 0),
        ({"n": 2}, 0),
        ({"tool_choice": "none"}, 0),
        ({"tools": [own]}, 2),
    ]
    async with client(FakeToolService({"t": "five", "u": "six"}), service, always=True) as http:
        for more, _ in cases:
            assert (await http.post("/v1/chat/completions", json=HELLO | more)).status_code == 200
    for request, (more, offered) in zip(service.requests, cases, strict=True):
        assert len(request.input.tools) == offered, more  # type: ignore[union-attr]


def test_the_official_sdk_streams_a_chat_with_tools_and_keeps_what_it_shows() -> None:
    tools = FakeToolService({"t": "five"})
    with (
        in_thread(model(), tool_loop=ToolLoop(tools)) as url,
        openai.OpenAI(base_url=url + "/v1", api_key="x", max_retries=0, timeout=LIMIT_S) as sdk,
        sdk.chat.completions.stream(
            model="default",
            messages=[{"role": "user", "content": "hi"}],
            extra_body={"mcp_tools": True},
        ) as stream,
    ):
        message: Any = stream.get_final_completion().choices[0].message
    assert message.content == "Let me see.\n\nIt is 5."
    assert not message.tool_calls
    (run,) = message.mcp_calls
    assert (run["name"], run["content"], run["arguments"]) == ("box__t", "five", '{"a":1}')
    assert tools.started
    assert tools.closed
