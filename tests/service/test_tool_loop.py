"""The tool loop over scripted turns: what runs, what the model reads, what the client sees, where it ends."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from tests.architecture.project import ROOT
from tests.e2e.server import LIMIT_S
from tests.fakes.clock import HandClock
from tests.fakes.service import HANG, FakeModelService, completed, spoken
from tests.fakes.tools import FakeToolService

from vllm_mlx.config import McpConfig
from vllm_mlx.core.errors import AppError, DeadlineExceeded, InvalidRequest, Unavailable
from vllm_mlx.core.events import (
    Completed,
    Finished,
    ReasoningDelta,
    ServedEvent,
    Started,
    TextDelta,
    ToolCallDelta,
    ToolCallStart,
    ToolRunFinished,
    ToolRunsStopped,
    ToolRunStarted,
)
from vllm_mlx.core.messages import Message, Reasoning, Text, ToolCall, ToolResult
from vllm_mlx.core.requests import ChatInput, GenerateRequest, TextInput
from vllm_mlx.core.sampling import SamplingParams
from vllm_mlx.core.tools import ToolChoice, ToolSpec
from vllm_mlx.mcp.config import BadMcpConfig
from vllm_mlx.service.build import build_tool_loop
from vllm_mlx.service.tool_loop import MAX_CALLS_A_TURN, LoopLimits, ToolLoop

pytestmark = [pytest.mark.anyio, pytest.mark.requirement(64)]

QUESTION = Message("user", (Text("How much?"),))


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def call(*names: str, text: str = "", arguments: str = '{"a":1}', reason: str = "tool_calls") -> list[object]:
    """A turn that says `text` and calls these tools."""
    events: list[object] = [Started(0, 5, 3)]
    events += [TextDelta(0, text)] if text else []
    for index, name in enumerate(names):
        events += [ToolCallStart(0, index, f"id{index}", name), ToolCallDelta(0, index, arguments)]
    return [*events, Finished(0, reason), completed(2)]  # type: ignore[arg-type]


SAY = [*spoken("It is 5."), completed(3)]


class Turns:
    """A model that takes one turn after another."""

    def __init__(self, *turns: Sequence[object]) -> None:
        self._turns = iter(turns)
        self.model = FakeModelService(lambda _: next(self._turns))

    @property
    def requests(self) -> list[GenerateRequest]:
        return self.model.requests

    def chat(self, place: int) -> ChatInput:
        chat = self.requests[place].input
        assert isinstance(chat, ChatInput)
        return chat


async def play(
    turns: Turns,
    tools: FakeToolService,
    *,
    limits: LoopLimits | None = None,
    clock: Callable[[], float] | None = None,
    chat: dict[str, Any] | None = None,
    **request: Any,
) -> list[ServedEvent]:
    loop = ToolLoop(tools, limits, clock=clock or HandClock())
    asked = GenerateRequest(input=ChatInput(messages=(QUESTION,), **(chat or {})), **request)
    events = loop.run(turns.model.generate, asked, tools.select(None), between="\n\n")
    async with aclosing(events):
        return [event async for event in events]


def text(events: list[ServedEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))


async def test_a_tool_runs_and_its_result_is_read_in_the_next_turn() -> None:
    turns = Turns([*call("box__add", text="Let me see.", arguments='{"a": 2, "b": 3}')], SAY)
    tools = FakeToolService({"add": lambda arguments: str(arguments["a"] + arguments["b"])})
    events = await play(turns, tools)
    assert tools.calls == [("box__add", {"a": 2, "b": 3}, "loop")]
    assert turns.chat(0).tools == (ToolSpec("box__add", "Does add", {"type": "object"}),)
    assert turns.chat(1).tools == turns.chat(0).tools
    assert turns.chat(1).messages == (
        QUESTION,
        Message("assistant", (Text("Let me see."), ToolCall("id0", "box__add", '{"a": 2, "b": 3}'))),
        Message("tool", (ToolResult("id0", "5", "box__add"),)),
    )
    assert text(events) == "Let me see.\n\nIt is 5."
    kinds = [type(event) for event in events if not isinstance(event, TextDelta)]
    assert kinds == [Started, ToolRunStarted, ToolRunFinished, Finished, Completed]
    started, finished = events[2:4]
    assert started == ToolRunStarted(0, 0, "id0", "box__add", "box", '{"a": 2, "b": 3}')
    assert finished == ToolRunFinished(0, 0, "5", False, False, 1.5)
    assert events[-2] == Finished(0, "stop")


async def test_tokens_are_summed_over_the_turns_and_time_runs_from_the_first() -> None:
    clock = HandClock()

    def slow(_: dict[str, Any]) -> str:
        clock.advance(2)
        return "x"

    events = await play(Turns(call("box__t"), SAY), FakeToolService({"t": slow}), clock=clock)
    (done,) = [event for event in events if isinstance(event, Completed)]
    assert (done.usage.prompt_tokens, done.usage.completion_tokens) == (10, 5)
    assert (done.usage.cached_tokens, done.usage.reasoning_tokens) == (6, 2)
    assert done.timings.time_to_first_token_ms == 12.5
    assert done.timings.generation_time_ms == pytest.approx(2000 - 12.5)


async def test_what_a_cache_mark_newly_covers_adds_up_over_the_turns() -> None:
    first = [*call("box__t")[:-1], completed(2, prompt_tokens=100, cached=10, marked=80)]
    second = [*SAY[:-1], completed(3, prompt_tokens=150, cached=140, marked=80)]
    events = await play(Turns(first, second), FakeToolService({"t": "x"}))
    (done,) = [event for event in events if isinstance(event, Completed)]
    assert done.usage.marked_tokens - done.usage.cached_tokens == 70


async def test_calls_of_one_turn_run_side_by_side_and_go_back_in_order() -> None:
    tools = FakeToolService({"slow": FakeToolService.WAIT, "fast": "now"})
    turns = Turns(call("box__slow", "box__fast"), SAY)
    loop = ToolLoop(tools, clock=HandClock())
    asked = GenerateRequest(input=ChatInput(messages=(QUESTION,)))
    done: list[int] = []
    async with aclosing(loop.run(turns.model.generate, asked, tools.select(None))) as events:
        async for event in events:
            if isinstance(event, ToolRunFinished):
                done.append(event.index)
                tools.go.set()
    assert done == [1, 0]
    results = turns.chat(1).messages[-1].parts
    assert results == (ToolResult("id0", "wait", "box__slow"), ToolResult("id1", "now", "box__fast"))


async def test_thoughts_go_back_with_the_turn_and_stand_apart() -> None:
    first = [Started(0, 5), ReasoningDelta(0, "I look."), *call("box__t")[1:]]
    second = [Started(0, 5), ReasoningDelta(0, "I see."), *SAY[1:]]
    turns = Turns(first, second)
    events = await play(turns, FakeToolService({"t": "x"}))
    assert turns.chat(1).messages[1].parts[0] == Reasoning("I look.")
    thoughts = [event.text for event in events if isinstance(event, ReasoningDelta)]
    assert thoughts == ["I look.", "\n\n", "I see."]
    assert text(events) == "It is 5."


@pytest.mark.requirement(80)
@pytest.mark.parametrize(
    ("names", "approved"),
    [(("mine",), True), (("box__t", "mine"), True), (("mine", "box__t"), True), (("box__t",), False)],
)
async def test_a_turn_with_a_call_that_is_not_ours_to_run_goes_to_the_client(
    names: tuple[str, ...], approved: bool
) -> None:
    """Whole: whoever answers a turn answers all its calls."""
    tools = FakeToolService({"t": "x"}, approved=approved)
    events = await play(Turns(call(*names)), tools, chat={"tools": (ToolSpec("mine"),)})
    assert tools.calls == []
    assert [event.name for event in events if isinstance(event, ToolCallStart)] == list(names)
    assert [event.arguments for event in events if isinstance(event, ToolCallDelta)] == ['{"a":1}'] * len(
        names
    )
    assert events[-2] == Finished(0, "tool_calls")
    assert not [event for event in events if isinstance(event, ToolRunsStopped)]


async def test_a_name_with_other_signs_means_the_one_tool_with_its_letters() -> None:
    tools = FakeToolService({"add_up": lambda _: "5"})
    turns = Turns(call("Box_add-up"), SAY)
    events = await play(turns, tools)
    assert [one[0] for one in tools.calls] == ["box__add_up"]
    assert [event.name for event in events if isinstance(event, ToolRunStarted)] == ["box__add_up"]
    assert turns.chat(1).messages[1].parts == (ToolCall("id0", "box__add_up", '{"a":1}'),)


@pytest.mark.parametrize("other", ["boxaddup", "box_add_up"])
async def test_a_name_that_could_mean_two_tools_means_none(other: str) -> None:
    tools = FakeToolService({"add_up": lambda _: "5"})
    written = "box-add-up"
    events = await play(Turns(call(written)), tools, chat={"tools": (ToolSpec(other),)})
    assert tools.calls == []
    assert [event.name for event in events if isinstance(event, ToolCallStart)] == [written]


async def test_a_call_of_the_clients_streams_as_it_is_written() -> None:
    """It is not held back until the turn ends."""
    turns = Turns([*call("mine")[:2], HANG])
    tools = FakeToolService({"t": "x"})
    asked = GenerateRequest(input=ChatInput(messages=(QUESTION,), tools=(ToolSpec("mine"),)))
    events = ToolLoop(tools, clock=HandClock()).run(turns.model.generate, asked, tools.select(None))
    assert [type(await anext(events)) for _ in range(2)] == [Started, ToolCallStart]
    await events.aclose()
    assert turns.model.open_streams == 0


async def test_a_call_that_was_cut_off_is_not_run() -> None:
    events = await play(
        Turns(call("box__t", arguments='{"a', reason="length")), tools := FakeToolService({"t": "x"})
    )
    assert tools.calls == []
    assert [type(event) for event in events[1:4]] == [ToolCallStart, ToolCallDelta, Finished]
    assert events[-2] == Finished(0, "length")


@pytest.mark.parametrize(
    ("failure", "told"),
    [
        (Unavailable("The MCP server box is failed."), "The MCP server box is failed."),
        (InvalidRequest("arguments: 'a' is a required property"), "arguments: 'a' is a required property"),
        (
            DeadlineExceeded("The tool brought no result within 1 s."),
            "The tool brought no result within 1 s.",
        ),
    ],
)
async def test_what_goes_wrong_with_a_tool_is_told_to_the_model(failure: AppError, told: str) -> None:
    turns = Turns(call("box__t"), SAY)
    events = await play(turns, FakeToolService({"t": failure}))
    assert turns.chat(1).messages[-1].parts == (ToolResult("id0", told, "box__t"),)
    (run,) = [event for event in events if isinstance(event, ToolRunFinished)]
    assert (run.is_error, run.text) == (True, told)
    assert text(events) == "It is 5."


@pytest.mark.parametrize("arguments", ["[1]", "{", "nothing", "[" * 100_000])
async def test_arguments_that_are_no_object_are_told_to_the_model(arguments: str) -> None:
    turns, tools = Turns(call("box__t", arguments=arguments), SAY), FakeToolService({"t": "x"})
    await play(turns, tools)
    assert tools.calls == []
    assert turns.chat(1).messages[-1].parts == (
        ToolResult("id0", "The arguments are not a JSON object.", "box__t"),
    )


@pytest.mark.requirement(80)
async def test_turns_are_bounded_and_the_last_calls_are_the_clients() -> None:
    tools = FakeToolService({"t": "x"})
    events = await play(Turns(*[call("box__t")] * 3), tools, limits=LoopLimits(max_turns=3))
    assert len(tools.calls) == 2
    assert [type(event) for event in events[-5:]] == [
        ToolRunsStopped,
        ToolCallStart,
        ToolCallDelta,
        Finished,
        Completed,
    ]
    assert events[-5] == ToolRunsStopped(0, "turns")
    assert events[-2] == Finished(0, "tool_calls")


@pytest.mark.requirement(80)
async def test_time_is_bounded_and_a_tool_is_given_what_is_left() -> None:
    clock = HandClock()

    def slow(_: dict[str, Any]) -> str:
        clock.advance(6)
        return "x"

    tools = FakeToolService({"t": slow})
    events = await play(Turns(*[call("box__t")] * 3), tools, limits=LoopLimits(max_seconds=10), clock=clock)
    assert [timeout_s for timeout_s, _ in tools.limits] == [10, 4]
    assert ToolRunsStopped(0, "time") in events


@pytest.mark.requirement(80)
async def test_results_are_bounded_and_calls_of_a_turn_share_what_is_left() -> None:
    tools = FakeToolService({"t": "é" * 30, "u": ""})
    turns = Turns(call("box__t", "box__u"), call("box__t"), call("box__t"))
    events = await play(turns, tools, limits=LoopLimits(max_result_bytes=120))
    assert [max_bytes for _, max_bytes in tools.limits] == [60, 60, 60]
    assert ToolRunsStopped(0, "output") in events


async def test_max_tokens_hold_for_the_whole_answer() -> None:
    turns = Turns(call("box__t"), call("box__t"), call("box__t"))
    sampling = SamplingParams(max_tokens=4, min_tokens=3)
    events = await play(turns, tools := FakeToolService({"t": "x"}), sampling=sampling)
    assert [(r.sampling.max_tokens, r.sampling.min_tokens) for r in turns.requests] == [(4, 3), (2, 0)]
    assert len(tools.calls) == 1
    assert ToolRunsStopped(0, "output") in events


async def test_the_requests_own_time_limit_holds_for_the_whole_answer() -> None:
    clock = HandClock()

    def slow(_: dict[str, Any]) -> str:
        clock.advance(6)
        return "x"

    turns = Turns(*[call("box__t")] * 3)
    with pytest.raises(DeadlineExceeded):
        await play(turns, FakeToolService({"t": slow}), clock=clock, timeout_s=10)
    assert [request.timeout_s for request in turns.requests] == [10, 4]


async def test_too_many_calls_in_one_turn_do_not_all_run() -> None:
    turns, tools = Turns(call(*["box__t"] * (MAX_CALLS_A_TURN + 2)), SAY), FakeToolService({"t": "x"})
    await play(turns, tools)
    assert len(tools.calls) == MAX_CALLS_A_TURN
    late = turns.chat(1).messages[-1].parts[-1]
    assert isinstance(late, ToolResult)
    assert "At most 16 tools run in one turn" in late.text


async def test_without_parallel_calls_only_the_first_counts() -> None:
    turns, tools = Turns(call("box__t", "box__t", "mine"), SAY), FakeToolService({"t": "x"})
    await play(turns, tools, chat={"parallel_tool_calls": False})
    assert len(tools.calls) == 1
    assert len(turns.chat(1).messages[1].parts) == 1


@pytest.mark.parametrize("mode", ["required", "named", "auto"])
async def test_a_forced_call_is_forced_once(mode: str) -> None:
    turns = Turns(call("box__t"), SAY)
    choice = ToolChoice(mode, "box__t" if mode == "named" else None)  # type: ignore[arg-type]
    await play(turns, FakeToolService({"t": "x"}), chat={"tool_choice": choice})
    assert (turns.chat(0).tool_choice, turns.chat(1).tool_choice) == (choice, ToolChoice("auto"))


@pytest.mark.requirement(80)
async def test_a_client_that_leaves_in_mid_call_cancels_the_tool() -> None:
    tools = FakeToolService({"t": FakeToolService.WAIT})
    asked = GenerateRequest(input=ChatInput(messages=(QUESTION,)))
    events = ToolLoop(tools, clock=HandClock()).run(
        Turns(call("box__t", "box__t")).model.generate, asked, tools.select(None)
    )

    async def read() -> None:
        async with aclosing(events):
            async for _ in events:
                pass

    reading = asyncio.create_task(read())
    for _ in range(2):
        await tools.waiting.acquire()
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    assert tools.cancelled == ["box__t", "box__t"]


@pytest.mark.parametrize(
    ("request_", "param"),
    [
        (GenerateRequest(input=TextInput("x")), "mcp_tools"),
        (GenerateRequest(input=ChatInput(messages=(QUESTION,)), sampling=SamplingParams(n=2)), "mcp_tools"),
        (GenerateRequest(input=ChatInput(messages=(QUESTION,), continue_final_message=True)), "mcp_tools"),
        (GenerateRequest(input=ChatInput(messages=(QUESTION,), tools=(ToolSpec("box__t"),))), "tools"),
    ],
)
async def test_what_the_loop_cannot_do_is_refused(request_: GenerateRequest, param: str) -> None:
    tools = FakeToolService({"t": "x"})
    with pytest.raises(InvalidRequest) as failure:
        ToolLoop(tools).run(Turns(SAY).model.generate, request_, tools.select(None))
    assert failure.value.param == param


async def test_no_state_crosses_from_one_answer_to_another() -> None:
    tools = FakeToolService({"t": "x"})
    loop = ToolLoop(tools, LoopLimits(max_turns=2), clock=HandClock())
    asked = GenerateRequest(input=ChatInput(messages=(QUESTION,)))

    async def one() -> str:
        turns = Turns(call("box__t"), SAY)
        return json.dumps(
            [repr(event) async for event in loop.run(turns.model.generate, asked, tools.select(None))]
        )

    assert len(set(await asyncio.gather(*(one() for _ in range(20))))) == 1
    assert len(tools.calls) == 20


async def test_drain_waits_for_answers_between_their_turns() -> None:
    tools = FakeToolService({"t": FakeToolService.WAIT})
    loop = ToolLoop(tools, clock=HandClock())
    assert await loop.drain(5) == 5
    asked = GenerateRequest(input=ChatInput(messages=(QUESTION,)))

    turns = Turns(call("box__t"), SAY)

    async def answer() -> list[ServedEvent]:
        return [event async for event in loop.run(turns.model.generate, asked, tools.select(None))]

    answering = asyncio.create_task(answer())
    await tools.waiting.acquire()
    draining = asyncio.create_task(loop.drain(LIMIT_S))
    await asyncio.sleep(0)
    assert not draining.done()
    tools.go.set()
    await draining
    assert len(turns.requests) == 2  # nobody went on before the last turn
    assert text(await answering) == "It is 5."


async def test_drain_gives_up_in_time() -> None:
    tools = FakeToolService({"t": FakeToolService.WAIT})
    loop = ToolLoop(tools)
    asked = GenerateRequest(input=ChatInput(messages=(QUESTION,)))
    events = loop.run(Turns(call("box__t")).model.generate, asked, tools.select(None))
    await anext(events)
    assert await loop.drain(0) == 0
    await events.aclose()


async def test_the_settings_reach_the_loop(tmp_path: Path) -> None:
    """From the file to a real server: approved, and bounded by the flags."""
    rogue = str(ROOT / "tests" / "fakes" / "mcp_rogue.py")
    file = tmp_path / "mcp.json"
    entry = {"command": sys.executable, "args": [rogue, "fine"], "approval": "read-only"}
    file.write_text(json.dumps({"mcpServers": {"fine": entry}}))
    config = McpConfig(mcp_config=str(file), mcp_auto_execute=True, mcp_max_turns=2)
    loop = build_tool_loop(config, {})
    assert loop is not None
    assert loop.always
    await loop.tools.start()
    try:
        async with asyncio.timeout(LIMIT_S):
            # What is awaited happens in another process.
            while not (offered := loop.tools.tools()):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        turns = Turns(*[call("fine__echo", arguments='{"text": "hi"}')] * 2)
        asked = GenerateRequest(input=ChatInput(messages=(QUESTION,)))
        events = [event async for event in loop.run(turns.model.generate, asked, offered)]
    finally:
        await loop.tools.aclose()
    assert [event.text for event in events if isinstance(event, ToolRunFinished)] == ["hi"]
    assert ToolRunsStopped(0, "turns") in events
    assert build_tool_loop(McpConfig(), {}) is None
    with pytest.raises(BadMcpConfig, match="--mcp-auto-execute needs --mcp-config"):
        build_tool_loop(McpConfig(mcp_auto_execute=True), {})
