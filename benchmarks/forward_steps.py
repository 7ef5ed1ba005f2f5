"""Where the time of a forward goes, without engine and sampler: building the graph, submitting it, waiting.

    python benchmarks/forward_steps.py MODEL_DIR [--rows 1 16 64] [--context 400] [--steps 80]

Each decode step takes the likeliest tokens of the step before from the device and is read one step later, as
in the engine. Then prompts without history as one batch of chunks and as rows of single tokens. Needs a GPU,
a model with plain keys and values, and no probe: the kernel is used as it is.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx_lm.models.cache import make_prompt_cache

from vllm_mlx.core.sampling import NEUTRAL
from vllm_mlx.models.loader import load
from vllm_mlx.runners.base import Row, RowSampling
from vllm_mlx.runners.forward import PLANNED, Layout, PagedForward
from vllm_mlx.runners.newest import NewestTokens
from vllm_mlx.runners.paged import PagedCache
from vllm_mlx.runners.pool import InPlacePool, LayerShape

BLOCK = 16
LAYOUT = Layout(block_size=BLOCK, split=True, shapes=PLANNED, kernel=True)


def pools(model: Any, tokens: int) -> list[PagedCache]:
    """Allocated caches for so many tokens, in the shapes of the model's own."""
    own = make_prompt_cache(model)
    mx.eval(model(mx.array([[1]]), cache=own))
    caches = []
    for cache in own:
        keys, values = cache.keys_and_values()
        caches.append(PagedCache(tokens, block_size=BLOCK, new_pool=InPlacePool))
        shape = LayerShape(keys.shape[1], keys.shape[3], values.shape[1], values.shape[3], keys.dtype)
        caches[-1].allocate(shape)
        mx.eval(caches[-1].state)
    return caches


def table(number: int, tokens: int) -> list[int]:
    """Blocks of the row of that number, for so many tokens."""
    width = -(-tokens // BLOCK)
    return list(range(1 + number * width, 1 + (number + 1) * width))


def decode(forward: PagedForward, name: str, count: int, args: argparse.Namespace) -> None:
    """Print the parts of a decode step and what it takes beyond the memory in use."""
    numbers = list(range(count))
    newest, before = NewestTokens(numbers, mx.zeros(count, mx.uint32)), None
    build = submit = started = 0.0
    base = 0
    sampling = RowSampling(NEUTRAL, 0, 0, [], [], num_unread=1)
    for step in range(-20, args.steps):
        if step == 0:
            build, submit, started, base = 0.0, 0.0, time.perf_counter(), mx.get_active_memory()
            mx.reset_peak_memory()
        clock = [time.perf_counter()]
        start = args.context + 20 + step
        rows = [Row(i, [0], start, table(i, args.context + args.steps + 40), sampling) for i in numbers]
        states = forward.states(rows, newest).last(numbers)
        clock.append(time.perf_counter())
        forward.submit(states)
        tokens = mx.argmax(forward.logits(states)[:, -1], axis=-1)
        mx.async_eval(tokens)
        clock.append(time.perf_counter())
        if before is not None:
            before.tolist()
        newest, before = NewestTokens(numbers, tokens), tokens
        build, submit = build + clock[1] - clock[0], submit + clock[2] - clock[1]
    mx.eval(before)
    total, parts = ((time.perf_counter() - started), (build, submit))
    build, submit, total = (1e3 * part / args.steps for part in (*parts, total))
    print(
        f"decode {name:8} rows {count:<3} {total:6.2f} ms: build {build:5.2f}, submit {submit:5.2f},"
        f" rest {total - build - submit:5.2f}; {1e3 * count / total:7.0f} tok/s,"
        f" peak over base {(mx.get_peak_memory() - base) / 1e6:.0f} MB",
        flush=True,
    )


def prefill(forward: PagedForward, name: str, count: int, length: int) -> None:
    """Print the prompt tokens a second of one forward of equal prompts."""
    rows = [Row(i, list(range(length)), 0, table(i, length)) for i in range(count)]
    took = []
    for _ in range(5):
        start = time.perf_counter()
        states = forward.states(rows)
        last = states.last([count - 1])
        forward.submit(last)
        mx.eval(last)
        took.append(time.perf_counter() - start)
    print(f"prefill {name:12} {count:>2} x {length} {count * length / min(took):8.0f} tok/s", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 16, 64])
    parser.add_argument("--context", type=int, default=400)
    parser.add_argument("--steps", type=int, default=80)
    args = parser.parse_args()
    model = load(args.folder).model
    caches = pools(model, (max(args.rows) + 1) * (args.context + args.steps + 64))
    for count in args.rows:
        for name, compiled in (("plain", False), ("compiled", True)):
            decode(PagedForward(model, caches, replace(LAYOUT, compiled=compiled)), name, count, args)
    for count in args.rows:
        chunks = PagedForward(model, caches, replace(LAYOUT, tail_tokens=1))
        prefill(chunks, "chunks", count, args.context)
    # Longer ones would not be taken as rows.
    prefill(PagedForward(model, caches, LAYOUT), "token rows", 1, min(args.context, 200))


if __name__ == "__main__":
    main()
