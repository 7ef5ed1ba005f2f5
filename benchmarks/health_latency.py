"""How long GET /health takes while long prompts are read: the slowest answer must stay under 200 ms.

    python -m benchmarks.health_latency MODEL [--prompts 4] [--tokens 9000] [--rounds 3] [-- SERVE FLAGS]

Starts a server on MODEL, lets it read that many prompts of about so many tokens side by side, and meanwhile
asks for its health without a pause: in turns on a connection kept open and on a new one.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPConnection

import httpx

LIMIT_S = 600
WORDS = "the server reads a long prompt while others ask for its health "


def split_flags(argv: list[str]) -> tuple[list[str], list[str]]:
    """A benchmark's own words, and behind `--` the server's flags."""
    at = argv.index("--") if "--" in argv else len(argv)
    return argv[:at], argv[at + 1 :]


@contextmanager
def server(model: str, flags: list[str]) -> Iterator[str]:
    """The address of a server that is ready."""
    command = [
        sys.executable,
        "-m",
        "vllm_mlx",
        "serve",
        model,
        "--port",
        "0",
        "--log-level",
        "error",
        *flags,
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        url = process.stdout.readline().split()[-1]
        httpx.post(url + "/tokenize", json={"prompt": "x"}, timeout=LIMIT_S).raise_for_status()
        yield url
    finally:
        process.terminate()
        process.wait(LIMIT_S)


def prompt_ids(url: str, tokens: int) -> list[int]:
    """Ids of a text of that many tokens."""
    text = WORDS * (tokens // 8)
    ids: list[int] = httpx.post(url + "/tokenize", json={"prompt": text}, timeout=LIMIT_S).json()["tokens"]
    assert len(ids) >= tokens
    return ids[:tokens]


def connection(url: str) -> HTTPConnection:
    """A connection that opens with its first question; httpx would take 30 ms of this process to make one."""
    return HTTPConnection(url.removeprefix("http://"), timeout=LIMIT_S)


def measure(url: str, prompts: list[str]) -> tuple[float, list[float]]:
    """Seconds until all prompts were read, and the seconds of each health check meanwhile."""

    def read(prompt: str) -> None:
        body = {"prompt": prompt, "max_tokens": 1}
        httpx.post(url + "/v1/completions", json=body, timeout=LIMIT_S).raise_for_status()

    waits: list[float] = []
    began = time.perf_counter()
    with ThreadPoolExecutor(len(prompts)) as pool:
        kept = connection(url)
        reading = [pool.submit(read, prompt) for prompt in prompts]
        while not all(each.done() for each in reading):
            for opened in (kept, connection(url)):
                asked = time.perf_counter()
                opened.request("GET", "/health")
                assert opened.getresponse().read() == b'{"status":"ok"}'
                waits.append(time.perf_counter() - asked)
                if opened is not kept:
                    opened.close()
        kept.close()
        for each in reading:
            each.result()
    return time.perf_counter() - began, waits


def main(argv: list[str]) -> int:
    """Measure and print; 1 if a health check took 200 ms or longer."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.health_latency")
    parser.add_argument("model")
    parser.add_argument("--prompts", type=int, default=4)
    parser.add_argument("--tokens", type=int, default=9000)
    parser.add_argument("--rounds", type=int, default=3)
    own, flags = split_flags(argv)
    given = parser.parse_args(own)
    slowest = 0.0
    with server(given.model, flags) as url:
        text = httpx.post(
            url + "/detokenize", json={"tokens": prompt_ids(url, given.tokens)}, timeout=LIMIT_S
        ).json()["prompt"]
        for number in range(given.rounds):
            prompts = [f"{number} {i} {text}" for i in range(given.prompts)]
            took, waits = measure(url, prompts)
            waits.sort()
            slowest = max(slowest, waits[-1])
            middle, high = waits[len(waits) // 2], waits[len(waits) * 99 // 100]
            print(
                f"{given.prompts} prompts of {given.tokens} tokens in {took:.1f} s; {len(waits)} checks: "
                f"p50 {middle * 1e3:.0f} ms, p99 {high * 1e3:.0f} ms, p100 {waits[-1] * 1e3:.0f} ms"
            )
    return 0 if slowest < 0.2 else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
