"""Tokens a second of the engine in process, beside mlx-lm's own loops, in one run.

    python benchmarks/engine_throughput.py MODEL_DIR [--rows 1 16 64] [--prompt 390] [--tokens 128]

All requests arrive together. `all` counts generated tokens over the whole time, prompts included; `decode`
the time after every row has its first token; `prefill` is prompt tokens over the time until then.
"""

from __future__ import annotations

import argparse
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlx.core as mx
import msgspec
import numpy as np
from mlx_lm.generate import BatchGenerator, generate_step
from mlx_lm.utils import load_model

from vllm_mlx.config import CacheConfig, EngineConfig, ModelConfig
from vllm_mlx.core.sampling import NEUTRAL
from vllm_mlx.engine.loop import EngineLoop
from vllm_mlx.engine.wire import EngineRequest
from vllm_mlx.runners.build import build_runner


def prompts(count: int, length: int, seed: int) -> list[list[int]]:
    """Random prompts that share nothing."""
    return np.random.default_rng(seed).integers(0, 500, (count, length)).tolist()


def measure(name: str, steps: Iterator[list[int]], rows: int, args: argparse.Namespace) -> None:
    """Print one line; `steps` yields the rows (by number) that got a token."""
    start = time.perf_counter()
    seen: set[int] = set()
    tokens = after = 0
    filled = ended = start
    for got in steps:
        ended = time.perf_counter()
        tokens += len(got)
        if len(seen) < rows:
            seen.update(got)
            filled = ended
        else:
            after += len(got)
    decode = after / (ended - filled) if after else float("nan")
    print(
        f"{name:34} rows {rows:<3} all {tokens / (ended - start):9.1f}  decode {decode:9.1f}"
        f"  prefill {rows * args.prompt / (filled - start):9.0f} tok/s"
        f"  all have one after {1e3 * (filled - start):7.1f} ms",
        flush=True,
    )


def engine_steps(engine: EngineLoop, batch: list[list[int]], tokens: int) -> Iterator[list[int]]:
    """Greedy texts of these prompts by our engine."""
    sampling = msgspec.structs.replace(NEUTRAL, temperature=0.0, max_tokens=tokens)
    commands: list[Any] = [
        EngineRequest(request_id=str(i), prompt_ids=ids, sampling=sampling, seed=0)
        for i, ids in enumerate(batch)
    ]
    while commands or engine.has_work:
        outputs = engine.iterate(commands)
        commands = []
        if any(output.error for output in outputs):
            raise RuntimeError(f"a request failed: {outputs}")
        yield [int(output.request_id) for output in outputs for _ in output.token_ids]


def batch_generator_steps(model: Any, batch: list[list[int]], tokens: int) -> Iterator[list[int]]:
    generator = BatchGenerator(
        model, max_tokens=tokens, completion_batch_size=len(batch), prefill_batch_size=len(batch)
    )
    numbers = {uid: i for i, uid in enumerate(generator.insert(batch))}
    while True:
        _, found = generator.next()
        if not found and not numbers:
            return
        yield [numbers[response.uid] for response in found]
        for response in found:
            if response.finish_reason is not None:
                numbers.pop(response.uid, None)
        if not numbers:
            return


def single_steps(model: Any, ids: list[int], tokens: int) -> Iterator[list[int]]:
    for _ in generate_step(mx.array(ids), model, max_tokens=tokens):
        yield [0]


def ours(folder: Path, args: argparse.Namespace) -> None:
    """All batch sizes on one engine, each measured after a warm-up of the same shapes."""
    cache = CacheConfig(enable_prefix_cache=False)
    config = EngineConfig(
        max_num_batched_tokens=args.step_tokens,
        max_model_len=max(args.prompt + args.tokens, args.lengths) + 64,
    )
    start = time.perf_counter()
    runner = build_runner(folder, ModelConfig(model=str(folder)), config, cache)
    path = runner.capabilities.path
    print(
        f"# loaded in {time.perf_counter() - start:.1f} s: {path.path}, {path.dtype}, {path.reason}",
        flush=True,
    )
    engine = EngineLoop(runner, replace(config, prefill_step_size=args.chunk), cache)
    for rows in args.rows:
        for name, seed in (("vllm-mlx (warm-up)", 2 * rows), ("vllm-mlx", 2 * rows + 1)):
            measure(name, engine_steps(engine, prompts(rows, args.prompt, seed), args.tokens), rows, args)
    if args.lengths:
        many_lengths(engine, args.lengths)
    print(
        f"# peak {mx.get_peak_memory() / 1e9:.2f} GB, active {mx.get_active_memory() / 1e9:.2f} GB",
        flush=True,
    )
    runner.close()


def many_lengths(engine: EngineLoop, count: int) -> None:
    """One request for each of so many prompt lengths, in batches of 16; prints the memory in between."""
    batch: list[list[int]] = []
    start = time.perf_counter()
    for length in range(1, count + 1):
        batch += prompts(1, length, length)
        if len(batch) == 16 or length == count:
            for _ in engine_steps(engine, batch, 2):
                pass
            batch = []
        if length % (count // 8) == 0:
            used = mx.get_active_memory() + mx.get_cache_memory()
            print(
                f"# lengths to {length}: {time.perf_counter() - start:.1f} s, memory {used / 1e9:.2f} GB, "
                f"of it in use {mx.get_active_memory() / 1e9:.2f}",
                flush=True,
            )


def peers(folder: Path, args: argparse.Namespace) -> None:
    model, _ = load_model(folder)
    for name in ("generate_step (warm-up)", "generate_step"):
        measure(name, single_steps(model, prompts(1, args.prompt, 1)[0], args.tokens), 1, args)
    for rows in args.rows:
        for name, seed in (("BatchGenerator (warm-up)", 2 * rows), ("BatchGenerator", 2 * rows + 1)):
            batch = prompts(rows, args.prompt, seed)
            measure(name, batch_generator_steps(model, batch, args.tokens), rows, args)
            mx.clear_cache()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 16, 64])
    parser.add_argument("--prompt", type=int, default=390)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--step-tokens", type=int, default=None)
    parser.add_argument("--chunk", type=int, default=None)
    parser.add_argument("--lengths", type=int, default=0, help="then so many distinct prompt lengths")
    parser.add_argument("--skip-peers", action="store_true")
    args = parser.parse_args()
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    print(
        f"# {args.folder.name}, {mx.default_device()}, mlx {mx.__version__}, commit {commit.stdout.strip()}"
    )
    if not args.skip_peers:
        peers(args.folder, args)
        mx.clear_cache()
    ours(args.folder, args)


if __name__ == "__main__":
    main()
