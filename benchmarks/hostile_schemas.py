"""What many and hostile grammars do to others: the gaps between the tokens of free streams, phase by phase.

    python -m benchmarks.hostile_schemas [MODEL] [--streams 8] [--tokens 200] [--askers 8] [--schemas 300]
        [--large 10] [-- SERVE FLAGS]

Beside short answers without a form; with that many different schemas; with hostile forms (chains of
references, patterns, grammars that end their process); with lists of about 100,000 values. All answers have
16 tokens at most, so that the rows are few and the grammars many; the free streams begin anew as long as a
phase lasts.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

import httpx
from tests.e2e.hostile_forms import ENDLESS, HOSTILE, HUNDRED_THOUSAND, schema

from benchmarks.health_latency import LIMIT_S, server, split_flags
from benchmarks.load import quantile, stream_chat


class Bench:
    """One server, free streams upon it, and who asks for forms."""

    def __init__(self, url: str, given: argparse.Namespace) -> None:
        self._url = url
        self._given = given
        address = urlsplit(url)
        self._address = (address.hostname or "", address.port or 0)

    async def phase(self, name: str, forms: Sequence[dict[str, Any]]) -> None:
        """Ask for short answers in these forms, beside the free streams; print what these saw."""
        gaps_ms: list[float] = []
        done = asyncio.Event()
        begun = time.perf_counter()
        free = [asyncio.create_task(self._stream(i, gaps_ms, done)) for i in range(self._given.streams)]
        told, waits_ms = await self._ask_all(forms)
        done.set()
        await asyncio.gather(*free)
        print(
            f"{name}: {time.perf_counter() - begun:.0f} s, {len(gaps_ms)} gaps: median "
            f"{statistics.median(gaps_ms):.1f} ms, p99 {quantile(gaps_ms, 0.99):.0f} ms, "
            f"p99.9 {quantile(gaps_ms, 0.999):.0f} ms, max {max(gaps_ms):.0f} ms; "
            f"answers {told}, median {statistics.median(waits_ms):.0f} ms, max {max(waits_ms):.0f} ms",
            flush=True,
        )

    async def _stream(self, number: int, gaps_ms: list[float], done: asyncio.Event) -> None:
        while not done.is_set():
            stream = await stream_chat(*self._address, "default", f"Tell me of {number}.", self._given.tokens)
            gaps_ms += [gap * 1e3 for gap in stream.gaps_s]

    async def _ask_all(self, forms: Sequence[dict[str, Any]]) -> tuple[dict[int, int], list[float]]:
        """How often each status was answered, and after how long, in milliseconds."""
        told: Counter[int] = Counter()
        waits_ms: list[float] = []
        slots = asyncio.Semaphore(self._given.askers)

        async def ask(form: dict[str, Any]) -> None:
            async with slots:
                begun = time.perf_counter()
                body = {"prompt": "x", "max_tokens": 16, **form}
                answer = await client.post(self._url + "/v1/completions", json=body)
                told[answer.status_code] += 1
                waits_ms.append((time.perf_counter() - begun) * 1e3)

        async with httpx.AsyncClient(timeout=LIMIT_S) as client:
            await asyncio.gather(*map(ask, forms))
        return dict(told), waits_ms


async def measure(url: str, given: argparse.Namespace) -> None:
    """All phases, the first one again at the end."""
    plain: list[dict[str, Any]] = [{}] * given.schemas
    bench = Bench(url, given)
    # A long list that none before it had begins where another ends.
    large = [
        {"guided_json": {"enum": HUNDRED_THOUSAND["guided_json"]["enum"][i:]}} for i in range(given.large)
    ]
    await bench.phase("no form", plain)
    await bench.phase("schemas", [{"guided_json": schema(i)} for i in range(given.schemas)])
    await bench.phase("hostile", [*HOSTILE, *HOSTILE, ENDLESS, ENDLESS])
    await bench.phase("large", large)
    await bench.phase("no form", plain)


def main(argv: list[str]) -> int:
    """Measure and print."""
    own, flags = split_flags(argv)
    parser = argparse.ArgumentParser(prog="python -m benchmarks.hostile_schemas")
    parser.add_argument("model", nargs="?", default="demo")
    parser.add_argument("--streams", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=200)
    parser.add_argument("--askers", type=int, default=8)
    parser.add_argument("--schemas", type=int, default=300)
    parser.add_argument("--large", type=int, default=10, help="lists of about 100,000 values")
    with server(parser.parse_args(own).model, flags) as url:
        asyncio.run(measure(url, parser.parse_args(own)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
