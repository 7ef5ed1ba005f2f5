"""Split-KV attention of single tokens over the paged pool, by a kernel on CUDA and on Metal."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, Protocol

import mlx.core as mx

from vllm_mlx.runners.kernels.source import CUDA, METAL, render

WARPS = 4
"""Warps (simdgroups) of a threadgroup. The 32 lanes of each share one key at a time."""

THREADGROUP_BYTES = 32 * 1024
"""Memory that Metal gives a threadgroup."""

_LANES = 32
_FULL_GROUPS = 512
"""Threadgroups that fill a large GPU; fewer than that and the keys of a row are split among more."""
_SHORTEST_SPLIT, _LONGEST_SPLIT = 64, 1024
"""Keys of one split, in tokens. The upper bound keeps one long row from holding up a batch of short ones."""
_MOST_REGISTERS = 32
"""Accumulators of a lane: query heads times its share of a head."""

_INPUTS = ("q", "keys", "values", "tables", "lens", "sinks", "dims", "reals", "after")


@dataclass(frozen=True, slots=True)
class HeadShape:
    """What a kernel is compiled for: head counts and sizes, and the pool's dtype and block size."""

    query_heads: int
    heads: int
    key_dim: int
    value_dim: int
    dtype: mx.Dtype
    block_size: int

    def unsupported(self) -> str | None:
        """Why no kernel can be made for it, in words for an operator; None if one can."""
        if self.dtype not in (mx.float32, mx.bfloat16, mx.float16):
            return f"no kernel for {self.dtype} keys"
        if self.query_heads % self.heads:
            return f"{self.query_heads} query heads do not share {self.heads} key heads evenly"
        if not all(8 <= dim <= 256 and dim % 8 == 0 for dim in (self.key_dim, self.value_dim)):
            return f"no kernel for heads of {self.key_dim} and {self.value_dim}"
        return None

    @property
    def group(self) -> int:
        """Query heads that one threadgroup serves: they read the keys together."""
        key_share, value_share = (math.prod(packs(dim, self.dtype)) for dim in (self.key_dim, self.value_dim))
        sharing = self.query_heads // self.heads
        return max(
            size
            for size in range(1, 9)
            if sharing % size == 0
            and (size == 1 or size * max(key_share, value_share) <= _MOST_REGISTERS)
            and threadgroup_bytes(size, self.value_dim) <= THREADGROUP_BYTES
        )

    def constants(self, *, alone: bool, sink: bool) -> list[tuple[str, int]]:
        """The text's compile-time numbers."""
        key_packs, key_pack = packs(self.key_dim, self.dtype)
        value_packs, value_pack = packs(self.value_dim, self.dtype)
        share = max(key_packs * key_pack, value_packs * value_pack)
        return [
            ("HQ", self.query_heads),
            ("HK", self.heads),
            ("GC", self.group),
            ("DK", self.key_dim),
            ("DV", self.value_dim),
            ("CK", key_packs),
            ("PK", key_pack),
            ("CV", value_packs),
            ("PV", value_pack),
            ("U", 4 if share <= 4 else 2),
            ("NW", WARPS),
            ("BS", self.block_size),
            ("ALONE", int(alone)),
            ("SINK", int(sink)),
        ]


class Attention(Protocol):
    """What `paged_attention` and `gather_attention` both are."""

    def __call__(  # noqa: PLR0913 - an attention is what it is
        self,
        queries: mx.array,
        keys: mx.array,
        values: mx.array,
        tables: mx.array,
        lens: mx.array,
        *,
        scale: float,
        block_size: int,
        window: int | None = None,
        sinks: mx.array | None = None,
        soft_cap: float | None = None,
        after: mx.array | None = None,
    ) -> mx.array: ...


