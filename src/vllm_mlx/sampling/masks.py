"""Rules out tokens that a row may not sample: packed bits, unpacked on the device by common operations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import mlx.core as mx
import numpy as np

_BITS = 32


class RowMask:
    """What some rows of a step may sample.

    Args:
        rows: their places among the rows.
        bits: (R, W) uint32 for these R rows, as `core.steps.TokenMask` has them.
    """

    def __init__(self, rows: Sequence[int], bits: memoryview | np.ndarray[Any, Any]) -> None:
        self._places = {row: place for place, row in enumerate(rows)}
        self._words = np.asarray(bits)
        self._bits: dict[bool, mx.array] = {}

    def rows(self, indices: Sequence[int]) -> RowMask | None:
        """The same of these rows, renumbered; None if all of them may sample anything."""
        kept = [(i, self._places[row]) for i, row in enumerate(indices) if row in self._places]
        return RowMask([i for i, _ in kept], self._words[[place for _, place in kept]]) if kept else None

    def of(self, rows: Sequence[int]) -> mx.array | None:
        """(rows, W) bits of these rows; None if all of them may sample anything."""
        if not any(row in self._places for row in rows):
            return None
        anything = len(self._places)
        places = [self._places.get(row, anything) for row in rows]
        bits = self._on_device(with_anything=anything in places)
        return bits if places == list(range(len(bits))) else bits[mx.array(places)]

    def _on_device(self, *, with_anything: bool) -> mx.array:
        """The bits (R, W); one more row, of all ones, for rows that may sample anything."""
        if with_anything not in self._bits:
            ones = np.full((int(with_anything), self._words.shape[1]), 0xFFFFFFFF, np.uint32)
            self._bits[with_anything] = mx.array(
                np.concatenate([self._words, ones]) if with_anything else self._words
            )
        return self._bits[with_anything]


def rule_out(logits: mx.array, bits: mx.array) -> mx.array:
    """The logits (R, V), -inf where the bit of `bits` (R, W) is not set; W words cover V."""
    return _compiled(logits, bits)


def _rule_out(logits: mx.array, bits: mx.array) -> mx.array:
    rows, vocab_size = logits.shape
    shifts = mx.arange(_BITS, dtype=mx.uint32)
    allowed = ((bits[:, :, None] >> shifts) & 1).reshape(rows, -1)[:, :vocab_size]
    return mx.where(allowed != 0, logits, -mx.inf)


_compiled: Callable[[mx.array, mx.array], mx.array] = mx.compile(_rule_out)
