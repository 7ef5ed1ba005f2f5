"""Instructions that streams of each dialect take, as valgrind counts them, however busy the machine is.

    python -m benchmarks.instructions [--rows 64] [--tokens 256]

Needs `valgrind`. Streams of one dialect go through the whole application over a runner that computes nothing,
twice, in a process of their own; once more with two tokens each, so that imports and the requests' beginnings
can be taken away. Times of single runs scatter by ten percent and more; these counts by a few in a thousand.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import subprocess
import sys

from benchmarks import taking_turns
from benchmarks.encoding import STREAMS
from benchmarks.host_cost import Bench

VALGRIND = ("valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null")
LIMIT_S = 900.0
FEW = 2
PLAYS = 2
_COUNTED = re.compile(r"I\s+refs:\s+([\d,]+)")


def play(name: str, rows: int, tokens: int) -> None:
    """Let streams of one dialect run. Under valgrind a step is slow, and late is not lost."""
    bench = Bench(rows, tokens)
    dialects = [dialect for dialect in STREAMS if dialect.name == name]

    async def turns() -> None:
        await taking_turns.Turns(bench, dialects).play(tokens)

    taking_turns.STALL_S = LIMIT_S
    for _ in range(PLAYS):
        asyncio.run(turns())


def count(name: str, rows: int, tokens: int) -> int:
    """Instructions of a process that lets them run."""
    program = [sys.executable, "-m", "benchmarks.instructions", "--only", name]
    told = subprocess.run(
        [*VALGRIND, *program, "--rows", str(rows), "--tokens", str(tokens)],
        env=dict(os.environ, PYTHONHASHSEED="0"),
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=True,
    ).stderr
    found = _COUNTED.search(told)
    if found is None:
        raise RuntimeError(f"valgrind counted nothing: {told[-500:]}")
    return int(found[1].replace(",", ""))


def main() -> None:
    """Print thousands of instructions a token, and what a dialect takes above chat, as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--tokens", type=int, default=256)
    parser.add_argument("--only", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.only:
        play(given.only, given.rows, given.tokens)
        return
    all_of = {each.name: count(each.name, given.rows, given.tokens) for each in STREAMS}
    tokens = given.rows * (given.tokens - FEW) * PLAYS
    each = {name: (found - count(name, given.rows, FEW)) / tokens / 1000 for name, found in all_of.items()}
    found = {
        "thousand instructions a token": {name: round(number, 2) for name, number in each.items()},
        "% above chat": {name: round(100 * (number / each["chat"] - 1), 2) for name, number in each.items()},
        "million instructions in all, imports too": {name: n // 10**6 for name, n in all_of.items()},
    }
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
