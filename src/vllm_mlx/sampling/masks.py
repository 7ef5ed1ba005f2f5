"""Rules out tokens that a row may not sample: packed bits, unpacked on the device by common operations."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from functools import cache
from typing import Final, NamedTuple

import mlx.core as mx
import numpy as np

_BITS: Final = 32
_ANYTHING: Final = 0
_SLOT_BITS: Final = 10
_SLOTS_A_NUMBER: Final = 6  # of 64 bits
_MOST_NUMBERS: Final = 11
_SLOTS: Final = 512
"""Masks that are kept, 19 kB each with a vocabulary of 152,000. Records with bounded names and white space
have 400 different ones, which 64 rows come by all the time."""


class RowMask(NamedTuple):
    """What some rows of a step may sample.

    Attributes:
        rows: R places among the rows.
        bits: (R, W) as those of `core.steps.TokenMask`; looked at only where a name is new.
        names: R, as there.
    """

    rows: Sequence[int]
    bits: memoryview
    names: Sequence[Hashable]


class PlacedMask(NamedTuple):
    """A `RowMask` on the device.

    Attributes:
        table: (S, W) masks; the first allows anything.
        places: R, the rows that it names; others may sample anything.
        slots: R, which of the masks each of them has.
    """

    table: mx.array
    places: tuple[int, ...]
    slots: list[int]

    def rows(self, indices: Sequence[int]) -> PlacedMask | None:
        """The same of these rows, renumbered; None if all of them may sample anything."""
        slots = self._slots_of(indices)
        named = tuple(i for i, slot in enumerate(slots) if slot != _ANYTHING)
        return PlacedMask(self.table, named, [slots[i] for i in named]) if named else None

    def rule_out(self, logits: mx.array, rows: Sequence[int]) -> mx.array:
        """The logits (rows, V) of these rows, -inf where they may not sample."""
        slots = self._slots_of(rows)
        bound = [i for i, slot in enumerate(slots) if slot != _ANYTHING]
        if not bound:
            return logits
        if len(bound) == 1:
            (place,) = bound
            return _of_one(logits, self.table[slots[place]], _number(place))
        if len(slots) <= _MOST_NUMBERS * _SLOTS_A_NUMBER and self.table.shape[0] <= 1 << _SLOT_BITS:
            return _by_numbers(logits, self.table, *_where_slots_lie(len(slots)), *_numbers(slots))
        return _of_all(logits, self.table[mx.array(slots, mx.uint32)])

    def _slots_of(self, rows: Sequence[int]) -> list[int]:
        if tuple(rows) == self.places:  # the usual case
            return self.slots
        known = dict(zip(self.places, self.slots, strict=True))
        return [known.get(row, _ANYTHING) for row in rows]


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
        self._width = 0
        self._slots: dict[Hashable, int] = {}
        self._names: list[Hashable] = []  # by slot
        self._used = np.zeros(0, np.int64)  # by slot, the step that used it last
        self._step = 0

    def __len__(self) -> int:
        """How many masks are known."""
        return len(self._slots)

    def place(self, mask: RowMask) -> PlacedMask:
        """The masks of these rows; lazy."""
        rows, width = mask.bits.shape or (0, 0)
        table = self._fitting(width, rows)
        self._step += 1
        slots = [self._slots.get(name, _ANYTHING) for name in mask.names]
        self._used[slots] = self._step
        if _ANYTHING in slots:
            table = self._bring(table, mask, [i for i, slot in enumerate(slots) if slot == _ANYTHING])
            slots = [self._slots[name] for name in mask.names]
        return PlacedMask(table, tuple(mask.rows), slots)

    def clear(self) -> None:
        """Know nothing any more: a step failed, and with it what it was to write here."""
        self._table = None
        self._slots.clear()

    def _bring(self, table: mx.array, mask: RowMask, missing: Sequence[int]) -> mx.array:
        """The table with the masks of these places of a `RowMask`."""
        new = {mask.names[i]: i for i in missing}
        places = [self._take_slot(name) for name in new]
        words = mx.array(np.asarray(mask.bits)[list(new.values())])
        index = mx.broadcast_to(mx.array(places, mx.uint32)[:, None], words.shape)
        # Not in place: a step that was submitted may still have to draw a row again by the table it saw.
        self._table = mx.put_along_axis(table, index, words, axis=0)
        return self._table

    def _fitting(self, width: int, rows: int) -> mx.array:
        """The table, or a new one if it is not as wide or not as long as this step may need."""
        table = self._table
        if table is None or self._width != width or len(self._names) <= rows:
            self.clear()
            self._width = width
            slots = max(self._least, 2 * rows) + 1
            words = np.zeros((slots, width), np.uint32)
            words[_ANYTHING] = 0xFFFFFFFF
            self._table = table = mx.array(words)
            self._names, self._used = [None] * slots, np.zeros(slots, np.int64)
        return table

    def _take_slot(self, name: Hashable) -> int:
        """A free one, or the one used longest ago; what this step uses was used last, and fits."""
        slot = len(self._slots) + 1
        if slot == len(self._names):
            slot = 1 + int(np.argmin(self._used[1:]))
            del self._slots[self._names[slot]]
        self._slots[name], self._names[slot], self._used[slot] = slot, name, self._step
        return slot


def _rule_out(logits: mx.array, bits: mx.array, others: mx.array | None = None) -> mx.array:
    """The logits (R, V), -inf where the bit of `bits` (R, W) is not set; W words cover V.

    Args:
        bits: (1, W) for one row alone.
        others: (R, 1, 1) which rows may sample anything all the same.
    """
    (rows, vocab), words = logits.shape, -(-logits.shape[1] // _BITS)
    if vocab % _BITS:
        logits = mx.pad(logits, [(0, 0), (0, words * _BITS - vocab)])
    # The logits take the shape of the bits, and not the other way round: so it is one kernel, and nothing of
    # the size of the logits is written but the result.
    allowed = _unpacked(bits[:, :words])
    allowed = allowed if others is None else others | allowed
    return mx.where(allowed, logits.reshape(rows, words, _BITS), -mx.inf).reshape(rows, -1)[:, :vocab]


def _rule_out_of_row(logits: mx.array, bits: mx.array, row: mx.array) -> mx.array:
    others = _counted(logits.shape[0])[:, None, None] != row
    if mx.default_device().type == mx.DeviceType.gpu:
        return _rule_out(logits, bits[None], others)
    # Here the bits (W,) are unpacked before: a kernel more costs less than to unpack them for every row.
    allowed = _unpacked(bits[None]).reshape(1, -1)[:, : logits.shape[1]]
    return mx.where(others[:, :, 0] | allowed, logits, -mx.inf)


def _unpacked(bits: mx.array) -> mx.array:
    """(R, W, 32) whether each bit of words (R, W) is set."""
    return ((bits[:, :, None] >> _counted(_BITS)) & 1) != 0


@cache
def _counted(count: int) -> mx.array:
    """(count,) 0, 1, 2, ...; on the device already."""
    return mx.array(np.arange(count, dtype=np.uint32))


@cache
def _number(value: int) -> mx.array:
    """It, on the device already."""
    return mx.array(value)


# Numbers are brought to a device with memory of its own for next to nothing. An array moves a page of memory
# there, which costs an H200's host 40 to 60 us.


def _rule_out_by_numbers(
    logits: mx.array, table: mx.array, number: mx.array, shift: mx.array, *numbers: mx.array
) -> mx.array:
    parts = [mx.where(number == i, each, 0) for i, each in enumerate(numbers)]
    while len(parts) > 1:  # by halves: what is too deep is not compiled to one kernel
        odd = parts[-1:] if len(parts) % 2 else []
        parts = [a + b for a, b in zip(parts[::2], parts[1::2], strict=False)] + odd
    slots = (parts[0] >> shift) & ((1 << _SLOT_BITS) - 1)
    return _rule_out(logits, table[slots.astype(mx.uint32)])


def _numbers(slots: Sequence[int]) -> list[mx.array]:
    """Slots as few numbers, see `_where_slots_lie`."""
    numbers = []
    for first in range(0, len(slots), _SLOTS_A_NUMBER):
        number = 0
        for slot in reversed(slots[first : first + _SLOTS_A_NUMBER]):
            number = number << _SLOT_BITS | slot
        numbers.append(mx.array(number, mx.int64))
    return numbers


@cache
def _where_slots_lie(count: int) -> tuple[mx.array, mx.array]:
    """(count,) the number that has each slot, and the place of its bits there."""
    places = np.arange(count)
    return mx.array(places // _SLOTS_A_NUMBER), mx.array(places % _SLOTS_A_NUMBER * _SLOT_BITS)


_of_all: Callable[[mx.array, mx.array], mx.array] = mx.compile(_rule_out)
_of_one: Callable[[mx.array, mx.array, mx.array], mx.array] = mx.compile(_rule_out_of_row)
_by_numbers: Callable[..., mx.array] = mx.compile(_rule_out_by_numbers)
