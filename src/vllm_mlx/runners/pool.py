"""The arrays of one layer that hold keys and values of all sequences, and how they are written and read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import mlx.core as mx

from vllm_mlx.runners.kernels.pool_access import Gather, Write, gather_slots, write_slots


@dataclass(frozen=True, slots=True)
class LayerShape:
    """One layer's keys and values: heads and sizes as the model writes them, and its window in tokens."""

    heads: int
    key_dim: int
    value_heads: int
    value_dim: int
    dtype: mx.Dtype
    window: int | None = None

    @property
    def bytes_per_token(self) -> int:
        numbers = self.heads * self.key_dim + self.value_heads * self.value_dim
        return int(numbers * self.dtype.size)


class LayerPool(Protocol):
    """Keys and values of one layer, (slots, heads, dim) each.

    What is written is lazy until `state` is evaluated, or something that was read after it.
    """

    @property
    def keys(self) -> mx.array: ...

    @property
    def values(self) -> mx.array: ...

    @property
    def written(self) -> mx.array | None:
        """What a reader of `keys` and `values` must wait for, beyond the arrays themselves."""
        ...

    @property
    def state(self) -> list[mx.array]:
        """What changes with each write."""
        ...

    def give(self) -> list[mx.array]:
        """Hand the state over, so that whoever computes with it is its only owner."""
        ...

    def hold(self, state: list[mx.array]) -> None:
        """Take a state over."""
        ...

    def write(self, slots: mx.array, top: int, keys: mx.array, values: mx.array) -> None:
        """Write (tokens, heads, dim) to slots (tokens,), of which `top` is the highest."""
        ...

    def read(self, slots: mx.array) -> tuple[mx.array, mx.array]:
        """Keys and values (B, heads, T, dim) of slots (B, T)."""
        ...


NewPool = Callable[[int, LayerShape], LayerPool]
"""Makes a pool of so many slots, zeroed, for a layer."""


class ScatterPool:
    """A pool of plain array operations.

    The arrays have no other owner, so that writes happen in place: MLX donates a buffer that nobody else
    holds. On a GPU the device's unfinished work holds it, see `InPlacePool`.

    Args:
        slots: size in tokens.
        grow_from: slots to begin with, doubled as higher ones are written. Zeroing gigabytes on a CPU takes
            seconds at every start, for memory that a short run never fills.
    """

    def __init__(self, slots: int, shape: LayerShape, grow_from: int | None = None) -> None:
        self._slots = slots
        first = min(slots, grow_from or slots)
        self._arrays = _zeros(first, shape)

    @property
    def keys(self) -> mx.array:
        return self._arrays[0]

    @property
    def values(self) -> mx.array:
        return self._arrays[1]

    written = None

    @property
    def state(self) -> list[mx.array]:
        return list(self._arrays)

    def give(self) -> list[mx.array]:
        state, self._arrays = self._arrays, []
        return state

    def hold(self, state: list[mx.array]) -> None:
        self._arrays = state

    def write(self, slots: mx.array, top: int, keys: mx.array, values: mx.array) -> None:
        size = self._arrays[0].shape[0]
        if top >= size:
            more = min(self._slots, max(2 * size, top + 1)) - size
            self._arrays = [_extended(array, more) for array in self._arrays]
        self._arrays[0][slots] = keys
        if values.size:  # an index keeps keys alone, and MLX divides by zero where it scatters nothing
            self._arrays[1][slots] = values

    def read(self, slots: mx.array) -> tuple[mx.array, mx.array]:
        return _gather(self._arrays[0], slots), _gather(self._arrays[1], slots)


class InPlacePool:
    """A pool that kernels write in place, whatever the device still reads of it.

    The arrays stay the same for good. The order of accesses lies in a token: each write takes the one of the
    write before and gives its own, each read takes the last. A write does not wait for the reads before it:
    nobody writes to slots that a step under way reads, as blocks are free only when their last step is over.

    Args:
        slots: size in tokens.
        write, gather: how slots are written in place and gathered.
    """

    def __init__(
        self, slots: int, shape: LayerShape, *, write: Write = write_slots, gather: Gather = gather_slots
    ) -> None:
        self._write, self._gather = write, gather
        self.keys, self.values = _zeros(slots, shape)
        self._written = mx.zeros((1,), mx.int32)
        mx.eval(self.keys, self.values, self._written)

    @property
    def written(self) -> mx.array:
        return self._written

    @property
    def state(self) -> list[mx.array]:
        return [self._written]

    def give(self) -> list[mx.array]:
        return [self._written]

    def hold(self, state: list[mx.array]) -> None:
        (self._written,) = state

    def write(self, slots: mx.array, top: int, keys: mx.array, values: mx.array) -> None:
        if keys.size:
            self._written = self._write(self.keys, self.values, keys, values, slots, self._written)

    def read(self, slots: mx.array) -> tuple[mx.array, mx.array]:
        return self._read(self.keys, slots), self._read(self.values, slots)

    def _read(self, pool: mx.array, slots: mx.array) -> mx.array:
        return self._gather(pool, slots, self._written) if pool.size else _nothing(pool, slots)


def _zeros(slots: int, shape: LayerShape) -> list[mx.array]:
    return [
        mx.zeros((slots, heads, dim), shape.dtype)
        for heads, dim in ((shape.heads, shape.key_dim), (shape.value_heads, shape.value_dim))
    ]


def _extended(pool: mx.array, slots: int) -> mx.array:
    return mx.concatenate([pool, mx.zeros((slots, *pool.shape[1:]), pool.dtype)])


def _nothing(pool: mx.array, slots: mx.array) -> mx.array:
    return mx.zeros((slots.shape[0], pool.shape[1], slots.shape[1], 0), pool.dtype)


def _gather(pool: mx.array, slots: mx.array) -> mx.array:
    if not pool.size:
        return _nothing(pool, slots)
    # The CPU attention is three times slower on the transposed view, and the GPU ones would copy it anyway.
    return mx.contiguous(pool[slots].transpose(0, 2, 1, 3))
