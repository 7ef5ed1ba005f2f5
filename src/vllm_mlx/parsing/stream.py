"""Turns generated text into events as it grows; a complete text is just one big piece."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple
from uuid import uuid4

from vllm_mlx.core.events import (
    Event,
    ReasoningDelta,
    TextDelta,
    TokenLogprob,
    ToolCallDelta,
    ToolCallStart,
)
from vllm_mlx.parsing.bodies import BODIES, Body, BodyPiece, CallArguments, CallName
from vllm_mlx.parsing.format import OutputFormat

# A long text full of tags would be copied once a tag; in slices the copying stays linear.
_SLICE = 1024


def new_call_id() -> str:
    """An id for a tool call, as OpenAI's look."""
    return f"call_{uuid4().hex[:24]}"


class _Voice:
    """One of the two kinds of running text, and the line breaks it ends with so far.

    Line breaks beside a tag are markup: they are shown only if the same kind of text stood before them and
    goes on after them.
    """

    def __init__(self, event: Callable[..., ReasoningDelta | TextDelta]) -> None:
        self.event = event
        self.said = False
        self.fresh = True  # nothing but line breaks since the last tag
        self._breaks = 0
        self._beside_tag = False

    def meet_tag(self) -> None:
        self._beside_tag = True
        self.fresh = True

    def say(self, text: str) -> str:
        """What of the text can be shown by now, after what waited before it."""
        body = text.rstrip("\n")
        if not body:
            self._breaks += len(text)
            return ""
        start = body.lstrip("\n")
        breaks = self._breaks + len(body) - len(start)
        self._breaks = len(text) - len(body)
        shown = start if self._beside_tag and not self.said else "\n" * breaks + start
        self.said = True
        self.fresh = self._beside_tag = False
        return shown

    def finish(self) -> str:
        breaks, self._breaks = self._breaks, 0
        return "" if self._beside_tag else "\n" * breaks


class _Markers(NamedTuple):
    """The tags that mean something in one state of the parser."""

    pattern: re.Pattern[str]
    tags: tuple[str, ...]

    @classmethod
    def of(cls, *tags: str) -> _Markers:
        return cls(re.compile("|".join(map(re.escape, tags)) or r"(?!)"), tags)

    def held_back(self, text: str) -> int:
        """Length of the longest end of the text that may still grow into a tag."""
        longest = 0
        for tag in self.tags:
            at = text.find(tag[0], max(0, len(text) - len(tag) + 1))
            while at >= 0:
                if tag.startswith(text[at:]):
                    longest = max(longest, len(text) - at)
                    break
                at = text.find(tag[0], at + 1)
        return longest


class OutputParser:
    """Reads one choice's text. The events, their neighbouring deltas joined, do not depend on the cuts.

    Reasoning, answer and any number of calls may follow each other in any order. Nothing is lost: a block
    that proves to be no tool call comes out as the text it was, and markup in the wrong place is text.
    Line breaks directly beside a tag are dropped (Qwen writes `<think>\\n...\\n</think>\\n\\n`), unless the
    same kind of text goes on after them.

    Args:
        format: the family's markup.
        choice: the index that every event carries.
        thinking: the prompt already ends inside an open reasoning tag.
        tools: whether calls are looked for; a request without tools gets the model's words as they are.
        new_id: makes the ids of calls.
    """

    def __init__(
        self,
        format: OutputFormat,
        choice: int = 0,
        *,
        thinking: bool = False,
        tools: bool = True,
        new_id: Callable[[], str] = new_call_id,
    ) -> None:
        self._format = format
        self._choice = choice
        self._new_id = new_id
        self._tool_open = format.tool.open if format.tool is not None and tools else None
        think = format.reasoning
        call = () if self._tool_open is None else (self._tool_open,)
        self._in_answer = _Markers.of(*(() if think is None else (think.open,)), *call)
        self._in_thought = _Markers.of(*(() if think is None else think), *call)
        self._answer = _Voice(TextDelta)
        self._thought = _Voice(ReasoningDelta)
        self._voice = self._thought if thinking and think is not None else self._answer
        if self.reasoning:
            self._voice.meet_tag()
        self._body: Body | None = None
        self._held = ""
        self._logprobs: list[TokenLogprob] = []
        self._events: list[Event] = []
        self._calls = 0

    @property
    def reasoning(self) -> bool:
        """Whether the text so far ends inside the thought."""
        return self._voice is self._thought

    @property
    def calls(self) -> int:
        """How many tool calls have begun."""
        return self._calls

    def feed(self, text: str, logprobs: Sequence[TokenLogprob] = ()) -> list[Event]:
        """Take more text, and the logprobs of its tokens; these go out with the next delta of text."""
        self._logprobs.extend(logprobs)
        for begin in range(0, len(text), _SLICE):
            rest = text[begin : begin + _SLICE]
            while rest:
                rest = self._read_body(rest) if self._body is not None else self._read_text(rest)
        return self._take()

    def finish(self) -> list[Event]:
        """The text is complete: everything that waited comes out, the last logprobs in an empty delta."""
        if self._body is not None:
            body, self._body = self._body, None
            self._tell(body.finish())
        held, self._held = self._held, ""
        self._say(held)
        self._show(self._voice.finish())
        if self._logprobs:
            self._events.append(self._voice.event(self._choice, "", self._take_logprobs()))
        return self._take()

    def _read_text(self, text: str) -> str:
        """Handle text up to and with the next tag; returns the rest."""
        markers = self._in_thought if self.reasoning else self._in_answer
        text, self._held = self._held + text, ""
        found = markers.pattern.search(text)
        if found is None:
            keep_from = len(text) - markers.held_back(text)
            self._held = text[keep_from:]
            self._say(text[:keep_from])
            return ""
        self._say(text[: found.start()])
        self._meet(found.group())
        return text[found.end() :]

    def _meet(self, tag: str) -> None:
        think = self._format.reasoning
        if tag == self._tool_open and self._format.tool is not None:
            self._body = BODIES[self._format.body](self._format.tool)
        elif self.reasoning and think is not None and tag == think.open:
            # Some models repeat the tag that their template has written already; later it is just text.
            if not self._voice.fresh:
                self._say(tag)
        else:
            self._voice.meet_tag()
            self._voice = self._answer if self.reasoning else self._thought
            self._voice.meet_tag()

    def _read_body(self, text: str) -> str:
        body = self._body
        assert body is not None
        pieces, rest = body.feed(text)
        if body.over:
            self._body = None
        self._tell(pieces)
        return rest

    def _tell(self, pieces: Sequence[BodyPiece]) -> None:
        for piece in pieces:
            if isinstance(piece, CallName):
                self._voice.meet_tag()
                self._events.append(ToolCallStart(self._choice, self._calls, self._new_id(), piece.name))
                self._calls += 1
            elif isinstance(piece, CallArguments):
                self._events.append(ToolCallDelta(self._choice, self._calls - 1, piece.text))
            else:
                self._say(piece.text)

    def _say(self, text: str) -> None:
        if not self._in_answer.tags and not self._in_thought.tags:
            self._show(text)
        elif text:
            self._show(self._voice.say(text))

    def _show(self, text: str) -> None:
        if text:
            self._events.append(self._voice.event(self._choice, text, self._take_logprobs()))

    def _take_logprobs(self) -> tuple[TokenLogprob, ...]:
        taken = tuple(self._logprobs)
        self._logprobs.clear()
        return taken

    def _take(self) -> list[Event]:
        events, self._events = self._events, []
        return events
