"""How long do 16 streams wait for their next token while a prompt of 8,000 tokens is read?

    python benchmarks/long_prompt.py [--model FOLDER] [--runs 3] [--further "--dtype bfloat16"]

Starts each server in turn (ours with its own bound, ours with none, `mlx_lm.server`), lets 16 streams flow,
sends the long prompt amid them, and prints the gaps between the chunks of the streams over all runs: those
from the long prompt's sending to its first token, and all of them.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime
import importlib.resources
import json
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.concurrency import commit_of, end, free_port, mlx_lm_server, our_server, wait_until_up
from benchmarks.load import WORDS, Stream, quantile, stream_chat

HERE = Path(__file__).resolve().parent


def main() -> int:
    """Measure each server, print a line for each, write the raw figures."""
    arguments = _arguments()
    model = arguments.model or str(importlib.resources.files("vllm_mlx.models") / "demo")
    servers = {
        "ours": our_server(model, arguments.further),
        "ours, no bound": our_server(model, f"{arguments.further} --max-itl-ms 0"),
    }
    if arguments.max_itl_ms:
        servers[f"ours, {arguments.max_itl_ms:g} ms"] = our_server(
            model, f"{arguments.further} --max-itl-ms {arguments.max_itl_ms:g}"
        )
    if arguments.peer:
        servers["mlx_lm.server"] = mlx_lm_server(model)
    figures = {}
    for name, server in servers.items():
        figures[name] = measure(server, arguments)
        print(f"{name}: {json.dumps(figures[name])}", flush=True)
    record = {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": commit_of(HERE),
        "machine": f"{arguments.machine}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}",
        "settings": {k: v for k, v in vars(arguments).items() if k != "model"},
        "figures": figures,
    }
    out = (
        HERE / "results" / f"{datetime.datetime.now(datetime.UTC).date()}-{arguments.label}-long-prompt.json"
    )
    out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return 0


def measure(server: dict[str, Any], arguments: argparse.Namespace) -> dict[str, float]:
    """One server's gaps in milliseconds over all runs, after one run that does not count."""
    port = free_port()
    command = [part.replace("{port}", str(port)) for part in server["command"]]
    with (
        open(os.devnull, "wb") as devnull,
        subprocess.Popen(command, env=server["env"], stdout=devnull, stderr=devnull) as process,
    ):
        try:
            wait_until_up(port, process)
            runs = [
                asyncio.run(_run(port, server["model"], seed, arguments))
                for seed in range(arguments.runs + 1)
            ]
        finally:
            end(process)
    amid = [gap for run in runs[1:] for gap in run[0]]
    every = [gap for run in runs[1:] for gap in run[1]]
    return {
        "gaps": len(every),
        **{f"all_{name}": value for name, value in _summary(every).items()},
        "p99.9 / median": round(quantile(every, 0.999) / statistics.median(every), 2),
        "amid_gaps": len(amid),
        **{f"amid_{name}": value for name, value in _summary(amid).items()},
        "long_ttft_ms": round(statistics.median(run[2].ttft_s for run in runs[1:]) * 1000),
        "long_tokens": runs[-1][2].prompt_tokens,
    }


async def _run(
    port: int, model: str, seed: int, arguments: argparse.Namespace
) -> tuple[list[float], list[float], Stream]:
    """Gaps in ms while the long prompt was read, all gaps, and the long prompt's stream."""
    chance = random.Random(seed)

    def words(count: int) -> str:
        return " ".join(chance.choice(WORDS) for _ in range(count))

    streams = [
        asyncio.create_task(stream_chat("127.0.0.1", port, model, words(30), arguments.tokens))
        for _ in range(arguments.streams)
    ]
    await asyncio.sleep(arguments.settle_s)
    begun = time.perf_counter()
    long = await stream_chat("127.0.0.1", port, model, words(arguments.long_words), 4)
    ended = begun + long.ttft_s
    amid, every = [], []
    for stream in await asyncio.gather(*streams):
        at = stream.begun_s + stream.ttft_s
        for gap in stream.gaps_s:
            at += gap
            every.append(gap * 1000)
            if begun < at and at - gap < ended:
                amid.append(gap * 1000)
    return amid, every, long


def _summary(gaps_ms: Sequence[float]) -> dict[str, float]:
    return {
        "p50": round(quantile(gaps_ms, 0.5), 2),
        "p99": round(quantile(gaps_ms, 0.99), 2),
        "p99.9": round(quantile(gaps_ms, 0.999), 2),
        "max": round(max(gaps_ms, default=0.0), 2),
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", help="model folder; the bundled one if left out")
    parser.add_argument("--streams", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=400, help="generated by each stream")
    parser.add_argument("--long-words", type=int, default=3300, help="8,000 tokens of the bundled model")
    parser.add_argument("--settle-s", type=float, default=1.0, help="before the long prompt is sent")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--max-itl-ms", type=float, help="measure ours with this bound, too")
    parser.add_argument("--peer", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--further", default="", help="further flags for our server")
    parser.add_argument("--label", default="cpu", help="for the name of the results file")
    parser.add_argument("--machine", default="a machine", help="in words, for the record")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
