"""One choice's way from token ids to events: detokenise, look for stop strings, parse."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from msgspec.structs import replace

from vllm_mlx.chat.detokenizer import Detokenizer
from vllm_mlx.chat.tokenizer import Tokenizer
from vllm_mlx.core.events import Event, Finished, FinishReason, TextDelta, TokenAlternative, TokenLogprob
from vllm_mlx.engine.wire import RawLogprob, TokenOutput
from vllm_mlx.parsing.stops import StopMatcher, StopStep
from vllm_mlx.parsing.stream import OutputParser
from vllm_mlx.service.judge import CallWatch

BoundTo = Literal["nothing", "calls", "form"]


class ChoiceStream:
    """The text side of one choice. Synchronous, and alone with its state.

    Args:
        bound_to: what a grammar makes of the answer: calls, or something of a form, beside which calls may be
            allowed. The markup of a call that is cut off before its name is told, or of a thought, is then
            no answer of the model's, and is not shown as one.

    Attributes:
        index: which choice it is.
        started: the opening events were sent.
        finished: `Finished` was returned; nothing more may be fed.
        stopped_early: it was a stop string that ended it, so the engine must be told.
        completion_tokens: tokens the caller is billed for: up to the one that completed a stop string, the
            end-of-text token included.
        reasoning_tokens: those of them that were thought.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        detokenizer: Detokenizer,
        parser: OutputParser,
        stop: Sequence[str],
        watch: CallWatch,
        *,
        choice: int,
        bound_to: BoundTo = "nothing",
    ) -> None:
        self._tokenizer = tokenizer
        self._detokenizer = detokenizer
        self._parser = parser
        self._stops = StopMatcher(stop)
        self._watch = watch
        self._bound_to = bound_to
        self.index = choice
        self._logprobs: list[TokenLogprob] = []
        self.started = False
        self.finished = False
        self.stopped_early = False
        self.completion_tokens = 0
        self.reasoning_tokens = 0
        self._told = 0

    def feed(self, output: TokenOutput) -> list[Event]:
        """What these tokens say; ends with `Finished` if they are the last."""
        events: list[Event] = []
        # The token that ends the text says nothing itself.
        spoken = output.token_ids[:-1] if output.finish == "stop" else output.token_ids
        if output.logprobs:
            self._logprobs.extend(named_logprobs(self._tokenizer, output.logprobs[: len(spoken)]))
        for piece in self._detokenizer.feed_each(spoken):
            self.completion_tokens += 1
            self.reasoning_tokens += self._parser.reasoning
            events += self._read(self._stops.feed_tokens((piece,)))
            if self._stops.matched is not None:
                self.stopped_early = output.finish is None
                return events + self._finish("stop")
        if output.finish is not None:
            self.completion_tokens += len(output.token_ids) - len(spoken)
            text, _ = self._stops.feed(self._detokenizer.finish())
            events += self._finish(output.finish, text)
        return events

    @property
    def unconfirmed(self) -> int:
        """Tokens of the text that the engine was not told to belong to it."""
        return self.completion_tokens - self._told

    def take_unconfirmed(self) -> int:
        """The same; the engine is being told now."""
        new, self._told = self.unconfirmed, self.completion_tokens
        return new

    def _read(self, step: StopStep) -> list[Event]:
        if not self._logprobs:
            return self._seen(self._parser.feed(step.text))
        shown, self._logprobs = self._logprobs[: step.shown], self._logprobs[step.shown :]
        return self._seen(self._parser.feed(step.text, shown))

    def _finish(self, reason: FinishReason, text: str = "") -> list[Event]:
        answering = self._parser.answering
        events = self._seen(self._parser.feed(text))
        events += self._read(self._stops.finish())
        events += self._seen(self._parser.finish())
        stopped = self._stops.matched is not None
        if (stopped or reason == "length") and self._is_markup(events, answering=answering):
            events = _without_text(events)
        if stopped:
            reason = "stop"
        cut = stopped and self._parser.in_call and self._watch.lacks_json
        if reason == "stop" and self._parser.calls and not cut:
            reason = "tool_calls"
        self.finished = True
        return events + self._seen([Finished(self.index, reason, self._stops.matched)])

    def _is_markup(self, ending: Sequence[Event], *, answering: bool) -> bool:
        """Whether the text that a cut-off answer ends in is none of its own."""
        if self._bound_to == "form" and not answering:
            return bool(self._parser.calls) or self._parser.begins_markup(_text(ending))
        return self._bound_to == "calls"

    def _seen(self, events: list[Event]) -> list[Event]:
        for event in events:
            self._watch.see(event)
        return events


def _text(events: Sequence[Event]) -> str:
    text = "".join(event.text for event in events if isinstance(event, TextDelta))
    return text.lstrip().rstrip("\ufffd")  # the last character may be cut off too


def _without_text(events: Sequence[Event]) -> list[Event]:
    """The events without the answer's text; the logprobs of its tokens stay."""
    bare = [replace(event, text="") if isinstance(event, TextDelta) else event for event in events]
    return [event for event in bare if not isinstance(event, TextDelta) or event.logprobs]


def named_logprobs(tokenizer: Tokenizer, raw: Sequence[RawLogprob]) -> tuple[TokenLogprob, ...]:
    """Token ids with their texts and bytes."""
    return tuple(_named(tokenizer, entry) for entry in raw)


def _named(tokenizer: Tokenizer, entry: RawLogprob) -> TokenLogprob:
    raw = tokenizer.token_bytes(entry.token_id)
    return TokenLogprob(
        token_id=entry.token_id,
        token=raw.decode("utf-8", "replace"),
        raw=raw,
        logprob=entry.logprob,
        top=tuple(_alternative(tokenizer, token_id, logprob) for token_id, logprob in entry.top),
    )


def _alternative(tokenizer: Tokenizer, token_id: int, logprob: float) -> TokenAlternative:
    raw = tokenizer.token_bytes(token_id)
    return TokenAlternative(token_id, raw.decode("utf-8", "replace"), raw, logprob)
