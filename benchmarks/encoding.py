"""Microseconds of processor time that a piece of text takes on its way into frames, in each dialect.

    python benchmarks/encoding.py [--chunks 20000] [--runs 5]

The same events go through encoder and framer of each dialect, the runs of the dialects taking turns. A piece
is one token; text, thought and the arguments of a call are measured apart.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence

from msgspec import Raw

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


def main() -> None:
    """Print the medians as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--chunks", type=int, default=20_000)
    parser.add_argument("--runs", type=int, default=5)
    given = parser.parse_args()
    medians: dict[str, dict[str, float]] = {}
    for kind in ("text", "thought", "call"):
        events = story(kind, given.chunks)
        spent: dict[str, list[float]] = {name: [] for name in DIALECTS}
        for _ in range(given.runs):
            for name, dialect in DIALECTS.items():
                spent[name].append(measure(dialect, events))
        medians[kind] = {
            name: round(statistics.median(times) / given.chunks * 1e6, 2) for name, times in spent.items()
        }
    print(json.dumps({"us a chunk": medians, "goal": GOAL_US, "runs": given.runs}, indent=2))


if __name__ == "__main__":
    main()
