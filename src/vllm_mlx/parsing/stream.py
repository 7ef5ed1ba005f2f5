"""Turns generated text into events as it grows; a complete text is just one big piece."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from vllm_mlx.core.chance import fresh_hex
from vllm_mlx.core.events import (
    Event,
    ReasoningDelta,
    TextDelta,
    TokenLogprob,
    ToolCallDelta,
    ToolCallStart,
)
from vllm_mlx.core.tools import ToolSpec
from vllm_mlx.parsing.format import OutputFormat
from vllm_mlx.parsing.readers.block import fits, plan_of, read_run
from vllm_mlx.parsing.readers.channels import read_header
from vllm_mlx.parsing.source import NoCall, Source, Waits, markers
from vllm_mlx.parsing.syntax import CallSyntax
from vllm_mlx.parsing.voice import Voice


def new_call_id() -> str:
    """An id for a tool call, as OpenAI's look."""
    return f"call_{fresh_hex(24)}"


class OutputParser:
    """Reads one choice's text. The events, their neighbouring deltas joined, do not depend on the cuts.

    Reasoning, answer and any number of calls may follow each other in any order. Nothing is lost: a block
    that proves to be no tool call comes out as the text it was, and markup in the wrong place is text.
    Line breaks directly beside a tag are dropped (Qwen writes `<think>\\n...\\n</think>\\n\\n`), unless the
    same kind of text goes on after them.

    A marked call is a call whatever its name and its arguments: judging them is the caller's. A call without
    any mark is one only at the start of the answer and with the name of a tool that the request offers.

    Args:
        format: the family's markup.
        choice: the index that every event carries.
        thinking: the prompt already ends inside an open reasoning tag.
        tools: what the model may call; None if calls are not looked for, so that a request without tools
            gets the model's words as they are.
        has_form: a grammar gives the answer its form. Once it has begun all of it is the answer, so that a
            JSON string may hold any tag.
        new_id: makes the ids of calls.

    Attributes:
        calls: how many tool calls have begun.
        in_call: whether the last one is not known to be over.
    """

    def __init__(
        self,
        format: OutputFormat,
        choice: int = 0,
        *,
        thinking: bool = False,
        tools: Sequence[ToolSpec] | None = (),
        has_form: bool = False,
        new_id: Callable[[], str] = new_call_id,
    ) -> None:
        self._format = format
        self._choice = choice
        self._tools = None if tools is None else {tool.name: tool for tool in tools}
        self._has_form = has_form
        self._new_id = new_id
        self.calls = 0
        self.in_call = False
        self._by_trigger, self._bare = _triggers(format if tools is not None else None)
        think = format.reasoning
        tags = [*self._by_trigger, *format.dropped]
        thoughts: tuple[str, str] | tuple[()] = (think.open, think.close) if think is not None else ()
        if format.channels is not None:
            tags += *format.channels.opens, *format.channels.closes
            thoughts = ()  # a channel's header says what is thought
        # Formats without any markup pass every character on at once, line breaks too.
        self._plain = not tags and think is None and not self._bare
        self._in_answer = markers(*tags, *thoughts[:1])
        self._in_thought = markers(*tags, *thoughts)
        self._answer = Voice(TextDelta)
        self._thought = Voice(ReasoningDelta)
        self._voice = self._thought if thinking and think is not None else self._answer
        if self.reasoning:
            self._voice.meet_tag()
        self._source = Source()
        self._logprobs: list[TokenLogprob] = []
        self._events: list[Event] = []
        self._reader = self._read()

    @property
    def reasoning(self) -> bool:
        """Whether the text so far ends inside the thought."""
        return self._voice is self._thought

    def feed(self, text: str, logprobs: Sequence[TokenLogprob] = ()) -> list[Event]:
        """Take more text, and the logprobs of its tokens; these go out with the next delta of text."""
        self._logprobs.extend(logprobs)
        if text:
            self._source.feed(text)
            next(self._reader)
        return self._take()

    def finish(self) -> list[Event]:
        """The text is complete: everything that waited comes out, the last logprobs in an empty delta."""
        self._source.over = True
        next(self._reader, None)
        self._show(self._voice.finish())
        if self._logprobs:
            self._events.append(self._voice.event(self._choice, "", self._take_logprobs()))
        return self._take()

    @property
    def answering(self) -> bool:
        """Whether some of the answer's text was told."""
        return self._answer.said

    def begins_markup(self, text: str) -> bool:
        """Whether so begins a tag, or what stands behind one."""
        tags = self._in_answer.tags
        return bool(text) and any(text.startswith(tag) or tag.startswith(text) for tag in tags)

    # The sink that the readers of calls tell.

    def knows(self, name: str) -> bool:
        """Whether the request offers such a tool."""
        return name in (self._tools or {})

    def schema(self, name: str) -> dict[str, Any] | None:
        """The JSON Schema of the tool's arguments, if the request gives one."""
        tool = (self._tools or {}).get(name)
        return None if tool is None else tool.parameters

    def begin(self, name: str) -> None:
        """A call begins."""
        self._source.settle()
        self._voice.meet_tag()
        self._events.append(ToolCallStart(self._choice, self.calls, self._new_id(), name))
        self.calls += 1
        self.in_call = True

    def end(self) -> None:
        """It is over."""
        self.in_call = False

    def write(self, arguments: str) -> None:
        """More of the begun call's arguments."""
        self._source.settle()
        if arguments:
            self._events.append(ToolCallDelta(self._choice, self.calls - 1, arguments))

    # The readers.

    def _read(self) -> Waits[None]:
        source = self._source
        channels = self._format.channels
        if channels is not None and channels.starts_inside and not self.reasoning:
            yield from source.literal(*channels.opens)  # some repeat the tag that ended the prompt
            if not (yield from source.ahead(list(self._by_trigger))):
                yield from self._try(self._read_header())
        else:
            yield from self._read_rest_of_header()
        if not self.reasoning:
            yield from self._read_closed_thought()
            yield from self._read_bare()
        while True:
            if self._has_form and not self.reasoning and (yield from self._answer_begins()):
                yield from self._read_answer()
                return
            tags = self._in_thought if self.reasoning else self._in_answer
            tag = yield from source.until(tags, self._say)
            if not tag:
                return
            source.at += len(tag)
            yield from self._meet(tag)

    def _read_closed_thought(self) -> Waits[None]:
        """A thought may be closed that never was opened, or that the prompt has closed: it says nothing."""
        think = self._format.reasoning
        if think is None or self._format.channels is not None:
            return
        yield from self._source.skip()
        if (yield from self._source.literal(think.close)):
            self._turn(self._answer)
            self._source.settle()
        else:
            self._say(self._source.unsettled())

    def _answer_begins(self) -> Waits[bool]:
        begun = self._answer.said
        yield from self._source.skip()
        marked = yield from self._source.ahead(self._in_answer.tags)
        self._say(self._source.unsettled())
        return begun or not marked

    def _read_answer(self) -> Waits[None]:
        source = self._source
        while (yield from source.more()):
            text, source.at = source.text[source.at :], len(source.text)
            self._say(text)

    def _meet(self, tag: str) -> Waits[None]:
        think, channels = self._format.reasoning, self._format.channels
        if tag in self._by_trigger:
            dropped = tag if tag in self._format.dropped else ""
            yield from self._try(read_run(self._source, self, self._by_trigger[tag], tag), dropped)
        elif channels is not None and tag in channels.opens:
            yield from self._try(self._read_header())
        elif self.reasoning and think is not None and tag == think.open:
            # Some models repeat the tag that their template has written already; later it is just text.
            if not self._voice.fresh:
                self._say(tag)
        elif think is not None and tag == think.open:
            self._turn(self._thought)
        elif (think is not None and tag == think.close) or (channels is not None and tag in channels.closes):
            self._turn(self._answer)
            self._source.settle()
            yield from self._read_rest_of_header()
            yield from self._read_bare()
        else:
            self._turn(self._voice)
        self._source.settle()

    def _read_header(self) -> Waits[None]:
        channels = self._format.channels
        assert channels is not None
        kind = yield from read_header(self._source, self, channels, tools=self._tools is not None)
        self._turn(self._thought if kind == "thought" else self._answer)
        self._source.settle()

    def _read_rest_of_header(self) -> Waits[None]:
        channels = self._format.channels
        if channels is None or not channels.rest_of_open:
            return
        if (yield from self._source.ahead((channels.rest_of_open,))):
            yield from self._try(self._read_header())

    def _read_bare(self) -> Waits[None]:
        """A call that nothing marks may stand where an answer begins."""
        if self._bare:
            yield from self._source.skip()
            char = yield from self._source.peek()
            fitting = [syntax for syntax in self._bare if char and _begins(syntax, char)]
            if fitting and not (yield from self._source.ahead(self._in_answer.tags)):
                yield from self._try(read_run(self._source, self, fitting, ""))
            else:
                self._say(self._source.unsettled())

    def _try(self, reader: Waits[None], dropped: str = "") -> Waits[None]:
        try:
            yield from reader
        except NoCall:
            text = self._source.unsettled()
            if dropped:
                self._turn(self._voice)
            self._say(text.removeprefix(dropped))

    def _turn(self, voice: Voice) -> None:
        self._voice.meet_tag()
        self._voice = voice
        self._voice.meet_tag()

    def _say(self, text: str) -> None:
        self._source.settle()
        if self._plain:
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


def _triggers(format: OutputFormat | None) -> tuple[dict[str, list[CallSyntax]], list[CallSyntax]]:
    """The call syntaxes by the tags that begin them, and those that nothing marks."""
    by_trigger: dict[str, list[CallSyntax]] = {}
    bare: list[CallSyntax] = []
    if format is not None:
        for syntax in format.calls if format.channels is None else format.calls[1:]:
            triggers = plan_of(syntax).triggers
            for tag in triggers:
                by_trigger.setdefault(tag, []).append(syntax)
            if not triggers:
                bare.append(syntax)
    return by_trigger, bare


def _begins(syntax: CallSyntax, char: str) -> bool:
    """Whether an unmarked run may begin so: a list only where the syntax writes one."""
    opening = syntax.block_open.strip()
    return char == opening[0] if opening else fits(syntax, char)
