"""Microseconds of processor time that a piece of text takes on its way into frames, in each dialect.

    python -m benchmarks.encoding [--chunks 20000] [--runs 5] [--rows 64] [--tokens 256]

The same events go through encoder and framer of each dialect, the runs of the dialects taking turns. A piece
is one token; text, thought and the arguments of a call are measured apart. Then streams of each dialect, as
many at a time as there are rows, go through the whole application over a runner that computes nothing. A run
is the mean of six rounds, one for each order of the dialects, and in a round they take turns every few steps.
The medians of the runs are compared.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import time
from collections.abc import Callable, Sequence
from itertools import permutations
from statistics import median

from msgspec import Raw

from benchmarks.host_cost import CHAT, Bench, chat_body, prompt
from benchmarks.taking_turns import Dialect, Turns
from vllm_mlx.core.events import (
    Completed,
    Event,
    Finished,
    ReasoningDelta,
    Started,
    TextDelta,
    Timings,
    ToolCallDelta,
    ToolCallStart,
    Usage,
)
from vllm_mlx.core.tools import ToolChoice
from vllm_mlx.server.anthropic import messages_encode
from vllm_mlx.server.openai.chat_encode import ChatEncoder, ChatStream
from vllm_mlx.server.openai.envelope import Envelope
from vllm_mlx.server.responses import wire
from vllm_mlx.server.responses.answer import Framer, StreamedAnswer
from vllm_mlx.server.responses.encode import ResponsesEncoder, Shown
from vllm_mlx.server.responses.tools_decode import Toolbox

PIECE = " token"
GOAL_US = 10.0
GOAL_PERCENT = 5.0

Frames = Callable[[Event], bytes]


def chat() -> Frames:
    """A chat completion's stream."""
    encoder, stream = ChatEncoder(), ChatStream(Envelope("chatcmpl", "m"), usage=False)
    return lambda event: stream.frame(encoder.encode(event))


def messages() -> Frames:
    """An Anthropic message's stream."""
    encoder = messages_encode.MessagesEncoder("m", 100_000)
    return lambda event: messages_encode.frames(encoder.encode(event))


def responses() -> Frames:
    """A response's stream, kept nowhere."""
    response = wire.Response(
        id="resp_0",
        created_at=0,
        model="m",
        instructions=None,
        max_output_tokens=None,
        max_tool_calls=None,
        metadata={},
        parallel_tool_calls=True,
        previous_response_id=None,
        prompt_cache_key=None,
        reasoning={},
        safety_identifier=None,
        store=False,
        temperature=None,
        text={},
        tool_choice="auto",
        tools=Raw(b"[]"),
        top_logprobs=0,
        top_p=None,
        truncation="disabled",
        user=None,
    )
    encoder = ResponsesEncoder(response, Toolbox((), ToolChoice(), {}), Shown())
    return StreamedAnswer(encoder, Framer(), lambda _: None).frames


DIALECTS: dict[str, Callable[[], Frames]] = {"chat": chat, "messages": messages, "responses": responses}


def story(kind: str, chunks: int) -> list[Event]:
    """The events of one answer that is all text, all thought, or all one call."""
    opening: list[Event] = [Started(0, 400)]
    if kind == "text":
        pieces: list[Event] = [TextDelta(0, PIECE)] * chunks
    elif kind == "thought":
        pieces = [ReasoningDelta(0, PIECE)] * chunks
    else:
        opening.append(ToolCallStart(0, 0, "call_0", "f"))
        pieces = [ToolCallDelta(0, 0, PIECE)] * chunks
    return [*opening, *pieces, Finished(0, "stop"), Completed(Usage(400, chunks), Timings(1.0, 1.0))]


def measure(dialect: Callable[[], Frames], events: Sequence[Event]) -> float:
    """Seconds of processor time for all events, ends included."""
    frames = dialect()
    start = time.process_time()
    for event in events:
        frames(event)
    return time.process_time() - start


def messages_body(row: int, tokens: int) -> dict[str, object]:
    """An Anthropic message of so many tokens."""
    return {
        "messages": [{"role": "user", "content": prompt(row)}],
        "max_tokens": tokens,
        "stream": True,
    }


def responses_body(row: int, tokens: int) -> dict[str, object]:
    """A response of so many tokens."""
    return {"input": prompt(row), "max_output_tokens": tokens, "stream": True}


STREAMS = (
    Dialect("chat", CHAT, chat_body),
    Dialect("messages", "/v1/messages", messages_body),
    Dialect("responses", "/v1/responses", responses_body),
)


def encoders(chunks: int, runs: int) -> dict[str, dict[str, float]]:
    """Microseconds a chunk, by kind and dialect."""
    medians: dict[str, dict[str, float]] = {}
    for kind in ("text", "thought", "call"):
        events = story(kind, chunks)
        spent: dict[str, list[float]] = {name: [] for name in DIALECTS}
        for _ in range(runs):
            for name, dialect in DIALECTS.items():
                spent[name].append(measure(dialect, events))
        medians[kind] = {name: round(median(times) / chunks * 1e6, 2) for name, times in spent.items()}
    return medians


def streams(rows: int, tokens: int, runs: int) -> dict[str, list[float]]:
    """Milliseconds of processor time for all streams of each dialect, run by run."""
    bench = Bench(rows, tokens)

    async def play(dialects: Sequence[Dialect]) -> dict[str, float]:
        return await Turns(bench, dialects).play(tokens)

    asyncio.run(play(STREAMS))  # imports and caches that the first of all would pay for
    ms: dict[str, list[float]] = {dialect.name: [] for dialect in STREAMS}
    for _ in range(runs):
        rounds = []
        for order in permutations(STREAMS):
            gc.collect()
            rounds.append(asyncio.run(play(order)))
        for name, times in ms.items():
            times.append(round(sum(each[name] for each in rounds) / len(rounds) * 1e3, 1))
    return ms


def main() -> None:
    """Print the medians as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--chunks", type=int, default=20_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--tokens", type=int, default=256)
    given = parser.parse_args()
    load = os.getloadavg()
    chunks = encoders(given.chunks, given.runs)
    runs = streams(given.rows, given.tokens, given.runs)
    medians = {name: median(times) for name, times in runs.items()}
    found = {
        "us a chunk": chunks,
        "goal us a chunk": GOAL_US,
        "ms of processor time for all streams, each run": runs,
        "median ms": medians,
        "% above chat": {name: round((ms / medians["chat"] - 1) * 100, 1) for name, ms in medians.items()},
        "goal % above chat": GOAL_PERCENT,
        "load of the machine before and after": [round(load[0], 1), round(os.getloadavg()[0], 1)],
    }
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
