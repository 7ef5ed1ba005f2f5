"""Runs the tools that a model calls, gives it their results, and lets it go on: one answer of several turns.

A layer over any stream of core events: it knows neither the model nor a dialect.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass

import msgspec

from vllm_mlx.core.clock import Clock, system_clock
from vllm_mlx.core.errors import AppError, DeadlineExceeded, InvalidRequest
from vllm_mlx.core.events import (
    Completed,
    Event,
    ServedEvent,
    Timings,
    ToolRunFinished,
    ToolRunLimit,
    ToolRunsStopped,
    ToolRunStarted,
    Usage,
)
from vllm_mlx.core.messages import Message, ToolCall, ToolResult
from vllm_mlx.core.requests import ChatInput, GenerateRequest
from vllm_mlx.core.tools import ToolChoice, ToolSpec
from vllm_mlx.mcp.tools import OfferedTool, ToolOutcome
from vllm_mlx.service.tool_turn import Turn
from vllm_mlx.service.tools import ToolService

Generate = Callable[[GenerateRequest], AsyncGenerator[Event, None]]

MAX_CALLS_A_TURN = 16
_CALLER = "loop"


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopLimits:
    """How far one answer may go. What is over a limit is left to the client.

    Attributes:
        max_turns: of the model.
        max_seconds: after which no tool starts; a running one is given what is left.
        max_result_bytes: UTF-8 bytes of results in all.
    """

    max_turns: int = 10
    max_seconds: float = 120.0
    max_result_bytes: int = 1024 * 1024


class ToolLoop:
    """The tools, the limits, and whether chats get them without asking.

    Attributes:
        tools: where tools are found and run.
        always: a chat that does not say otherwise gets them.
    """

    def __init__(
        self,
        tools: ToolService,
        limits: LoopLimits | None = None,
        *,
        always: bool = False,
        clock: Clock = system_clock,
    ) -> None:
        self.tools = tools
        self.always = always
        self._limits = limits or LoopLimits()
        self._clock = clock
        self._answers = 0
        self._idle = asyncio.Event()
        self._idle.set()

    def run(
        self,
        generate: Generate,
        request: GenerateRequest,
        offered: Sequence[OfferedTool],
        *,
        between: str = "",
    ) -> AsyncGenerator[ServedEvent, None]:
        """One answer.

        A turn whose calls may all run is followed by their results and the next turn. It is the last turn if
        it calls nothing, if it calls a tool of the client's or one that is not approved, or if a limit is
        reached: its calls, if any, then go to the client as usual, and its finish reason is the answer's.
        The token counts are sums over all turns; `max_tokens` and `timeout_s` hold for the whole answer.

        Args:
            generate: opens one turn.
            request: see `first_turn`. Where it allows no parallel calls, only the first call of a turn
                counts.
            offered: see `ToolService.select`.
            between: what parts the texts, and the thoughts, of two turns.

        Raises:
            InvalidRequest: see `first_turn`.
        """
        opened, chat = first_turn(request, offered), request.input
        parallel = not isinstance(chat, ChatInput) or chat.parallel_tool_calls
        answer = _Answer(self.tools, self._limits, self._clock, generate, offered, parallel, between)
        return self._counted(answer.play(opened))

    async def drain(self, timeout_s: float) -> float:
        """Wait until no answer is being made; between its turns the model has nothing to do and looks idle.

        Returns:
            The seconds that are left.
        """
        deadline = self._clock() + timeout_s
        with suppress(TimeoutError):
            await asyncio.wait_for(self._idle.wait(), timeout_s)
        return max(0.0, deadline - self._clock())

    async def _counted(self, events: AsyncGenerator[ServedEvent, None]) -> AsyncGenerator[ServedEvent, None]:
        self._answers += 1
        self._idle.clear()
        try:
            async with aclosing(events):
                async for event in events:
                    yield event
        finally:
            self._answers -= 1
            if not self._answers:
                self._idle.set()


def first_turn(request: GenerateRequest, offered: Sequence[OfferedTool]) -> GenerateRequest:
    """What the model is sent first: the request, whose chat has the offered tools besides its own.

    Args:
        request: of one choice, that opens a turn.
        offered: see `ToolService.select`.

    Raises:
        InvalidRequest: it has several choices, continues a turn, or has a tool by an offered name.
    """
    chat = request.input
    if not isinstance(chat, ChatInput) or request.sampling.n != 1 or chat.continue_final_message:
        raise InvalidRequest("mcp_tools needs a chat with n = 1 that opens a new turn", param="mcp_tools")
    names = {tool.name for tool in chat.tools}
    clash = next((tool.name for tool in offered if tool.name in names), None)
    if clash is not None:
        raise InvalidRequest(f"tools: {clash} is the name of an MCP tool too", param="tools")
    tools = chat.tools + tuple(_spec(tool) for tool in offered)
    return msgspec.structs.replace(request, input=msgspec.structs.replace(chat, tools=tools))


def _name_reader(request: GenerateRequest) -> Callable[[str], str]:
    """Tells which tool of a request a name means: a small model writes `clock_now` for `clock__now`.

    Letters and digits decide, in either case, and only where they are those of one tool; any other name stays
    as it is.
    """
    known = (
        frozenset(tool.name for tool in request.input.tools) if isinstance(request.input, ChatInput) else ()
    )
    by_letters: dict[str, list[str]] = {}
    for name in known:
        by_letters.setdefault(_letters(name), []).append(name)

    def meant(name: str) -> str:
        fitting = [] if name in known else by_letters.get(_letters(name), [])
        return fitting[0] if len(fitting) == 1 else name

    return meant


def _letters(name: str) -> str:
    return "".join(char for char in name if char.isalnum()).casefold()


class _Answer:
    """One answer, while it is made."""

    def __init__(
        self,
        tools: ToolService,
        limits: LoopLimits,
        clock: Clock,
        generate: Generate,
        offered: Sequence[OfferedTool],
        parallel: bool,
        between: str,
    ) -> None:
        self._tools = tools
        self._limits = limits
        self._clock = clock
        self._generate = generate
        self._servers = {tool.name: tool.server for tool in offered}
        self._runnable = frozenset(tool.name for tool in offered if tool.approved)
        self._parallel = parallel
        self._between = between
        self._began = clock()
        self._runs = 0
        self._bytes_left = limits.max_result_bytes
        self._usage = Usage(0, 0)
        self._first_token_ms: float | None = None
        self._results: dict[int, ToolResult] = {}

    async def play(self, request: GenerateRequest) -> AsyncGenerator[ServedEvent, None]:
        said: tuple[bool, bool] | None = None
        budget, left = request.sampling.max_tokens, request.sampling.max_tokens
        turns = 0
        meant = _name_reader(request)
        while True:
            turn = Turn(
                self._runnable,
                parallel=self._parallel,
                after=said,
                between=self._between,
                meant=meant,
            )
            async with aclosing(self._generate(self._in_time(request))) as events:
                async for event in events:
                    for shown in turn.feed(event):
                        yield shown
            turns += 1
            said = turn.said(said)
            self._account(turn)
            calls = turn.to_run()
            if budget is not None:
                left = budget - self._usage.completion_tokens
            limit = self._limit(turns, left) if calls else None
            if not calls or limit is not None:
                if limit is not None:
                    yield ToolRunsStopped(0, limit)
                for shown in turn.release():
                    yield shown
                yield self._completed()
                return
            async with aclosing(self._run(calls)) as runs:
                async for run in runs:
                    yield run
            request = self._next(request, turn.message(), calls, left)

    def _limit(self, turns: int, tokens_left: int | None) -> ToolRunLimit | None:
        """Which limit forbids to run tools and take another turn."""
        if turns >= self._limits.max_turns:
            return "turns"
        if self._seconds_left() <= 0:
            return "time"
        if self._bytes_left <= 0 or (tokens_left is not None and tokens_left <= 0):
            return "output"
        return None

    async def _run(self, calls: Sequence[ToolCall]) -> AsyncGenerator[ServedEvent, None]:
        """Run the calls of one turn side by side; their results come in the order they are done."""
        first, self._runs = self._runs, self._runs + len(calls)
        share = max(1, self._bytes_left // len(calls))
        tasks: dict[asyncio.Task[ToolOutcome], int] = {}
        try:
            for place, call in enumerate(calls):
                yield ToolRunStarted(
                    0, first + place, call.id, call.name, self._servers[call.name], call.arguments
                )
                tasks[asyncio.create_task(self._outcome(call, share, late=place >= MAX_CALLS_A_TURN))] = place
            pending = set(tasks)
            while pending:
                done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    outcome, call = task.result(), calls[tasks[task]]
                    self._bytes_left -= len(outcome.text.encode())
                    self._results[tasks[task]] = ToolResult(call.id, outcome.text, call.name)
                    yield ToolRunFinished(
                        0,
                        first + tasks[task],
                        outcome.text,
                        outcome.is_error,
                        outcome.truncated,
                        outcome.duration_ms,
                    )
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _outcome(self, call: ToolCall, max_bytes: int, *, late: bool) -> ToolOutcome:
        """What the model gets to read; what went wrong is a result too, so that it can do better."""
        if late:
            return _failed(f"At most {MAX_CALLS_A_TURN} tools run in one turn; call again.")
        try:
            arguments = msgspec.json.decode(call.arguments or "{}")
        except (msgspec.DecodeError, RecursionError):
            arguments = None
        if not isinstance(arguments, dict):
            return _failed("The arguments are not a JSON object.")
        try:
            return await self._tools.execute(
                call.name,
                arguments,
                caller=_CALLER,
                timeout_s=max(self._seconds_left(), 0.001),
                max_bytes=max_bytes,
            )
        except AppError as error:
            return _failed(error.message)

    def _next(
        self, request: GenerateRequest, message: Message, calls: Sequence[ToolCall], tokens_left: int | None
    ) -> GenerateRequest:
        """The conversation with the turn and its results, to go on freely."""
        chat = request.input
        assert isinstance(chat, ChatInput)
        results = Message("tool", tuple(self._results[place] for place in range(len(calls))))
        # A call that was asked for has been made; to ask for it again would never end.
        choice = ToolChoice("none") if chat.tool_choice.mode == "none" else ToolChoice()
        messages = (*chat.messages, message, results)
        return msgspec.structs.replace(
            request,
            input=msgspec.structs.replace(chat, messages=messages, tool_choice=choice),
            sampling=msgspec.structs.replace(request.sampling, max_tokens=tokens_left, min_tokens=0),
        )

    def _in_time(self, request: GenerateRequest) -> GenerateRequest:
        """The request with what is left of its own time."""
        if request.timeout_s is None:
            return request
        left_s = request.timeout_s - (self._clock() - self._began)
        if left_s <= 0:
            raise DeadlineExceeded("The request's time limit passed while its tools ran.")
        return msgspec.structs.replace(request, timeout_s=left_s)

    def _seconds_left(self) -> float:
        return self._limits.max_seconds - (self._clock() - self._began)

    def _account(self, turn: Turn) -> None:
        one, total = turn.usage(), self._usage
        cached = total.cached_tokens + one.cached_tokens
        self._usage = Usage(
            prompt_tokens=total.prompt_tokens + one.prompt_tokens,
            completion_tokens=total.completion_tokens + one.completion_tokens,
            cached_tokens=cached,
            reasoning_tokens=total.reasoning_tokens + one.reasoning_tokens,
            # So that what is marked and was not cached, turn by turn, adds up.
            marked_tokens=cached + _newly_marked(total) + _newly_marked(one),
        )
        if self._first_token_ms is None and turn.completed is not None:
            self._first_token_ms = turn.completed.timings.time_to_first_token_ms

    def _completed(self) -> Completed:
        first_ms = self._first_token_ms or 0.0
        whole_ms = (self._clock() - self._began) * 1e3
        return Completed(self._usage, Timings(first_ms, max(0.0, whole_ms - first_ms)))


def _newly_marked(usage: Usage) -> int:
    return max(0, usage.marked_tokens - usage.cached_tokens)


def _spec(tool: OfferedTool) -> ToolSpec:
    return ToolSpec(tool.name, tool.tool.description or None, tool.tool.parameters)


def _failed(reason: str) -> ToolOutcome:
    return ToolOutcome(text=reason, is_error=True)
