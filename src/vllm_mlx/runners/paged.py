"""The paged pool: where keys and values live, and the cache objects that mlx-lm's classes read them by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import mlx.core as mx
import numpy as np

from vllm_mlx.runners.base import Row
from vllm_mlx.runners.kernels.paged_attention import Attention, paged_attention

SCRATCH_SLOT = 0
"""A slot of block 0, which no sequence owns and nothing writes: its zeros stand in for "no token"."""

_DUMMY_SLOT = 1
"""The slot of block 0 that padding rows write to where steps keep their shape; nothing reads it."""


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


class SeamError(RuntimeError):
    """A model does something with its cache that the kernel cannot serve; found out by the load probe."""


@dataclass(frozen=True, slots=True)
class Geometry:
    """Where the tokens of one forward (B, L) go in the pool, and what each row may look at.

    Three forms: rows that each look back by position (`positions`), rows of one token that find their keys by
    block table (`tables`, `lens`; only for the kernel), and rows without history or a lone one (neither), for
    which the causal mask says all. Padding is computed, and written nowhere or to a slot that nothing reads.

    Attributes:
        offset: position of each row's first token; a plain int where all rows have the same, else (B,).
        slots: (written,) pool slots that new keys and values go to.
        written: which tokens of the forward these are: how many rows and how many tokens of each, or their
            places in (B * L).
        top: the highest slot.
        visible: (B, T) pool slots in position order, SCRATCH_SLOT past each row's end; None when all that a
            row may look at is its own new tokens.
        positions: (B, L) positions of the tokens.
        history: tokens of a lone row that are in the pool already.
        tables: (B, blocks) block table of each row.
        lens: (B,) keys that each row looks at.
        masks: what `stand_in` gave, with its window.
    """

    offset: int | mx.array
    slots: mx.array
    written: tuple[int, int] | mx.array
    top: int
    visible: mx.array | None = None
    positions: mx.array | None = None
    history: int = 0
    tables: mx.array | None = None
    lens: mx.array | None = None
    masks: list[tuple[int | None, mx.array]] = field(default_factory=list)

    def stand_in(self, window: int | None) -> mx.array:
        """What models carry from `make_mask` to `attend` where the kernel needs no mask, only its window."""
        for known, mask in self.masks:
            if known == window:
                return mask
        self.masks.append((window, mx.zeros((1, 1, 1, 1), mx.bool_)))
        return self.masks[-1][1]

    def window_behind(self, mask: mx.array) -> int | None:
        """The window that a stand-in stands for.

        Raises:
            SeamError: the model made the mask itself, or changed it.
        """
        for window, known in self.masks:
            if mask is known:
                return window
        raise SeamError("the model brings a mask of its own")

    def token_major(self, new: mx.array) -> mx.array:
        """The written ones of (B, heads, L, dim), as (written, heads, dim)."""
        if isinstance(self.written, tuple):
            rows, tokens = self.written
            new = new[:rows, :, :tokens]
        flat = new.transpose(0, 2, 1, 3).reshape(-1, new.shape[1], new.shape[3])
        return flat if isinstance(self.written, tuple) else flat[self.written]


@dataclass(frozen=True, slots=True)
class TokenRows:
    """Single tokens, each a row of its own, as numbers for the device: a decode, or one token of a chunk.

    Attributes:
        token_ids, offsets, slots: (N,) int32; `offsets` are positions.
        tables: (N, blocks) int32, zero past each row's end.
    """

    token_ids: np.ndarray[Any, Any]
    offsets: np.ndarray[Any, Any]
    slots: np.ndarray[Any, Any]
    tables: np.ndarray[Any, Any]


def token_rows(rows: Sequence[Row], block_size: int, *, pad_rows: int, pad_blocks: int) -> TokenRows:
    """One row for every token of `rows`, in order, then dummies up to `pad_rows`.

    Args:
        pad_blocks: columns of the block table.
    """
    token_ids, offsets = np.zeros(pad_rows, np.int32), np.zeros(pad_rows, np.int32)
    tables = np.zeros((pad_rows, pad_blocks), np.int32)
    at = 0
    for row in rows:
        count = len(row.token_ids)
        stop = row.start + count
        used = -(-stop // block_size)
        if count == 1:  # by far the most
            token_ids[at], offsets[at], tables[at, :used] = row.token_ids[0], row.start, row.block_ids[:used]
        else:
            token_ids[at : at + count] = row.token_ids
            offsets[at : at + count] = range(row.start, stop)
            tables[at : at + count, :used] = row.block_ids[:used]
        at += count
    slots = np.full(pad_rows, _DUMMY_SLOT, np.int32)
    slots[:at] = tables[np.arange(at), offsets[:at] // block_size] * block_size + offsets[:at] % block_size
    return TokenRows(token_ids, offsets, slots, tables)


def lay_out(
    rows: Sequence[Row],
    block_size: int,
    *,
    pad_rows: int = 0,
    pad_tokens: int = 0,
    visible: int | None = None,
) -> Geometry:
    """The geometry of one forward over rows of equal token counts, or of rows without history.

    Args:
        pad_rows, pad_tokens: pad the forward to so many rows, and to so many tokens of each.
        visible: positions gathered for each row, of which a mask leaves what it may look at; None for
            a lone row to which the causal mask applies.
    """
    if not any(row.start for row in rows):
        return _lay_out_fresh(rows, block_size, pad_tokens)
    tokens = len(rows[0].token_ids)
    slots = [_slots(row.block_ids, row.start, row.start + tokens, block_size) for row in rows]
    new_slots = np.concatenate(slots)
    written, top = mx.array(new_slots), int(new_slots.max())
    width = max(tokens, pad_tokens)
    if visible is None:
        (row,) = rows
        ends = _slots(row.block_ids, 0, row.start + tokens, block_size)
        seen = mx.array(np.pad(ends, (0, width - tokens))[None])
        return Geometry(row.start, written, (1, tokens), top, seen, history=row.start)
    table = np.full((max(len(rows), pad_rows), visible), SCRATCH_SLOT, np.int32)
    starts = np.zeros(len(table), np.int32)
    for i, row in enumerate(rows):
        starts[i] = row.start
        table[i, : row.start + tokens] = _slots(row.block_ids, 0, row.start + tokens, block_size)
    positions = starts[:, None] + np.arange(width, dtype=np.int32)[None]
    offset: int | mx.array = mx.array(starts) if len(table) > 1 else rows[0].start
    return Geometry(offset, written, (len(rows), tokens), top, mx.array(table), mx.array(positions))


def _lay_out_fresh(rows: Sequence[Row], block_size: int, pad_tokens: int) -> Geometry:
    """Rows that look at their own new tokens only, padded on the right: causality hides the padding."""
    lengths = [len(row.token_ids) for row in rows]
    slots = np.concatenate([_slots(row.block_ids, 0, len(row.token_ids), block_size) for row in rows])
    written: tuple[int, int] | mx.array = (len(rows), lengths[0])
    if len(set(lengths)) > 1:
        width = max(*lengths, pad_tokens)
        written = mx.array(np.concatenate([i * width + np.arange(n) for i, n in enumerate(lengths)]))
    return Geometry(0, mx.array(slots), written, int(slots.max()))


def _slots(block_ids: Sequence[int], start: int, end: int, block_size: int) -> np.ndarray[Any, Any]:
    """Pool slots of positions start to end - 1."""
    first, last = start // block_size, -(-end // block_size)
    table = np.asarray(block_ids[first:last], np.int32)
    every = (table[:, None] * block_size + np.arange(block_size, dtype=np.int32)[None]).reshape(-1)
    return every[start - first * block_size : end - first * block_size]


class PagedCache:
    """One layer's share of the pool, in the shape of an mlx-lm KV cache.

    `update_and_fetch` writes the new tokens to their slots and returns what the rows may look at, gathered
    into (B, heads, T, dim). Both are lazy: where `attend` has a better way, the gathered form is never
    computed. The pool arrays have no other owner, so that writes happen in place (mlx donates a buffer that
    nobody else holds; one more reference would copy the pool at every step).

    Args:
        slots: pool size in tokens, block 0 included.
        block_size: tokens a block.
        grow_from: slots to begin with, doubled as higher ones are written; None for all at once. Zeroing
            gigabytes on a CPU takes seconds at every start, for memory that a short run never fills.
        window: tokens that this layer may look back on, itself included; None for all.
        mask_rank: rank of masks for several rows. 4 fits the fused attention; families that keep query groups
            as an axis of their own need 5.
        attention: what rows with block tables attend by.
    """

    def __init__(
        self,
        slots: int,
        *,
        block_size: int,
        window: int | None = None,
        mask_rank: int = 4,
        grow_from: int | None = None,
        attention: Attention = paged_attention,
    ) -> None:
        self.window = window
        self.mask_rank = mask_rank
        self.attended = 0
        self.query_heads = 0
        self.sinks = False
        self._block_size = block_size
        self._attention = attention
        self._slots = slots
        self._first_slots = min(slots, grow_from or slots)
        self._keys: mx.array | None = None
        self._values: mx.array | None = None
        self._fetched: tuple[mx.array, mx.array] | None = None
        self._geometry: Geometry | None = None

    def aim(self, geometry: Geometry) -> None:
        """Set where the next forward reads and writes."""
        self._geometry = geometry

    def allocate(self, shape: LayerShape) -> None:
        """Make the layer's arrays, zeroed: (slots, heads, dim) token-major."""
        self._keys = mx.zeros((self._first_slots, shape.heads, shape.key_dim), shape.dtype)
        self._values = mx.zeros((self._first_slots, shape.value_heads, shape.value_dim), shape.dtype)

    @property
    def shape(self) -> LayerShape:
        """The layer's shape, known once it is allocated or has seen a token."""
        if self._keys is None or self._values is None:
            raise RuntimeError("this layer has not seen a token")
        (_, heads, key_dim), (_, value_heads, value_dim) = self._keys.shape, self._values.shape
        return LayerShape(heads, key_dim, value_heads, value_dim, self._keys.dtype, self.window)

    @property
    def arrays(self) -> list[mx.array]:
        """The pool arrays, to be evaluated after a forward that nothing else reads."""
        return [array for array in (self._keys, self._values) if array is not None]

    def hold(self, keys: mx.array, values: mx.array) -> None:
        """Take the layer's arrays over."""
        self._keys, self._values = keys, values

    def give(self) -> tuple[mx.array, mx.array]:
        """Hand the layer's arrays over, so that whoever computes with them is their only owner."""
        if self._keys is None or self._values is None:
            raise RuntimeError("this layer has not been allocated")
        keys, values = self._keys, self._values
        self._keys = self._values = None
        return keys, values

    # The rest is what mlx-lm's model classes call.

    @property
    def offset(self) -> int | mx.array:
        return self._aimed.offset

    def make_mask(
        self,
        N: int,  # noqa: N803 - mlx-lm passes it by this name
        return_array: bool = False,
        window_size: int | None = None,
        **_: Any,
    ) -> mx.array | str | None:
        """What `mlx_lm.models.base.create_attention_mask` returns: None, "causal", or a boolean array."""
        geometry = self._aimed
        window = min(filter(None, (window_size, self.window)), default=None)
        if geometry.tables is not None:
            return geometry.stand_in(window)
        if geometry.positions is None:
            return _mask_of_one(N, geometry.history, window, return_array)
        width = geometry.visible.shape[1] if geometry.visible is not None else N
        keys, queries = mx.arange(width), geometry.positions[..., None]
        mask = keys <= queries
        if window is not None:
            mask = mask & (keys > queries - window)
        return mask.reshape(mask.shape[0], *([1] * (self.mask_rank - 3)), *mask.shape[1:])

    def update_and_fetch(self, keys: mx.array, values: mx.array) -> tuple[mx.array, mx.array]:
        """Write (B, heads, L, dim) keys and values; return all that each row may look at."""
        geometry = self._aimed
        if self._keys is None or self._values is None:
            self.allocate(
                LayerShape(keys.shape[1], keys.shape[3], values.shape[1], values.shape[3], keys.dtype)
            )
        assert self._keys is not None
        assert self._values is not None
        if geometry.top >= self._keys.shape[0]:
            more = min(self._slots, max(2 * self._keys.shape[0], geometry.top + 1)) - self._keys.shape[0]
            self._keys, self._values = _extended(self._keys, more), _extended(self._values, more)
        self._keys[geometry.slots] = geometry.token_major(keys)
        if values.size:  # an index keeps keys alone, and MLX divides by zero where it scatters nothing
            self._values[geometry.slots] = geometry.token_major(values)
        if geometry.visible is None:
            self._fetched = keys, values
        else:
            self._fetched = _gather(self._keys, geometry.visible), _gather(self._values, geometry.visible)
        return self._fetched

    start_position = 0
    """Position of the first key that is kept (of a cache that keeps chunks): nothing is dropped here."""

    def maybe_trim_front(self) -> None:
        """Drop what no chunk looks at any more: the model's mask hides it, and its block may be shared."""

    # Models assign to `keys` and `values` only to tie the evaluation of one array to another's, or to empty
    # one that they never read. A step evaluates all of the pool, so there is nothing to be done.

    @property
    def keys(self) -> mx.array:
        return self.keys_and_values()[0]

    @keys.setter
    def keys(self, _: mx.array) -> None:
        pass

    @property
    def values(self) -> mx.array:
        return self.keys_and_values()[1]

    @values.setter
    def values(self, _: mx.array) -> None:
        pass

    def keys_and_values(self) -> tuple[mx.array, mx.array]:
        """What the last update returned, for layers that read another layer's cache."""
        if self._fetched is None:
            raise RuntimeError("this layer has not seen a token")
        return self._fetched

    def attend(
        self,
        queries: mx.array,
        keys: mx.array,
        values: mx.array,
        *,
        scale: float,
        mask: mx.array | str | None,
        sinks: mx.array | None,
    ) -> mx.array:
        """Attention (B, query heads, L, value dim) over what `update_and_fetch` returned.

        Raises:
            SeamError: the kernel is to be used, and the model attends to something else.
        """
        # Keys of their own (a decompressed latent, for one) mean that the pool is not what is attended to.
        own = self._fetched is not None and keys is self._fetched[0] and values is self._fetched[1]
        self.attended += own
        self.query_heads, self.sinks = queries.shape[1], sinks is not None
        geometry = self._aimed
        if geometry.tables is not None and geometry.lens is not None:
            if not own or self._keys is None or self._values is None or isinstance(mask, str):
                raise SeamError("the model attends to other keys than it wrote")
            return self._attention(
                queries,
                self._keys,
                self._values,
                geometry.tables,
                geometry.lens,
                scale=scale,
                block_size=self._block_size,
                window=self.window if mask is None else geometry.window_behind(mask),
                sinks=sinks,
            )
        return mx.fast.scaled_dot_product_attention(
            queries, keys, values, scale=scale, mask=mask, sinks=sinks
        )

    def settle(self) -> None:
        """Forget the last forward's views, which would keep its arrays alive."""
        self._fetched = None
        self._geometry = None

    @property
    def _aimed(self) -> Geometry:
        if self._geometry is None:
            raise RuntimeError("a paged cache was used outside a step")
        return self._geometry


def _mask_of_one(tokens: int, history: int, window: int | None, as_array: bool) -> mx.array | str | None:
    """The mask of a lone row: "causal" or None keep the fused kernels; a window that is reached does not."""
    total = history + tokens
    outgrown = window is not None and total > window
    if not outgrown and not (as_array and tokens > 1):
        return "causal" if tokens > 1 else None
    keys, queries = mx.arange(total), mx.arange(history, total)[:, None]
    mask = keys <= queries
    return mask if window is None else mask & (keys > queries - window)


def _extended(pool: mx.array, slots: int) -> mx.array:
    return mx.concatenate([pool, mx.zeros((slots, *pool.shape[1:]), pool.dtype)])


def _gather(pool: mx.array, visible: mx.array) -> mx.array:
    """(B, heads, T, dim) of the slots (B, T)."""
    if not pool.size:
        return mx.zeros((visible.shape[0], pool.shape[1], visible.shape[1], 0), pool.dtype)
    # The CPU attention is three times slower on the transposed view, and the GPU ones would copy it anyway.
    return mx.contiguous(pool[visible].transpose(0, 2, 1, 3))
