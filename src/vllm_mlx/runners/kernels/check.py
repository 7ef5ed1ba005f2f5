"""Compares kernels with plain arithmetic on this device, on the shapes that a model needs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import mlx.core as mx
import numpy as np

from vllm_mlx.runners.kernels.paged_attention import Attention, HeadShape, gather_attention
from vllm_mlx.runners.kernels.skinny_matmul import MOST_ROWS
from vllm_mlx.runners.pool import LayerShape, NewPool

_LENGTHS = (1, 2, 17, 63, 64, 65, 300, 700)
_LONG = (2500, 40)
"""Rows that need several splits in a small batch, and rows that need one each in a larger one."""

# Largest error of an output number; random keys give numbers below 1. What a wrong key, mask or split does
# is above 0.1, because the keys at every edge have large values.
_TOLERANCE = {mx.float32: 1e-3, mx.float16: 1e-2, mx.bfloat16: 6e-2}
_HOT = 8.0


@dataclass(frozen=True, slots=True)
class Case:
    """One comparison: shapes and options of the attention, and the length of each row."""

    shape: HeadShape
    lengths: tuple[int, ...]
    window: int | None = None
    sinks: bool = False
    soft_cap: float | None = None


def largest_error(attention: Attention, case: Case) -> float:
    """Largest absolute difference between the kernel and the gathered form; infinite if one is no number.

    Rows sit in a pool in shuffled blocks. The first and the last key that a row may see, and the ones just
    outside, carry large values, so that seeing one too many or too few shows.
    """
    shape, block = case.shape, case.shape.block_size
    random = np.random.default_rng(sum(case.lengths))
    row_blocks = -(-max(case.lengths) // block)
    blocks = 1 + random.permutation(len(case.lengths) * row_blocks)
    tables = blocks.reshape(len(case.lengths), row_blocks).astype(np.int32)
    keys = _pool(random, (1 + tables.size) * block, shape.heads, shape.key_dim)
    values = _pool(random, (1 + tables.size) * block, shape.heads, shape.value_dim)
    for table, length in zip(tables, case.lengths, strict=True):
        first = max(0, length - case.window) if case.window else 0
        edges = [at for at in (first - 1, first, length - 1, length) if 0 <= at < row_blocks * block]
        for at in edges:
            values[table[at // block] * block + at % block] *= _HOT
    queries = random.standard_normal((len(case.lengths), shape.query_heads, 1, shape.key_dim), np.float32)
    arrays = [mx.array(array).astype(shape.dtype) for array in (queries, keys, values)]
    arrays += [mx.array(tables), mx.array(np.array(case.lengths, np.int32))]
    sinks = mx.array(random.standard_normal(shape.query_heads, np.float32)) if case.sinks else None
    found, expected = (
        attend(
            *arrays,
            scale=shape.key_dim**-0.5,
            block_size=block,
            window=case.window,
            sinks=sinks,
            soft_cap=case.soft_cap,
        ).astype(mx.float32)
        for attend in (attention, gather_attention)
    )
    worst = float(np.asarray(mx.max(mx.abs(found - expected))))
    return worst if np.isfinite(worst) else float("inf")


def failure(
    attention: Attention, shape: HeadShape, window: int | None = None, *, sinks: bool = False
) -> str | None:
    """Why the kernel must not be used for a layer of this shape on this device; None if it may."""
    reason = shape.unsupported()
    if reason is not None:
        return reason
    for lengths in (_LENGTHS, _LONG, (1,), (333,)):
        error = largest_error(attention, Case(shape, lengths, window, sinks))
        if error > _TOLERANCE[shape.dtype]:
            return f"the kernel differs by {error:.2g} from plain attention"
    return None


def access_failure(new_pool: NewPool, shape: LayerShape, block_size: int) -> str | None:
    """Why these pools must not hold layers of this shape on this device; None if they may.

    Writes lie upon one another, and each is read before the device has computed it.
    """
    random = np.random.default_rng(0)
    pool = new_pool(8 * block_size, shape)
    expected = [np.zeros(array.shape, np.float32) for array in (pool.keys, pool.values)]
    for count in (1, 5 * block_size, 3, 7 * block_size):
        slots = random.permutation(8 * block_size)[:count].astype(np.int32)
        new = [random.integers(-99, 99, (count, *array.shape[1:])) for array in expected]
        pool.write(mx.array(slots), int(slots.max()), *(mx.array(array).astype(shape.dtype) for array in new))
        for array, written in zip(expected, new, strict=True):
            array[slots] = written
        seen = random.integers(0, 8 * block_size, (2, 2 * block_size)).astype(np.int32)
        for found, array in zip(pool.read(mx.array(seen)), expected, strict=True):
            if not np.array_equal(found.astype(mx.float32), array[seen].transpose(0, 2, 1, 3)):
                return "what is read is not what was written"
    return None


def matmul_failure(
    matmul: Callable[[mx.array, Sequence[mx.array]], list[mx.array]], weights: Sequence[mx.array]
) -> str | None:
    """Why these weights must not be multiplied by this kernel on this device; None if they may."""
    random = np.random.default_rng(0)
    depth = weights[0].shape[1]
    for count in (2, 16, 31, MOST_ROWS):
        rows = mx.array(random.standard_normal((count, 1, depth), np.float32)).astype(weights[0].dtype)
        for found, weight in zip(matmul(rows, weights), weights, strict=True):
            exact = np.array(rows.astype(mx.float32))[:, 0] @ np.array(weight.astype(mx.float32)).T
            size = np.abs(exact).max() or 1.0
            error = np.abs(np.array(found.astype(mx.float32))[:, 0] - exact).max() / size
            if not error <= _TOLERANCE[weight.dtype]:
                return f"the product of {count} rows differs by {error:.2g} of its size"
    return None


def _pool(
    random: np.random.Generator, slots: int, heads: int, dim: int
) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return random.standard_normal((slots, heads, dim), np.float32)