def packs(dim: int, dtype: mx.Dtype) -> tuple[int, int]:
    """How a lane holds its share of a head: how many packs, and how many neighbouring numbers in each.

    A pack is read at once, so it has a power of two of numbers, at most 16 bytes, and divides the head.
    """
    most = 16 // dtype.size
    size = 1
    while size * _LANES < dim and size < most and dim % (2 * size) == 0:
        size *= 2
    return -(-dim // (_LANES * size)), size


def threadgroup_bytes(group: int, value_dim: int) -> int:
    """Threadgroup memory of the split kernel: sum, maximum and mass of each warp and query head."""
    return 4 * WARPS * group * (value_dim + 2)


def splits_of(rows: int, width: int, shape: HeadShape) -> tuple[int, int]:
    """How many splits for rows of at most `width` keys, and how many keys in each.

    Both follow from shapes alone, so that steps of equal shapes repeat the same work.
    """
    groups = rows * (shape.query_heads // shape.group)
    wanted = min(_FULL_GROUPS // groups, -(-width // _SHORTEST_SPLIT))
    count = max(1, wanted, -(-width // _LONGEST_SPLIT))
    length = -(-width // count)
    length = -(-length // shape.block_size) * shape.block_size
    return -(-width // length), length


def paged_attention(  # noqa: PLR0913 - as above
    queries: mx.array,
    keys: mx.array,
    values: mx.array,
    tables: mx.array,
    lens: mx.array,
    *,
    scale: float,
    block_size: int,
    window: int | None = None,
    sinks: mx.array | None = None,
    soft_cap: float | None = None,
    after: mx.array | None = None,
) -> mx.array:
    """Attention of N single tokens, each over its own row of the block table.

    Args:
        queries: (N, query heads, 1, key dim).
        keys, values: (slots, heads, dim), the layer's pool.
        tables: (N, blocks) int32; a row's first blocks hold its keys in order, the rest are not read.
        lens: (N,) int32, keys that each row looks at, itself included; at least 1.
        window: look at this many of the last keys only.
        sinks: (query heads,) logits that take part in the softmax and add nothing.
        soft_cap: scores become soft_cap * tanh(score / soft_cap).
        after: what must be computed before the pool is read, where the arrays themselves do not say so.

    Returns:
        (N, query heads, 1, value dim), in the queries' dtype.
    """
    rows, query_heads, _, key_dim = queries.shape
    shape = HeadShape(query_heads, keys.shape[1], key_dim, values.shape[2], keys.dtype, block_size)
    row_blocks = tables.shape[1]
    width = row_blocks * block_size
    count, length = splits_of(rows, width if window is None else min(width, window), shape)
    inputs = [
        queries,
        keys,
        values,
        tables,
        lens,
        _no_sinks() if sinks is None else sinks.astype(mx.float32),
        _ints((row_blocks, count, length, window or 0)),
        _floats((float(scale), float(soft_cap or 0.0))),
        _nothing_before() if after is None else after,
    ]
    split, _ = _kernels()
    parts_shape = (rows, query_heads, count, values.shape[2])
    constants = shape.constants(alone=count == 1, sink=sinks is not None)
    out_dtype = queries.dtype if count == 1 else mx.float32
    found: list[mx.array] = split(
        inputs=inputs,
        template=[("TKV", keys.dtype), ("TO", out_dtype), *constants],
        grid=(_LANES * WARPS * count, query_heads // shape.group, rows),
        threadgroup=(_LANES * WARPS, 1, 1),
        output_shapes=[parts_shape, (1,) if count == 1 else (*parts_shape[:3], 2)],
        output_dtypes=[out_dtype, mx.float32],
    )
    if count == 1:
        return found[0]
    return _joined(found, [lens, *inputs[5:7]], queries.dtype, sink=sinks is not None)


def _joined(found: list[mx.array], inputs: list[mx.array], dtype: mx.Dtype, *, sink: bool) -> mx.array:
    """Attention from the splits' parts (N, query heads, splits, dim).

    Args:
        found: parts and their maxima and masses, as the split kernel gave them.
        inputs: lens, sinks and dims.
    """
    rows, query_heads, _, value_dim = found[0].shape
    _, join = _kernels()
    joined: mx.array = join(
        inputs=[*found, *inputs],
        template=[
            ("TO", dtype),
            ("HQ", query_heads),
            ("DV", value_dim),
            ("SINK", int(sink)),
        ],
        grid=(rows * query_heads * value_dim, 1, 1),
        threadgroup=(value_dim, 1, 1),
        output_shapes=[(rows, query_heads, 1, value_dim)],
        output_dtypes=[dtype],
    )[0]
    return joined


def gather_attention(  # noqa: PLR0913 - as above
    queries: mx.array,
    keys: mx.array,
    values: mx.array,
    tables: mx.array,
    lens: mx.array,
    *,
    scale: float,
    block_size: int,
    window: int | None = None,
    sinks: mx.array | None = None,
    soft_cap: float | None = None,
    after: mx.array | None = None,
) -> mx.array:
    """`paged_attention` in plain array operations and float32: what the kernel is checked against."""
    if after is not None:
        keys, values = (mx.depends(pool, after) for pool in (keys, values))
    positions = mx.arange(tables.shape[1] * block_size)
    slots = mx.take_along_axis(tables, (positions // block_size)[None], axis=1) * block_size
    slots = slots + positions % block_size
    sharing = queries.shape[1] // keys.shape[1]
    seen_keys = mx.repeat(keys[slots].astype(mx.float32), sharing, axis=2)
    seen_values = mx.repeat(values[slots].astype(mx.float32), sharing, axis=2)
    scores = scale * (queries[:, None, :, 0].astype(mx.float32) * seen_keys).sum(axis=-1)
    if soft_cap:
        scores = soft_cap * mx.tanh(scores / soft_cap)
    visible = positions < lens[:, None]
    if window:
        visible = visible & (positions >= lens[:, None] - window)
    scores = mx.where(visible[..., None], scores, -mx.inf)
    if sinks is not None:
        extra = mx.broadcast_to(sinks.astype(mx.float32), (scores.shape[0], 1, scores.shape[2]))
        scores = mx.concatenate([scores, extra], axis=1)
    shares = mx.softmax(scores, axis=1)[:, : positions.size, :, None]
    summed = mx.where(visible[..., None, None], shares * seen_values, 0.0).sum(axis=1)
    return summed[:, :, None].astype(queries.dtype)


@cache
def _kernels() -> tuple[Callable[..., Any], Callable[..., Any]]:
    metal = mx.metal.is_available()
    make: Callable[..., Any] = mx.fast.metal_kernel if metal else mx.fast.cuda_kernel
    header, split, join = render(METAL if metal else CUDA)
    return (
        make(
            name="paged_attention_split",
            input_names=list(_INPUTS),
            output_names=["out", "stats"],
            header=header,
            source=split,
        ),
        make(
            name="paged_attention_join",
            input_names=["parts", "stats", "lens", "sinks", "dims"],
            output_names=["out"],
            header=header,
            source=join,
        ),
    )


@lru_cache(maxsize=256)
def _ints(numbers: tuple[int, ...]) -> mx.array:
    return _ready(mx.array(numbers, mx.int32))


@lru_cache(maxsize=64)
def _floats(numbers: tuple[float, ...]) -> mx.array:
    return _ready(mx.array(numbers, mx.float32))


@cache
def _no_sinks() -> mx.array:
    return _ready(mx.zeros((1,), mx.float32))


@cache
def _nothing_before() -> mx.array:
    return _ready(mx.zeros((1,), mx.int32))


def _ready(constant: mx.array) -> mx.array:
    """Evaluated, since an array that is not belongs to the thread that made it."""
    mx.eval(constant)
    return constant
