"""Microseconds of processor time that the host spends on a generated token, and where.

    python benchmarks/host_cost.py [--rows 64] [--tokens 256] [--repeats 7]

A runner that computes nothing takes the model's place; all else is real: scheduler and blocks, delivery to
the event loop, detokeniser, stop strings, parser, chat completion chunks, the application up to its `send`.
Beside the whole path, in one process, stand its parts, each alone in a loop, and the frames that `serve`
sends between its processes. In the whole path a step takes some milliseconds in which nothing is computed, as
on a GPU: otherwise the engine would run ahead and the front would take many tokens at once, which costs less.
Best of the repeats, in processor time, so that a busy machine only adds noise.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import platform
import threading
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec
from starlette.types import ASGIApp, Message

from vllm_mlx.chat.detokenizer import Detokenizer
from vllm_mlx.chat.tokenizer import Tokenizer
from vllm_mlx.config import CacheConfig, Config, EngineConfig, ServerConfig
from vllm_mlx.core.events import Event
from vllm_mlx.core.sampling import SamplingParams
from vllm_mlx.core.stats import ModelPath
from vllm_mlx.core.steps import SampledToken
from vllm_mlx.engine.scheduler import Scheduler
from vllm_mlx.engine.wire import EngineRequest, TokenOutput
from vllm_mlx.models.source import DEMO, resolve_model
from vllm_mlx.parsing.detect import detect_format
from vllm_mlx.parsing.stream import OutputParser
from vllm_mlx.runners.base import Capabilities, Runner, StepPlan, StepResult, TokenMask, do_nothing
from vllm_mlx.server.app import create_app
from vllm_mlx.server.openai.chat_encode import ChatEncoder, ChatStream
from vllm_mlx.server.openai.envelope import Envelope
from vllm_mlx.service.build import build_service
from vllm_mlx.service.choice import ChoiceStream

TEXT = "The quick brown fox jumps over the lazy dog, and then it rests beside the old stone wall. "
PROMPT_TOKENS = 400
STEP_S = 0.004
CHAT = "/v1/chat/completions"
SHORT, LONG = "short answers", "long answers"
FEW_TOKENS = 16


class Pace(Protocol):
    """How long steps take."""

    def wait(self, frames: int, rows: int) -> None:
        """Return when a step is over.

        Args:
            frames: what the steps before it gave the clients at the least: one a token, and one a stream.
            rows: streams that have begun.
        """


@dataclass(frozen=True, slots=True)
class Seconds:
    """All steps take alike."""

    step_s: float

    def wait(self, frames: int, rows: int) -> None:
        """Wait so long."""
        if self.step_s:
            threading.Event().wait(self.step_s)


@dataclass(frozen=True, slots=True)
class InstantStep:
    """A step that costs no processor time."""

    result: StepResult
    wait: Callable[[], None]

    def sample(self, mask: TokenMask | None) -> None:
        """Nothing here waits for a mask."""

    def peek(self) -> dict[int, int]:
        """Nothing is foretold."""
        return {}

    def read(self) -> StepResult:
        """What was known when it was submitted."""
        self.wait()
        return self.result


class InstantRunner(Runner):
    """Says the same text over and over, from its beginning: a space there might be held back.

    Attributes:
        spent_s: processor time of its own, which is not the engine's.
    """

    def __init__(self, token_ids: Sequence[int], vocab_size: int, pace: Pace) -> None:
        self._pace = pace
        self._brought = 0
        self._begun: dict[int, int] = {}  # by sequence, where its output begins
        self._tokens = [SampledToken(token_id) for token_id in token_ids]
        self._vocab_size = vocab_size
        self.spent_s = 0.0

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            vocab_size=self._vocab_size,
            max_model_len=4096,
            block_size=16,
            num_blocks=64 * 256 + 1,
            max_rows=256,
            prefix_reuse=True,
            path=ModelPath(path="paged", reason="answers at once"),
            fingerprint="instant",
            overlap=True,
        )

    def submit(self, plan: StepPlan, starting: Callable[[], None] = do_nothing) -> InstantStep:
        """Look the next token of every row up."""
        start = time.thread_time()
        tokens = self._tokens
        count = len(tokens)
        begun = self._begun
        rows, frames = len(begun), self._brought + len(begun)
        sampled = {
            row.seq_id: tokens[(row.start - begun.setdefault(row.seq_id, row.start)) % count]
            for row in plan.rows
            if row.sampling is not None
        }
        self._brought += len(sampled)
        self.spent_s += time.thread_time() - start
        return InstantStep(StepResult(sampled=sampled), lambda: self._pace.wait(frames, rows))

    def forget(self, seq_ids: Sequence[int]) -> None:
        """Nothing is kept."""

    def close(self) -> None:
        """Nothing is held."""


class Bench:
    """The parts of the path, each as seconds of processor time for `rows` times `tokens` tokens."""

    def __init__(self, rows: int, tokens: int) -> None:
        self.rows = rows
        self.tokens = tokens
        self._folder = resolve_model(DEMO)
        self._tokenizer = Tokenizer.load(self._folder)
        self._format = detect_format(self._tokenizer.chat_template(tools=True)).format
        self._ids = self._tokenizer.encode(TEXT * 4, add_special_tokens=False)

    def runner(self, pace: Pace = Seconds(0.0)) -> InstantRunner:
        """A fresh one."""
        return InstantRunner(self._ids, self._tokenizer.vocab_size, pace)

    def engine(self) -> dict[str, float]:
        """The scheduler alone: plan and apply of steps in which every row decodes."""
        runner = self.runner()
        scheduler = Scheduler(runner.capabilities, EngineConfig(), CacheConfig())
        for row in range(self.rows):
            scheduler.submit(self._request(row, self.tokens + 8))
        spent = {"plan": 0.0, "apply": 0.0}
        before = scheduler.plan()
        while scheduler.stats().running < self.rows:  # prefill
            after = scheduler.plan()
            if before is not None:
                scheduler.apply(before, runner.submit(before).read())
            before = after
        scheduler.take_outputs()
        for _ in range(self.tokens):
            start = time.process_time()
            after = scheduler.plan()
            spent["plan"] += time.process_time() - start
            assert before is not None
            result = runner.submit(before).read()
            start = time.process_time()
            scheduler.apply(before, result)
            scheduler.take_outputs()
            scheduler.take_forgotten()
            spent["apply"] += time.process_time() - start
            before = after
        return spent

    def frames(self) -> dict[str, float]:
        """Outputs of a step as one msgpack frame, there and back."""
        encoder, decoder = msgspec.msgpack.Encoder(), msgspec.msgpack.Decoder(list[TokenOutput])
        outputs = [self._output(row, 5) for row in range(self.rows)]
        return {
            "frames between processes": _time(lambda: decoder.decode(encoder.encode(outputs)), self.tokens)
        }

    def text(self) -> dict[str, float]:
        """Detokeniser, stop strings and parser; then chunks and their frames."""
        choices = [
            ChoiceStream(
                self._tokenizer,
                Detokenizer(self._tokenizer, visible=self._format.markers()),
                OutputParser(self._format, tools=None),
                (),
                choice=0,
            )
            for _ in range(self.rows)
        ]
        steps = [
            [self._output(row, self._ids[i % len(self._ids)]) for row in range(self.rows)]
            for i in range(self.tokens)
        ]
        start = time.process_time()
        events: list[Event] = []
        for outputs in steps:
            for choice, output in zip(choices, outputs, strict=True):
                events += choice.feed(output)
        fed = time.process_time()
        encoder, stream = ChatEncoder(), ChatStream(Envelope("chatcmpl", "m"), usage=False)
        for event in events:
            stream.frame(encoder.encode(event))
        return {"detokenise, stops, parse": fed - start, "encode": time.process_time() - fed}

    def whole(self) -> dict[str, float]:
        """Everything in one process, application to `send`, for short answers and for longer ones."""
        few, many = FEW_TOKENS, FEW_TOKENS + self.tokens
        return {SHORT: asyncio.run(self._streams(few)), LONG: asyncio.run(self._streams(many))}

    async def _streams(self, tokens: int) -> float:
        runner = self.runner(Seconds(STEP_S))
        async with serving(runner) as app:
            await post(app, CHAT, chat_body(self.rows, 1))  # for what an application does once in its life
            runner.spent_s = 0.0
            start = time.process_time()
            counts = await asyncio.gather(*(post(app, CHAT, chat_body(i, tokens)) for i in range(self.rows)))
            spent = time.process_time() - start - runner.spent_s
        assert min(counts) >= tokens, "not every token came in a frame of its own"
        return spent

    def _request(self, row: int, tokens: int) -> EngineRequest:
        prompt = [(row * 7 + i) % 90 for i in range(PROMPT_TOKENS)]
        return EngineRequest(
            request_id=f"{row}",
            prompt_ids=prompt,
            sampling=SamplingParams(max_tokens=tokens, temperature=0.0),
            seed=row,
            timeout_s=300.0,
        )

    def _output(self, row: int, token_id: int) -> TokenOutput:
        return TokenOutput(request_id=f"chatcmpl-{row:064}", choice=0, token_ids=[token_id])


@asynccontextmanager
async def serving(runner: InstantRunner) -> AsyncGenerator[ASGIApp, None]:
    """The application over a runner, ready to be asked."""
    service = build_service(Config(), runner_factory=lambda: runner)
    app = create_app(service, ServerConfig())
    await service.start()
    await service.loaded()
    yield app
    await service.drain(0.1)


async def post(
    app: ASGIApp, path: str, fields: dict[str, object], heard: Callable[[], None] = lambda: None
) -> int:
    """One request, to the application's `send`; returns how many frames came.

    Args:
        heard: called at each frame.
    """
    body = json.dumps(fields).encode()
    received = [{"type": "http.request", "body": body, "more_body": False}]
    gone = asyncio.Event()
    frames = 0

    async def receive() -> Message:
        if received:
            return received.pop()
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        nonlocal frames
        if message.get("body"):
            frames += 1
            heard()

    headers = [
        (b"host", b"localhost"),
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
    ]
    scope: dict[str, Any] = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": headers,
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 2),
    }
    await app(scope, receive, send)
    gone.set()
    return frames


def chat_body(row: int, tokens: int) -> dict[str, object]:
    """A chat completion of so many tokens; no two rows share a prompt."""
    messages = [{"role": "user", "content": prompt(row)}]
    return {"messages": messages, "max_tokens": tokens, "ignore_eos": True, "stream": True}


def prompt(row: int) -> str:
    """A text that no other row has."""
    return f"{row} " + TEXT * 16


def _time(work: Callable[[], object], times: int) -> float:
    start = time.process_time()
    for _ in range(times):
        work()
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--tokens", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=7)
    args = parser.parse_args()
    bench = Bench(args.rows, args.tokens)
    best: dict[str, float] = {}
    for _ in range(args.repeats):
        for part in (bench.engine, bench.frames, bench.text, bench.whole):
            gc.collect()
            for name, seconds in part().items():
                best[name] = min(best.get(name, seconds), seconds)
    short, long = best.pop(SHORT), best.pop(LONG)
    best["whole path, a further token"] = long - short
    print(f"{args.rows} rows, {args.tokens} tokens each, {platform.machine()}; us a token")
    for name, seconds in best.items():
        print(f"  {seconds / args.rows / args.tokens * 1e6:6.2f}  {name}")
    print(f"  {short / args.rows * 1e3:6.2f}  ms a request and its first {FEW_TOKENS} tokens")


if __name__ == "__main__":
    main()
