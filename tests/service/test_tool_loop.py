"""The tool loop over scripted turns: what runs, what the model reads, what the client sees, and where it ends."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from contextlib import aclosing
from typing import Any

import pytest
from tests.fakes.clock import HandClock
from tests.fakes.service import HANG, FakeModelService, completed, spoken
from tests.fakes.tools import FakeToolService

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
    parallel: bool = True,
    chat: dict[str, Any] | None = None,
    **request: Any,
) -> list[ServedEvent]:
    loop = ToolLoop(tools, limits, clock=clock or HandClock())
    asked = GenerateRequest(input=ChatInput(messages=(QUESTION,), **(chat or {})), **request)
    events = loop.run(turns.model.generate, asked, tools.select(None), parallel=parallel)
    async with aclosing(events):
        return [event async for event in events]


def text(events: list[ServedEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))


def of[T](events: list[ServedEvent], kind: type[T]) -> list[T]:  # pragma: no cover  (replaced below)
    return [event for event in events if isinstance(event, kind)]
