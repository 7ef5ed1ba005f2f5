"""One turn of a model whose calls this server may run: what goes to the client, and what is kept back."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

import msgspec

from vllm_mlx.core.events import (
    Completed,
    Event,
    Finished,
    ReasoningDelta,
    Started,
    TextDelta,
    ToolCallDelta,
    ToolCallStart,
    Usage,
)
from vllm_mlx.core.messages import Message, Part, Reasoning, Text, ToolCall


@dataclass(slots=True)
class _Call:
    id: str
    name: str
    arguments: list[str] = field(default_factory=list)


class Turn:
    """Reads one turn's events.

    Calls are held back as long as all of them are ours to run. With the first that is not, the client gets
    them all: whoever answers a turn answers all its calls.

    Args:
        runnable: names of the tools that may run.
        parallel: when false, calls after the first do not count.
        after: texts and thoughts of earlier turns were sent: (text, thought).
        between: what parts this turn's from theirs; nothing where it is empty.
        meant: the tool that a name means.
    """

    def __init__(
        self,
        runnable: AbstractSet[str],
        *,
        parallel: bool,
        after: tuple[bool, bool] | None,
        between: str = "",
        meant: Callable[[str], str] = str,
    ) -> None:
        self._runnable = runnable
        self._meant = meant
        self._parallel = parallel
        self._first = after is None
        self._between = between
        self._gap = {
            TextDelta: bool(between) and after is not None and after[0],
            ReasoningDelta: bool(between) and after is not None and after[1],
        }
        self._text: list[str] = []
        self._thought: list[str] = []
        self._calls: dict[int, _Call] = {}
        self._held: list[Event] = []
        self._passing = False
        self._finish: Finished | None = None
        self.completed: Completed | None = None

    def feed(self, event: Event) -> list[Event]:
        """What of it goes to the client now."""
        match event:
            case Started():
                return [event] if self._first else []
            case TextDelta(text=text):
                self._text.append(text)
                return self._spaced(event)
            case ReasoningDelta(text=text):
                self._thought.append(text)
                return self._spaced(event)
            case ToolCallStart() | ToolCallDelta():
                return self._call(event)
            case Finished():
                self._finish = event
            case Completed():
                self.completed = event
        return []

    def to_run(self) -> list[ToolCall]:
        """The calls to run now; none if the turn is the last."""
        if self._passing or self._finish is None or self._finish.reason != "tool_calls":
            return []
        return [ToolCall(call.id, call.name, "".join(call.arguments)) for call in self._calls.values()]

    def release(self) -> list[Event]:
        """What was held back, calls first: the turn is the last."""
        held, self._held = self._held, []
        return held + ([self._finish] if self._finish is not None else [])

    def message(self) -> Message:
        """The turn as the model shall find it in the conversation."""
        parts: list[Part] = []
        if self._thought:
            parts.append(Reasoning("".join(self._thought)))
        if self._text:
            parts.append(Text("".join(self._text)))
        return Message("assistant", (*parts, *self.to_run()))

    def said(self, before: tuple[bool, bool] | None) -> tuple[bool, bool]:
        """Whether this or an earlier turn sent a text, and a thought."""
        text, thought = before or (False, False)
        return text or any(self._text), thought or any(self._thought)

    def usage(self) -> Usage:
        """The turn's account."""
        return self.completed.usage if self.completed is not None else Usage(0, 0)

    def _spaced(self, event: TextDelta | ReasoningDelta) -> list[Event]:
        kind = type(event)
        if not self._gap[kind] or not event.text:
            return [event]
        self._gap[kind] = False
        return [kind(event.choice, self._between), event]

    def _call(self, event: ToolCallStart | ToolCallDelta) -> list[Event]:
        if event.index > 0 and not self._parallel:
            return []
        if isinstance(event, ToolCallStart):
            event = msgspec.structs.replace(event, name=self._meant(event.name))
            self._calls[event.index] = _Call(event.id, event.name)
            self._passing = self._passing or event.name not in self._runnable
        else:
            self._calls[event.index].arguments.append(event.arguments)
        self._held.append(event)
        if not self._passing:
            return []
        held, self._held = self._held, []
        return held
