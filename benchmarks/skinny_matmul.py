"""The product of a few rows with small matrices: our kernel against MLX's, time of the host and in all.

    python benchmarks/skinny_matmul.py [--rows 2 16 64]

Many products upon weights that no cache holds are submitted at once; `host` is the time of their submission,
`all` that until they are computed, both for one launch. Needs CUDA.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import mlx.core as mx

from vllm_mlx.runners.kernels.skinny_matmul import skinny_matmul

_SHAPES = {
    "0.6B q, k, v": (1024, (2048, 1024, 1024)),
    "0.6B out": (2048, (1024,)),
    "0.6B gate, up": (1024, (3072, 3072)),
    "0.6B down": (3072, (1024,)),
    "8B q, k, v": (4096, (4096, 1024, 1024)),
    "8B out": (4096, (4096,)),
    "8B gate, up": (4096, (12288, 12288)),
    "8B down": (12288, (4096,)),
}
_LAUNCHES = 120
_BYTES = 400e6
"""Weights that are gone through in turn: several times an H200's L2."""

Product = Callable[[mx.array, list[mx.array]], list[mx.array]]


def plain(rows: mx.array, weights: list[mx.array]) -> list[mx.array]:
    """MLX's products."""
    return [rows @ weight.T for weight in weights]


def measure(product: Product, rows: mx.array, sets: list[list[mx.array]]) -> str:
    """The best of four times, in microseconds a launch."""
    best = (9.0, 9.0)
    for _ in range(5):
        lazy = [product(rows, sets[i % len(sets)]) for i in range(_LAUNCHES)]
        mx.synchronize()
        begun = time.perf_counter()
        mx.async_eval(lazy)
        submitted = time.perf_counter() - begun
        mx.eval(lazy)
        mx.synchronize()
        best = min(best, (time.perf_counter() - begun, submitted))
    return f"all {1e6 * best[0] / _LAUNCHES:6.1f} host {1e6 * best[1] / _LAUNCHES:5.1f}"


def main() -> None:
    """Print a line for each shape and number of rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[2, 16, 64])
    args = parser.parse_args()
    for name, (depth, outs) in _SHAPES.items():
        copies = max(3, min(60, int(_BYTES / (2 * depth * sum(outs)))))
        sets = [[mx.random.normal((out, depth), dtype=mx.bfloat16) for out in outs] for _ in range(copies)]
        mx.eval(sets)
        for count in args.rows:
            rows = mx.random.normal((count, 1, depth), dtype=mx.bfloat16)
            mx.eval(rows)
            parts = [
                f"{who}: {measure(how, rows, sets)}"
                for who, how in (("MLX", plain), ("kernel", skinny_matmul))
            ]
            print(f"{name}, {count} rows: {'; '.join(parts)}", flush=True)
        mx.clear_cache()


if __name__ == "__main__":
    main()
