"""Compares the paged-attention kernel with the gathered form on this device, on the shapes a model needs."""

from __future__ import annotations

from dataclasses import dataclass

import mlx.core as mx
import numpy as np

from vllm_mlx.runners.kernels.paged_attention import Attention, HeadShape, gather_attention

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


def _pool(
    random: np.random.Generator, slots: int, heads: int, dim: int
) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return random.standard_normal((slots, heads, dim), np.float32)
