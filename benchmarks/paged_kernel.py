"""The paged-attention kernel against plain attention: errors over many shapes, and times; needs a GPU.

    python benchmarks/paged_kernel.py [--dims 64 128 ...] [--sharing 1 2 ...] [--no-times]

Times are of one attention, taken from a chain of them that is evaluated at once.
"""

from __future__ import annotations

import argparse
import itertools
import time

import mlx.core as mx
import numpy as np

from vllm_mlx.runners.kernels.check import Case, largest_error
from vllm_mlx.runners.kernels.paged_attention import (
    Attention,
    HeadShape,
    gather_attention,
    paged_attention,
    splits_of,
)

DTYPES = (mx.float32, mx.bfloat16, mx.float16)
DIMS = (16, 64, 80, 96, 128, 192, 256)
SHARING = (1, 2, 3, 4, 7, 8, 16)
LENGTHS = ((1,), (5000, 3), (1, 15, 16, 17, 255, 256, 257, 511, 700), tuple(range(1, 1281, 20)))
OPTIONS = ({}, {"window": 100}, {"sinks": True}, {"soft_cap": 20.0}, {"window": 33, "sinks": True})


def errors(dims: list[int], groups: list[int]) -> None:
    """Print the largest error of each dtype, head size and query group."""
    for dtype, dim in itertools.product(DTYPES, dims):
        worst = []
        for i, sharing in enumerate(groups):
            shape = HeadShape(2 * sharing, 2, dim, dim, dtype, 16)
            # Every length with plain attention; the options take turns with the lengths.
            cases = [Case(shape, lengths) for lengths in LENGTHS]
            cases += [
                Case(shape, LENGTHS[(i + j) % len(LENGTHS)], **options)
                for j, options in enumerate(OPTIONS[1:])
            ]
            worst.append(max(largest_error(paged_attention, case) for case in cases))
        found = "  ".join(f"{sharing}:{error:.1e}" for sharing, error in zip(groups, worst, strict=True))
        print(f"error {dtype!s:18} dim {dim:<4} queries a key head {found}", flush=True)
    shape = HeadShape(8, 2, 192, 128, mx.bfloat16, 16)
    print(f"error 192/128 {largest_error(paged_attention, Case(shape, (700, 3, 2000))):.1e}", flush=True)


def microseconds(attention: Attention, shape: HeadShape, rows: int, length: int, links: int) -> float:
    """Time of one attention of `rows` rows of `length` keys."""
    blocks = -(-length // shape.block_size)
    slots = (1 + rows * blocks) * shape.block_size
    keys = mx.random.normal((slots, shape.heads, shape.key_dim)).astype(shape.dtype)
    values = mx.random.normal((slots, shape.heads, shape.value_dim)).astype(shape.dtype)
    tables = mx.random.permutation(rows * blocks).reshape(rows, blocks).astype(mx.int32) + 1
    lens = mx.full((rows,), length, mx.int32)
    queries = mx.random.normal((rows, shape.query_heads, 1, shape.key_dim)).astype(shape.dtype)
    mx.eval(keys, values, tables, lens, queries)

    def chain() -> None:
        out = queries
        for _ in range(links):
            out = attention(out, keys, values, tables, lens, scale=0.1, block_size=shape.block_size)
        mx.eval(out)

    chain()
    took = []
    for _ in range(5):
        start = time.perf_counter()
        chain()
        took.append(time.perf_counter() - start)
    return min(took) / links * 1e6


def times() -> None:
    """Print times and the share of the memory's speed, 4.3 TB/s on an H200."""
    for (heads, kv_heads, dim), rows, length in itertools.product(
        ((16, 8, 128), (32, 8, 128)), (1, 16, 64), (512, 4096)
    ):
        shape = HeadShape(heads, kv_heads, dim, dim, mx.bfloat16, 16)
        kernel = microseconds(paged_attention, shape, rows, length, 28)
        gathered = (
            microseconds(gather_attention, shape, rows, length, 4) if rows * length <= 70_000 else np.nan
        )
        read = rows * length * kv_heads * dim * 4 / 1e9
        print(
            f"time {heads}/{kv_heads}x{dim} bf16 rows {rows:<3} keys {length:<5} {kernel:8.1f} us"
            f" ({read / kernel * 1e3:5.2f} TB/s, splits {splits_of(rows, length, shape)[0]}),"
            f" plain {gathered:9.1f} us",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dims", type=int, nargs="*", default=DIMS)
    parser.add_argument("--sharing", type=int, nargs="*", default=SHARING)
    parser.add_argument("--no-times", action="store_true")
    args = parser.parse_args()
    errors(args.dims, args.sharing)
    if not args.no_times:
        times()


if __name__ == "__main__":
    main()
