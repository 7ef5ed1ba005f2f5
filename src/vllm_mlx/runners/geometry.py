"""Where the tokens of a forward lie in the pool, and what each row may look at, as numbers for the device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import mlx.core as mx
import numpy as np

from vllm_mlx.runners.base import Row

SCRATCH_SLOT = 0
"""A slot of block 0, which no sequence owns and nothing writes: its zeros stand in for "no token"."""

_DUMMY_SLOT = 1
"""The slot of block 0 that padding rows write to where steps keep their shape; nothing reads it."""


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
        pieces: rows of each attention, where not all of B share one.
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
    pieces: tuple[int, ...] = ()
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
        count, heads, tokens, dim = new.shape
        flat = new.transpose(0, 2, 1, 3).reshape(count * tokens, heads, dim)
        return flat if isinstance(self.written, tuple) else flat[self.written]


@dataclass(frozen=True, slots=True)
class TokenRows:
    """Single tokens, each a row of its own, as numbers for the device: a decode, or one token of a chunk.

    Attributes:
        token_ids: (N,) int32.
        places: (N * (2 + blocks),) int32, all that is said of where they are, see `places_of`: one array,
            because each that is brought to a GPU with memory of its own costs the host time (on an H200
            some 40 us, for its pages move).
    """

    token_ids: np.ndarray[Any, Any]
    places: np.ndarray[Any, Any]


def places_of(places: mx.array, rows: int) -> tuple[mx.array, mx.array, mx.array]:
    """Positions (N,), slots (N,) and block tables (N, blocks), zero past each row's end, of `TokenRows`."""
    return places[:rows], places[rows : 2 * rows], places[2 * rows :].reshape(rows, -1)


def token_rows(rows: Sequence[Row], block_size: int, *, pad_rows: int, pad_blocks: int) -> TokenRows:
    """One row for every token of `rows`, in order, then dummies up to `pad_rows`.

    Args:
        pad_blocks: columns of the block table.
    """
    token_ids, places = np.zeros(pad_rows, np.int32), np.zeros(pad_rows * (2 + pad_blocks), np.int32)
    offsets, slots = places[:pad_rows], places[pad_rows : 2 * pad_rows]
    tables = places[2 * pad_rows :].reshape(pad_rows, pad_blocks)
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
    slots[:at] = tables[np.arange(at), offsets[:at] // block_size] * block_size + offsets[:at] % block_size
    slots[at:] = _DUMMY_SLOT
    return TokenRows(token_ids, places)


def lay_out(
    rows: Sequence[Row],
    block_size: int,
    *,
    pad_rows: int = 0,
    pad_tokens: int = 0,
    visible: int | None = None,
    pieces: tuple[int, ...] = (),
) -> Geometry:
    """The geometry of one forward over rows of equal token counts, or of rows without history.

    Args:
        pad_rows, pad_tokens: pad the forward to so many rows, and to so many tokens of each.
        visible: positions gathered for each row, of which a mask leaves what it may look at; None for
            a lone row to which the causal mask applies.
        pieces: see `Geometry`; for rows without history.
    """
    if not any(row.start for row in rows):
        return replace(_lay_out_fresh(rows, block_size, pad_tokens), pieces=pieces)
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
