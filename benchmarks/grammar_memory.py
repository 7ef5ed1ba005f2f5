"""What large grammars leave behind in memory: lists of about 100,000 values, one after the other.

    python -m benchmarks.grammar_memory [MODEL] [--lists 60] [--every 10] [-- SERVE FLAGS]

No two lists are alike, so none is found in a cache. Linux only: it reads `/proc`.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import time
from pathlib import Path

import httpx

from benchmarks.health_latency import LIMIT_S, server, split_flags

_VALUES = 100_000


def values(number: int) -> list[str]:
    """The values of one list."""
    draw = random.Random(number)
    return [f"v{draw.getrandbits(40):x}" for _ in range(_VALUES)]


def resident_mb(root: int) -> dict[str, int]:
    """Resident memory of what a process has started, in MB by process."""
    parents: dict[int, int] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:  # it has ended
            continue
        parents[int(folder.name)] = int(fields[1])
    ours, found = {root}, dict[str, int]()
    for pid in sorted(parents):
        if parents[pid] in ours:
            ours.add(pid)
            words = (Path("/proc") / str(pid) / "cmdline").read_bytes().split(b"\0")
            role = next((word.decode() for word in words if word.startswith(b"vllm_mlx")), "other")
            pages = int((Path("/proc") / str(pid) / "statm").read_text().split()[1])
            found[role] = found.get(role, 0) + pages * os.sysconf("SC_PAGE_SIZE") // 2**20
    return found


def main(argv: list[str]) -> int:
    """Measure and print."""
    own, flags = split_flags(argv)
    parser = argparse.ArgumentParser(prog="python -m benchmarks.grammar_memory")
    parser.add_argument("model", nargs="?", default="demo")
    parser.add_argument("--lists", type=int, default=60)
    parser.add_argument("--every", type=int, default=10)
    given = parser.parse_args(own)
    begun = time.perf_counter()
    with server(given.model, flags) as url, httpx.Client(timeout=LIMIT_S) as client:
        for number in range(given.lists + 1):
            if number:
                form = {"type": "object", "properties": {"a": {"enum": values(number)}}}
                body = {"prompt": "x", "max_tokens": 4, "guided_json": form}
                client.post(url + "/v1/completions", json=body).raise_for_status()
            if number % given.every == 0 or number == 1:
                mb = ", ".join(f"{role} {size}" for role, size in resident_mb(os.getpid()).items())
                print(f"{number} lists, {time.perf_counter() - begun:.0f} s: {mb} MB", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
