"""Microseconds a token that the wire between the front and an engine's child costs, and what a request costs.

    python benchmarks/engine_wire.py [--rows 1 16 64] [--steps 2000]

`encode` and `decode` are one frame of so many rows, each with one token, and its counts; `trip` is from a
process that answers each message with such a frame, over the same socket and settings as the engine's, until
an asyncio loop has it decoded: the encoding there, both ways through the sockets, and every wakeup. What does
not wait for its answer, as a running engine does not, pays less than `trip`.
"""

from __future__ import annotations

import argparse
import asyncio
import platform
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable

import zmq

from vllm_mlx.core.sampling import SamplingParams
from vllm_mlx.core.stats import EngineStats
from vllm_mlx.engine.frames import decode_frame, encode, encode_request, new_pair
from vllm_mlx.engine.wire import EngineRequest, StepFrame, TokenOutput


def frame_of(rows: int) -> StepFrame:
    """A step in which every row says one token."""
    outputs = [
        TokenOutput(
            request_id=f"req-{uuid.uuid4().hex}", choice=0, token_ids=[100_000 + i], cached_tokens=256
        )
        for i in range(rows)
    ]
    return StepFrame(0, outputs, EngineStats(running=rows, steps=123_456, generated_tokens=10**6))


def microseconds(work: Callable[[], object], times: int) -> float:
    """Best of five means."""
    best = float("inf")
    for _ in range(5):
        start = time.perf_counter()
        for _ in range(times):
            work()
        best = min(best, (time.perf_counter() - start) / times * 1e6)
    return best


def answer(address: str, rows: int) -> None:
    """The other process: a frame for each message, until an empty one."""
    context = zmq.Context()
    pair = new_pair(context)
    pair.connect(address)
    frame = frame_of(rows)
    while pair.recv():
        pair.send(encode(frame), zmq.NOBLOCK)
    context.destroy(linger=1000)


def start_other(address: str, rows: int) -> subprocess.Popen[bytes]:
    """The process that answers."""
    return subprocess.Popen([sys.executable, __file__, "--answer", address, "--rows", str(rows)])


async def trip(rows: int, steps: int) -> float:
    """Microseconds from asking for a frame until it is decoded on an asyncio loop; the median."""
    loop = asyncio.get_running_loop()
    context = zmq.Context()
    pair = new_pair(context)
    with tempfile.TemporaryDirectory(prefix="vmx") as folder:
        address = f"ipc://{folder}/s"
        pair.bind(address)
        other = start_other(address, rows)
        times: list[float] = []
        done = asyncio.Event()
        asked = 0.0

        def ask() -> None:
            nonlocal asked
            asked = time.perf_counter()
            pair.send(b"x")

        def on_readable() -> None:
            while True:
                try:
                    data = pair.recv(zmq.NOBLOCK)
                except zmq.Again:
                    return
                decode_frame(data)
                times.append(time.perf_counter() - asked)
                if len(times) == steps:
                    pair.send(b"")
                    done.set()
                    return
                ask()

        loop.add_reader(pair.fileno(), on_readable)
        ask()
        on_readable()  # arms the descriptor, which is edge triggered
        await done.wait()
        loop.remove_reader(pair.fileno())
        await asyncio.to_thread(other.wait)
    context.destroy(linger=0)
    return sorted(times)[len(times) // 2] * 1e6


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 16, 64])
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--answer", metavar="ADDRESS", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.answer:
        answer(args.answer, args.rows[0])
        return
    print(f"{platform.machine()}, Python {platform.python_version()}, zmq {zmq.zmq_version()}; microseconds")
    print(f"{'rows':>4} {'bytes':>6} {'encode':>8} {'decode':>8} {'a token':>8} {'trip':>8} {'a token':>8}")
    for rows in args.rows:
        frame = frame_of(rows)
        data = encode(frame)
        writing = microseconds(lambda frame=frame: encode(frame), args.steps)
        reading = microseconds(lambda data=data: decode_frame(data), args.steps)
        whole = asyncio.run(trip(rows, args.steps))
        print(
            f"{rows:4} {len(data):6} {writing:8.1f} {reading:8.1f} {(writing + reading) / rows:8.2f} "
            f"{whole:8.1f} {whole / rows:8.2f}"
        )
    for tokens in (390, 32_000):
        request = EngineRequest(
            request_id="r", prompt_ids=list(range(tokens)), sampling=SamplingParams(max_tokens=128), seed=1
        )
        print(f"a request of {tokens} tokens: {microseconds(lambda r=request: encode_request(r), 200):.0f}")


if __name__ == "__main__":
    main()
