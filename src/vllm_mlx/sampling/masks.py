"""Rules out tokens that a row may not sample: packed bits, unpacked on the device by common operations."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import mlx.core as mx
import numpy as np
import numpy.typing as npt

Words = npt.NDArray[np.uint32]

_BITS: Final = 32
_ANYTHING: Final = 0
_SLOTS: Final = 512
"""Masks that are kept, 19 kB each with a vocabulary of 152,000. Records with bounded names and white space
have 400 different ones, which 64 rows come by all the time."""


@dataclass(frozen=True, slots=True)
class RowMask:
    """What some rows of a step may sample.

    Attributes:
        rows: R places among the rows.
        words: (R, W) as the bits of `core.steps.TokenMask`.
        names: R, as there.
    """

    rows: Sequence[int]
    words: Words
    names: Sequence[Hashable]


@dataclass(frozen=True, slots=True)
class PlacedMask:
    """A `RowMask` on the device.

    Attributes:
        table: (S, W) masks; the first allows anything.
        slots: by row, which of them it has; others may sample anything.
    """

    table: mx.array
    slots: Mapping[int, int]

    def rows(self, indices: Sequence[int]) -> PlacedMask | None:
        """The same of these rows, renumbered; None if all of them may sample anything."""
        slots = {i: self.slots[row] for i, row in enumerate(indices) if row in self.slots}
        return PlacedMask(self.table, slots) if slots else None

    def of(self, rows: Sequence[int]) -> mx.array | None:
        """(rows, W) bits of these rows; None if all of them may sample anything."""
        slots = [self.slots.get(row, _ANYTHING) for row in rows]
        return self.table[mx.array(slots, mx.uint32)] if any(slots) else None


class MaskTable:
    """The masks that steps used last, kept on the device, so that a step brings only what is new to it.

    A grammar has few different masks: all places inside a string have the same. To bring a mask of every row
    at every step cost more than all else that a grammar does (on an H200 0.7 ms of a 6 ms step of 64 rows, as
    each page of it moves from the host to the device). A name stands for exact bits, so what is found here is
    what would have been brought.

    Args:
        slots: how many masks are kept at least; more where one step has more.
    """

    def __init__(self, slots: int = _SLOTS) -> None:
        self._least = slots
        self._table: mx.array | None = None
        self._slots: OrderedDict[Hashable, int] = OrderedDict()  # the last used last

    def __len__(self) -> int:
        """How many masks are known."""
        return len(self._slots)

    def place(self, mask: RowMask) -> PlacedMask:
        """The masks of these rows; lazy."""
        wanted = dict(zip(mask.names, range(len(mask.names)), strict=True))
        table, known = self._fitting(mask.words.shape[1], len(wanted)), self._slots
        new = []
        for name in wanted:
            if name in known:
                known.move_to_end(name)
            else:
                new.append(name)
        if new:
            places = [self._take_slot(table, name) for name in new]
            words = mx.array(mask.words[[wanted[name] for name in new]])
            index = mx.broadcast_to(mx.array(places, mx.uint32)[:, None], words.shape)
            # Not in place: a step that was submitted may still have to draw a row again by the table it saw.
            self._table = table = mx.put_along_axis(table, index, words, axis=0)
        return PlacedMask(table, {row: known[name] for row, name in zip(mask.rows, mask.names, strict=True)})

    def clear(self) -> None:
        """Know nothing any more: a step failed, and with it what it was to write here."""
        self._table = None
        self._slots.clear()

    def _fitting(self, width: int, rows: int) -> mx.array:
        """The table, or a new one if it is not as wide or not as long as this step needs."""
        table = self._table
        if table is None or table.shape[1] != width or table.shape[0] <= rows:
            self.clear()
            slots = max(self._least, 2 * rows) + 1
            words = np.zeros((slots, width), np.uint32)
            words[_ANYTHING] = 0xFFFFFFFF
            self._table = table = mx.array(words)
        return table

    def _take_slot(self, table: mx.array, name: Hashable) -> int:
        """A free one, or the one used longest ago; what this step uses was used last, and fits."""
        slot = len(self._slots) + 1
        if slot == table.shape[0]:
            _, slot = self._slots.popitem(last=False)
        self._slots[name] = slot
        return slot


def rule_out(logits: mx.array, bits: mx.array) -> mx.array:
    """The logits (R, V), -inf where the bit of `bits` (R, W) is not set; W words cover V."""
    return _compiled(logits, bits)


def _rule_out(logits: mx.array, bits: mx.array) -> mx.array:
    rows, vocab_size = logits.shape
    shifts = mx.arange(_BITS, dtype=mx.uint32)
    allowed = ((bits[:, :, None] >> shifts) & 1).reshape(rows, -1)[:, :vocab_size]
    return mx.where(allowed != 0, logits, -mx.inf)


_compiled: Callable[[mx.array, mx.array], mx.array] = mx.compile(_rule_out)
