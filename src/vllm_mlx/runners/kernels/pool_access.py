"""Writes new keys and values to pool slots in place, and gathers slots, by kernels on CUDA and on Metal.

An array operation writes in place only while nobody else holds the buffer, and whatever the device has not
finished reading is held: a step that is submitted while the one before runs would copy the whole pool. These
kernels write to the buffer they are given, behind MLX's back. What makes that safe: nobody but the pool's
owner has its arrays, and the order of accesses is in the graph all the same, as each write gives a token that
each later access takes.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from string import Template
from typing import Any

import mlx.core as mx

_THREADS = 128
_PACK_BYTES = 16

# One thread moves one pack of neighbouring numbers. KP and VP are packs of a token's keys and values.
_WRITE_BODY = """
  $IDS
  const size_t token = index / (KP + VP), part = index % (KP + VP);
  if (token >= size_t(slots_shape[0])) return;
  const size_t slot = slots[token];
  if (part < KP)
    (($DEVICE pa_pack<T, P>*)keys)[slot * KP + part] =
        ((const $DEVICE pa_pack<T, P>*)new_keys)[token * KP + part];
  else
    (($DEVICE pa_pack<T, P>*)values)[slot * VP + part - KP] =
        ((const $DEVICE pa_pack<T, P>*)new_values)[token * VP + part - KP];
  if (index == 0) done[0] = after[0];
"""

# From (slots, heads, dim) to (rows, heads, width, dim); DP are packs of one head.
_GATHER_BODY = """
  $GATHER_IDS
  const size_t width = slots_shape[1], at = index / DP, pack = index % DP;
  if (at >= width) return;
  const size_t slot = slots[row * width + at];
  (($DEVICE pa_pack<T, P>*)out)[((row * HEADS + head) * width + at) * DP + pack] =
      ((const $DEVICE pa_pack<T, P>*)pool)[(slot * HEADS + head) * DP + pack];
"""

_PACK = """
template <typename T, int N> struct alignas(sizeof(T) * N) pa_pack { T v[N]; };
"""

CUDA = {
    "HEADER": _PACK,
    "IDS": "const size_t index = size_t(blockIdx.x) * blockDim.x + threadIdx.x;",
    "GATHER_IDS": """
  const size_t index = size_t(blockIdx.x) * blockDim.x + threadIdx.x;
  const size_t head = blockIdx.y, row = blockIdx.z;""",
    "DEVICE": "",
}
"""What the text's `$` words are in CUDA C++."""

METAL = {
    "HEADER": _PACK,
    "IDS": "const size_t index = thread_position_in_grid.x;",
    "GATHER_IDS": """
  const size_t index = thread_position_in_grid.x;
  const size_t head = thread_position_in_grid.y, row = thread_position_in_grid.z;""",
    "DEVICE": "device",
}
"""What they are in Metal's."""


def render(dialect: dict[str, str]) -> tuple[str, str, str]:
    """Header, body of the writing kernel and body of the gathering kernel, in a dialect."""
    bodies = (Template(text).substitute(dialect) for text in (_WRITE_BODY, _GATHER_BODY))
    return dialect["HEADER"], *bodies  # type: ignore[return-value]


Write = Callable[[mx.array, mx.array, mx.array, mx.array, mx.array, mx.array], mx.array]
"""What `write_slots` is."""

Gather = Callable[[mx.array, mx.array, mx.array], mx.array]
"""What `gather_slots` is."""


def pack_of(*numbers: int, dtype: mx.Dtype) -> int:
    """How many neighbouring numbers are moved at once: a power of two that divides all of these counts."""
    size = max(1, _PACK_BYTES // dtype.size)
    while any(count % size for count in numbers):
        size //= 2
    return size


def write_slots(
    keys: mx.array,
    values: mx.array,
    new_keys: mx.array,
    new_values: mx.array,
    slots: mx.array,
    after: mx.array,
) -> mx.array:
    """Write tokens to their slots of the pool, in place.

    Args:
        keys, values: (slots, heads, dim), evaluated; `values` may have no numbers.
        new_keys, new_values: (tokens, heads, dim).
        slots: (tokens,) int32.
        after: the token of the last write.

    Returns:
        The token of this write, (1,) int32: evaluate it, or something that took it.
    """
    key_size, value_size = (pool.shape[1] * pool.shape[2] for pool in (keys, values))
    # New tokens may be a part of a larger array, which begins at any of its heads.
    pack = pack_of(keys.shape[2], values.shape[2], dtype=keys.dtype)
    if not value_size:  # a kernel cannot be given an array without numbers
        values, new_values = keys, new_keys
    parts = (key_size + value_size) // pack
    found: list[mx.array] = _kernels()[0](
        inputs=[keys, values, new_keys, new_values, slots, after],
        template=[("T", keys.dtype), ("P", pack), ("KP", key_size // pack), ("VP", value_size // pack)],
        grid=(_rounded(parts * slots.size), 1, 1),
        threadgroup=(_THREADS, 1, 1),
        output_shapes=[(1,)],
        output_dtypes=[mx.int32],
    )
    return found[0]


def gather_slots(pool: mx.array, slots: mx.array, after: mx.array) -> mx.array:
    """(rows, heads, width, dim) of the slots (rows, width) of a pool (slots, heads, dim).

    Args:
        after: the token of the last write.
    """
    (_, heads, dim), (rows, width) = pool.shape, slots.shape
    pack = pack_of(dim, dtype=pool.dtype)
    found: list[mx.array] = _kernels()[1](
        inputs=[pool, slots, after],
        template=[("T", pool.dtype), ("P", pack), ("DP", dim // pack), ("HEADS", heads)],
        grid=(_rounded(width * dim // pack), heads, rows),
        threadgroup=(_THREADS, 1, 1),
        output_shapes=[(rows, heads, width, dim)],
        output_dtypes=[pool.dtype],
    )
    return found[0]


def _rounded(threads: int) -> int:
    return -(-threads // _THREADS) * _THREADS


@cache
def _kernels() -> tuple[Callable[..., Any], Callable[..., Any]]:
    metal = mx.metal.is_available()
    make: Callable[..., Any] = mx.fast.metal_kernel if metal else mx.fast.cuda_kernel
    header, write, gather = render(METAL if metal else CUDA)
    return (
        make(
            name="paged_write",
            input_names=["keys", "values", "new_keys", "new_values", "slots", "after"],
            output_names=["done"],
            header=header,
            source=write,
        ),
        make(
            name="paged_gather",
            input_names=["pool", "slots", "after"],
            output_names=["out"],
            header=header,
            source=gather,
        ),
    )
