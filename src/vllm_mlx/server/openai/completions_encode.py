"""Events to text completion chunks; a whole answer is the same chunks, folded."""

from __future__ import annotations

from collections.abc import Sequence

from vllm_mlx.core.events import (
    Completed,
    Event,
    Finished,
    ReasoningDelta,
    TextDelta,
    Timings,
    TokenAlternative,
    TokenLogprob,
    Usage,
)
from vllm_mlx.server.logprobs import finite
from vllm_mlx.server.openai.envelope import Envelope, Framer, UsageChunk, to_json
from vllm_mlx.server.openai.wire import Completion, CompletionChoice, CompletionLogprobs

Chunk = CompletionChoice | UsageChunk


class CompletionEncoder:
    """Encodes the events of the requests that one body holds.

    Args:
        prompts: how many requests.
        n: choices of each; the index on the wire is prompt * n + choice.
        logprobs: the request asked for them.
    """

    def __init__(self, *, prompts: int = 1, n: int = 1, logprobs: bool = False) -> None:
        self._waiting = prompts
        self._n = n
        self._logprobs = logprobs
        self._chars = [0] * (prompts * n)
        self._completed: list[Completed] = []

    def encode(self, prompt: int, event: Event) -> Chunk | None:
        """The chunk of an event of the request at place `prompt`; None if there is none for it."""
        match event:
            case TextDelta() | ReasoningDelta():
                return self._piece(prompt * self._n + event.choice, event)
            case Finished():
                return CompletionChoice(
                    prompt * self._n + event.choice,
                    "",
                    finish_reason=event.reason,
                    stop_reason=event.stop_sequence,
                )
            case Completed():
                return self._complete(event)
            case _:
                return None

    def _piece(self, index: int, event: TextDelta | ReasoningDelta) -> CompletionChoice | None:
        before = self._chars[index]
        self._chars[index] += len(event.text)
        logprobs = None
        if self._logprobs and event.logprobs:
            logprobs = _logprobs(event.logprobs, before, len(event.text))
        if not event.text and logprobs is None:
            return None
        return CompletionChoice(index, event.text, logprobs)

    def _complete(self, event: Completed) -> UsageChunk | None:
        self._completed.append(event)
        self._waiting -= 1
        return None if self._waiting else _sum(self._completed)


def _logprobs(tokens: Sequence[TokenLogprob], start: int, length: int) -> CompletionLogprobs:
    entries = CompletionLogprobs([], [], [], [])
    raw = b""
    for token in tokens:
        # Bytes of an unfinished character do not count; cleaned-up spaces may make the text the shorter one.
        offset = start + min(len(raw.decode("utf-8", "ignore")), length)
        raw += token.raw
        name = _name(token)
        entries.tokens.append(name)
        entries.text_offset.append(offset)
        if token.logprob is None:
            entries.token_logprobs.append(None)
            entries.top_logprobs.append(None)
            continue
        logprob = finite(token.logprob)
        entries.token_logprobs.append(logprob)
        top = {_name(other): finite(other.logprob) for other in token.top}
        entries.top_logprobs.append(top | {name: logprob})
    return entries


def _name(token: TokenLogprob | TokenAlternative) -> str:
    """The token's text; for a part of a character its bytes, since the shape has no field for them."""
    try:
        token.raw.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in token.raw)
    return token.token


def _sum(parts: Sequence[Completed]) -> UsageChunk:
    usages, timings = [part.usage for part in parts], [part.timings for part in parts]
    first = min(timing.time_to_first_token_ms for timing in timings)
    last = max(timing.time_to_first_token_ms + timing.generation_time_ms for timing in timings)
    return UsageChunk(
        Usage(
            prompt_tokens=sum(usage.prompt_tokens for usage in usages),
            completion_tokens=sum(usage.completion_tokens for usage in usages),
            cached_tokens=sum(usage.cached_tokens for usage in usages),
            reasoning_tokens=sum(usage.reasoning_tokens for usage in usages),
        ),
        Timings(time_to_first_token_ms=first, generation_time_ms=last - first),
    )


class CompletionStream:
    """Chunks of one answer as frames of server-sent events."""

    def __init__(self, envelope: Envelope, *, usage: bool) -> None:
        self._framer = Framer(envelope, "text_completion", usage=usage)

    def frame(self, chunk: Chunk | None) -> bytes:
        """The frame of a chunk; empty for none."""
        if chunk is None:
            return b""
        if isinstance(chunk, UsageChunk):
            return self._framer.usage(chunk)
        return self._framer.choice(to_json(chunk))


class CompletionAnswer:
    """Chunks of one answer, folded into the body of a whole answer."""

    def __init__(self, envelope: Envelope) -> None:
        self._envelope = envelope
        self._choices: dict[int, CompletionChoice] = {}
        self._texts: dict[int, list[str]] = {}
        self._usage: UsageChunk | None = None

    def add(self, chunk: Chunk | None) -> None:
        """Take the next chunk."""
        if isinstance(chunk, UsageChunk):
            self._usage = chunk
        elif chunk is not None:
            choice = self._choices.setdefault(chunk.index, CompletionChoice(chunk.index, ""))
            self._texts.setdefault(chunk.index, []).append(chunk.text)
            if chunk.logprobs is not None:
                choice.logprobs = choice.logprobs or CompletionLogprobs([], [], [], [])
                choice.logprobs.extend(chunk.logprobs)
            if chunk.finish_reason is not None:
                choice.finish_reason, choice.stop_reason = chunk.finish_reason, chunk.stop_reason

    def body(self) -> bytes:
        """The answer as JSON, choices in order."""
        for index, choice in self._choices.items():
            choice.text = "".join(self._texts[index])
        choices = [choice for _, choice in sorted(self._choices.items())]
        account = self._usage.fields() if self._usage else {}
        return to_json(Completion(choices=choices, **self._envelope.fields("text_completion"), **account))
