"""One forward of the model over rows of the paged pool, padded to shapes that repeat."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any

import mlx.core as mx
import numpy as np

from vllm_mlx.models.head import SplitModel
from vllm_mlx.runners.base import Row
from vllm_mlx.runners.device import start_computing
from vllm_mlx.runners.geometry import Geometry, lay_out, places_of, token_rows
from vllm_mlx.runners.nesting import Nesting, nested
from vllm_mlx.runners.newest import NOTHING_NEW, NewestTokens
from vllm_mlx.runners.paged import PagedCache

_TAIL_READS = 160_000
"""Chunks join the rows of single tokens as long as their tokens read at most so many keys in all, which
spares each a forward of its own (H200, 0.6B: 7 ms)."""

_FRESH_TAIL = 200
"""Longest chunk without history that does: longer ones batch: 7.4 ms for 390 tokens, not 10.3."""

_COMPILED_ROWS = 64
"""More rows than that have enough to compute; a compiled step for each of their shapes would not pay."""

TOGETHER = (1, 2, 4, 8)
LONGEST_TOGETHER = 1024

PoolStates = list[list[mx.array]]
TokenStep = Callable[[mx.array, mx.array, PoolStates], tuple[mx.array, PoolStates]]


@dataclass(frozen=True, slots=True)
class Shapes:
    """What a forward's sizes are rounded up to, because kernels, graphs and plans are kept by shape.

    Attributes:
        row_buckets: batch sizes in use; larger ones are multiples of the last. Empty: no padding.
        tokens, keys: chunk length and visible positions are multiples of these; above eight times that, of
            twice that, and so on.
        planned: each pair of numbers of new and of visible tokens costs a plan. So what a lone chunk with
            history looks at is padded, too, and masked by an array, both numbers are powers of two, and rows
            without history attend `TOGETHER`, those of more than `LONGEST_TOGETHER` tokens each by itself.
    """

    row_buckets: tuple[int, ...] = ()
    tokens: int = 1
    keys: int = 1
    planned: bool = False

    def rows(self, count: int) -> int:
        """The batch size for `count` rows."""
        for bucket in self.row_buckets:
            if count <= bucket:
                return bucket
        step = self.row_buckets[-1] if self.row_buckets else 1
        return -(-count // step) * step

    def chunk(self, tokens: int, *, history: bool = False) -> int:
        """The padded length of a chunk, with or without history; a single token stays one."""
        if tokens == 1:
            return 1
        return (
            _power_of_two(tokens, self.tokens) if self.planned and history else _rounded(tokens, self.tokens)
        )

    def pieces(self, count: int, tokens: int) -> tuple[int, ...]:
        """How many of `count` rows of so many tokens attend together, where each number must be planned."""
        if not self.planned:
            return (count,)
        most = TOGETHER[-1] if tokens <= LONGEST_TOGETHER else 1
        whole, rest = divmod(count, most)
        return (most,) * whole + tuple(size for size in reversed(TOGETHER) if rest & size)

    def visible(self, positions: int) -> int:
        """The padded number of visible positions."""
        return _power_of_two(positions, self.keys) if self.planned else _rounded(positions, self.keys)

    def blocks(self, count: int, block_size: int) -> int:
        """The width of a block table: a power of two of `keys`."""
        return _power_of_two(count, max(1, self.keys // block_size))


def _power_of_two(count: int, least: int) -> int:
    """Up to `least` times a power of two."""
    size = least
    while size < count:
        size *= 2
    return size


def _rounded(count: int, step: int) -> int:
    """Up to a multiple of the step, of twice the step above eight of them, and so on; 1 rounds nothing."""
    while step > 1 and count > 8 * step:
        step *= 2
    return -(-count // step) * step


EXACT = Shapes()
"""A CPU compiles nothing by shape and would only compute the padding."""

BUCKETED = Shapes(row_buckets=(1, 2, 4, 8, 12, 16, 24, 32, 48, 64), tokens=32, keys=256)
"""For GPUs."""

PLANNED = replace(BUCKETED, planned=True)
"""For CUDA, where attention of 16-bit chunks takes 40 ms to plan for each new shape."""


@dataclass(frozen=True, slots=True)
class States:
    """What the backbone made of the rows of one forward, in their order.

    Attributes:
        array: (B, L, width), padding included.
        lengths: tokens of each row.
        flat: whether the rows' tokens follow one another along B (and L is 1), else each row has its own B.
    """

    array: mx.array
    lengths: tuple[int, ...]
    flat: bool

    def of(self, row: int) -> mx.array:
        """(1, tokens, width): all of one row."""
        if not self.flat:
            return self.array[row : row + 1, : self.lengths[row]]
        first = sum(self.lengths[:row])
        return self.array[first : first + self.lengths[row]].swapaxes(0, 1)

    def last(self, rows: Sequence[int]) -> mx.array:
        """(rows, 1, width): the last token of each of these rows."""
        if self.flat:
            ends = list(accumulate(self.lengths))
            picked = [ends[row] - 1 for row in rows]
            if picked == list(range(len(picked))):
                return self.array[: len(picked)]
            return self.array[mx.array(picked)]
        if len(self.lengths) == 1:
            return self.array[:, self.lengths[0] - 1 : self.lengths[0]]
        return self.array[mx.array(list(rows)), mx.array([self.lengths[row] - 1 for row in rows])][:, None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """How rows become forwards.

    Attributes:
        split: run the head only where logits are asked for.
        batch: whether this family computes several rows at once as it computes each alone.
        kernel: whether single tokens attend by the paged kernel; then short chunks are rows of single tokens
            too, and one forward serves both, and chunks without history that are equally long share one.
        compiled: whether to compile the step of single tokens; only with the kernel.
        tail_tokens: the longest chunk that the kernel takes.
        nesting: how the model wants its caches; empty if none is in a list.
    """

    block_size: int
    split: bool
    shapes: Shapes = EXACT
    batch: bool = True
    kernel: bool = False
    compiled: bool = False
    tail_tokens: int = 512
    nesting: Nesting = ()


class PagedForward:
    """The model and its layers' paged caches, run one group of rows at a time.

    Args:
        model: an mlx-lm model.
        caches: one for each cache the model wants.
    """

    def __init__(self, model: Any, caches: Sequence[PagedCache], layout: Layout) -> None:
        self._model = model
        self._halves = SplitModel(model) if layout.split else None
        self._caches = list(caches)
        self._nested = nested(self._caches, layout.nesting) if layout.nesting else self._caches
        self._layout = layout
        self._shapes = layout.shapes
        self._block_size = layout.block_size
        compiled: Any = mx.compile(self._token_step) if layout.compiled else None
        self._compiled: TokenStep | None = compiled

    def groups(self, rows: Sequence[Row]) -> list[list[Row]]:
        """Which rows share a forward, in order: single tokens (and short tails, by the kernel), equal fresh
        chunks; each other chunk is alone, in two parts where only its last token's logits are wanted.
        """
        # What the step before sampled is filled in by row, so rows of one token come first.
        singles = [row for row in rows if len(row.token_ids) == 1]
        chunks = [row for row in rows if len(row.token_ids) > 1]
        tails = self._tails(chunks)
        singles += tails
        taken = {row.seq_id for row in tails}
        chunks = [row for row in chunks if row.seq_id not in taken]
        fresh: dict[int, list[Row]] = {}
        if self._layout.kernel and self._halves is not None:
            for row in chunks:
                if not row.start:
                    fresh.setdefault(self._shapes.chunk(len(row.token_ids)), []).append(row)
            chunks = [row for row in chunks if row.start]
        first = [singles] * bool(singles) if self._layout.batch else [[row] for row in singles]
        return [*first, *fresh.values(), *([part] for row in chunks for part in self._parts(row))]

    def _parts(self, row: Row) -> list[Row]:
        """A chunk whose logits would all be computed for the last one's sake goes in two forwards."""
        if self._halves is not None or row.sampling is None or row.prompt_logprobs is not None:
            return [row]
        body = replace(row, token_ids=row.token_ids[:-1], sampling=None)
        return [body, replace(row, token_ids=row.token_ids[-1:], start=row.start + len(body.token_ids))]

    def states(self, rows: Sequence[Row], newest: NewestTokens = NOTHING_NEW) -> States:
        """Compute one group of rows and write their keys and values; lazy.

        Args:
            rows: a group as `groups` makes them; of one token first.
            newest: what the step before sampled, for rows that are unread.
        """
        lengths = tuple(len(row.token_ids) for row in rows)
        if self._layout.kernel and (lengths[0] == 1 or len(self._tails(rows)) == len(rows)):
            return States(self._token_states(rows, newest), lengths, flat=True)
        batch = self._shapes.rows(len(rows)) if lengths[0] == 1 and len(rows) > 1 else len(rows)
        latest = max(row.start for row in rows)
        # A family that takes rows alone may count positions by the number of keys: no padding for it.
        planned = self._shapes.planned and self._layout.batch
        length = self._shapes.chunk(max(lengths), history=planned and latest > 0)
        longest = latest + length
        padded = planned and length > 1
        masked = len(rows) > 1 or padded
        geometry = lay_out(
            rows,
            self._block_size,
            pad_rows=batch,
            pad_tokens=length,
            visible=self._shapes.visible(longest) if masked else None,
            pieces=self._shapes.pieces(batch, length),
        )
        token_ids = np.zeros((batch, length), np.int32)
        for i, row in enumerate(rows):
            token_ids[i, : lengths[i]] = row.token_ids
        return States(self._run(newest.filled_in(token_ids, rows), geometry), lengths, flat=False)

    def submit(self, *wanted: mx.array) -> None:
        """Start computing these and the pool writes, so that the next forward finds the pool unshared."""
        start_computing(*wanted, *(array for cache in self._caches for array in cache.state))
        for cache in self._caches:
            cache.settle()

    def logits(self, states: mx.array) -> mx.array:
        """float32 logits (B, L, vocab) of states (B, L, width)."""
        logits = self._halves.head(states) if self._halves is not None else states
        return logits.astype(mx.float32)

    def release(self) -> None:
        """Drop the model and the pool."""
        self._caches.clear()
        self._nested.clear()
        self._compiled = None
        self._halves = None
        self._model = None

    def _tails(self, chunks: Sequence[Row]) -> list[Row]:
        """Those of the chunks that are better computed as rows of single tokens."""
        if not self._layout.kernel or self._halves is None:
            return []
        tails, reads = [], 0
        for row in sorted(chunks, key=lambda row: len(row.token_ids)):
            tokens = len(row.token_ids)
            longest = self._layout.tail_tokens if row.start else min(_FRESH_TAIL, self._layout.tail_tokens)
            if tokens <= longest and reads + tokens * (row.start + tokens) <= _TAIL_READS:
                reads += tokens * (row.start + tokens)
                tails.append(row)
        return tails

    def _token_states(self, rows: Sequence[Row], newest: NewestTokens) -> mx.array:
        """(N, 1, width) of every token of the rows, each as a row of its own."""
        count = sum(len(row.token_ids) for row in rows)
        longest = max(row.start + len(row.token_ids) for row in rows)
        tokens = token_rows(
            rows,
            self._block_size,
            pad_rows=self._shapes.rows(count),
            pad_blocks=self._shapes.blocks(-(-longest // self._block_size), self._block_size),
        )
        compiled = self._compiled if len(tokens.token_ids) <= _COMPILED_ROWS else None
        step: TokenStep = compiled or self._token_step
        pools = [cache.give() for cache in self._caches]
        try:
            token_ids = newest.filled_in(tokens.token_ids[:, None], rows)
            states, pools = step(token_ids, mx.array(tokens.places), pools)
        finally:
            self._hold(pools)
        return states

    def _token_step(
        self, token_ids: mx.array, places: mx.array, pools: PoolStates
    ) -> tuple[mx.array, PoolStates]:
        """States of single tokens and the pools after them; all that it depends on are its arguments."""
        self._hold(pools)
        offsets, slots, tables = places_of(places, len(token_ids))
        geometry = Geometry(offsets, slots, (slots.size, 1), top=0, tables=tables, lens=offsets + 1)
        states = self._run(token_ids, geometry)
        for cache in self._caches:
            cache.settle()
        return states, [cache.give() for cache in self._caches]

    def _hold(self, pools: PoolStates) -> None:
        for cache, state in zip(self._caches, pools, strict=True):
            cache.hold(state)

    def _run(self, inputs: mx.array, geometry: Geometry) -> mx.array:
        for cache in self._caches:
            cache.aim(geometry)
        states: mx.array = (
            self._halves.backbone(inputs, self._nested)
            if self._halves is not None
            else self._model(inputs, cache=self._nested)
        )
        return states
