"""A whole answer: the events of one request, folded."""

from __future__ import annotations

from collections.abc import AsyncIterable

import msgspec

from vllm_mlx.core.events import (
    Completed,
    Event,
    Finished,
    FinishReason,
    ReasoningDelta,
    Started,
    TextDelta,
    Timings,
    TokenLogprob,
    ToolCallDelta,
    ToolCallStart,
    Usage,
)


class ToolCallResult(msgspec.Struct, frozen=True):
    """A tool call the model made; `arguments` is JSON text as it wrote it."""

    id: str
    name: str
    arguments: str


class ChoiceResult(msgspec.Struct, frozen=True):
    """One finished choice."""

    text: str
    reasoning: str = ""
    tool_calls: tuple[ToolCallResult, ...] = ()
    finish_reason: FinishReason = "stop"
    stop_sequence: str | None = None
    logprobs: tuple[TokenLogprob, ...] = ()


class GenerationResult(msgspec.Struct, frozen=True):
    """Everything one request brought; `text` is the first choice's."""

    choices: tuple[ChoiceResult, ...]
    usage: Usage
    timings: Timings

    @property
    def text(self) -> str:
        """The first choice's answer."""
        return self.choices[0].text


class _Choice:
    """A choice while its events come in."""

    def __init__(self) -> None:
        self.text: list[str] = []
        self.reasoning: list[str] = []
        self.calls: dict[int, tuple[str, str, list[str]]] = {}
        self.logprobs: list[TokenLogprob] = []
        self.finish: Finished | None = None

    def add(self, event: Event) -> None:
        match event:
            case TextDelta(text=text, logprobs=logprobs):
                self.text.append(text)
                self.logprobs.extend(logprobs)
            case ReasoningDelta(text=text, logprobs=logprobs):
                self.reasoning.append(text)
                self.logprobs.extend(logprobs)
            case ToolCallStart(index=index, id=call_id, name=name):
                self.calls[index] = (call_id, name, [])
            case ToolCallDelta(index=index, arguments=arguments):
                self.calls[index][2].append(arguments)
            case Finished():
                self.finish = event
            case Started() | Completed():
                pass

    def result(self) -> ChoiceResult:
        return ChoiceResult(
            text="".join(self.text),
            reasoning="".join(self.reasoning),
            tool_calls=tuple(
                ToolCallResult(call_id, name, "".join(arguments))
                for _, (call_id, name, arguments) in sorted(self.calls.items())
            ),
            finish_reason=self.finish.reason if self.finish else "abort",
            stop_sequence=self.finish.stop_sequence if self.finish else None,
            logprobs=tuple(self.logprobs),
        )


async def fold(events: AsyncIterable[Event]) -> GenerationResult:
    """Wait for the last event and put the answer together."""
    choices: dict[int, _Choice] = {}
    completed: Completed | None = None
    async for event in events:
        if isinstance(event, Completed):
            completed = event
        else:
            choices.setdefault(event.choice, _Choice()).add(event)
    if completed is None:
        raise RuntimeError("the events of a request must end with Completed")
    return GenerationResult(
        choices=tuple(choices[index].result() for index in sorted(choices)),
        usage=completed.usage,
        timings=completed.timings,
    )
