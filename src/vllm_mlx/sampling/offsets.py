"""What is added to single logits, whatever the text so far: bias, and bans."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import mlx.core as mx
import numpy as np

from vllm_mlx.core.steps import RowSampling

_SMALLEST_WIDTH = 16


@dataclass(frozen=True, slots=True)
class Offsets:
    """The logits to change in N rows, as (N, K) arrays.

    A row with fewer than K repeats its first entry: writing the same value twice does no harm.

    Attributes:
        token_ids: uint32.
        addend: float32; -inf bans the token.
    """

    token_ids: mx.array
    addend: mx.array

    def rows(self, index: slice | mx.array) -> Offsets:
        """The offsets of some rows only."""
        return Offsets(self.token_ids[index], self.addend[index])

    def apply(self, logits: mx.array) -> mx.array:
        """The changed logits, (N, V) float32 as before; the argument is left as it was."""
        changed = mx.take_along_axis(logits, self.token_ids, axis=1) + self.addend
        return mx.put_along_axis(logits, self.token_ids, changed, axis=1)


def build_offsets(rows: Sequence[RowSampling], vocab_size: int) -> Offsets | None:
    """The offsets of a step, or None if no row has any.

    Bans beat bias; ids outside the vocabulary are ignored.
    """
    if not any(row.banned_ids or row.params.logit_bias for row in rows):
        return None
    given = [
        {**(row.params.logit_bias or {}), **dict.fromkeys(row.banned_ids, float("-inf"))} for row in rows
    ]
    changes = [{i: addend for i, addend in one.items() if 0 <= i < vocab_size} for one in given]
    width = _SMALLEST_WIDTH
    while width < max(map(len, changes)):
        width *= 2  # few different widths, so that graphs and kernels repeat
    token_ids = np.zeros((len(rows), width), np.uint32)
    addend = np.zeros((len(rows), width), np.float32)
    for i, one in enumerate(changes):
        for array, entries in ((token_ids, list(one)), (addend, list(one.values()))):
            array[i] = entries[0] if entries else 0
            array[i, : len(entries)] = entries
    return Offsets(mx.array(token_ids), mx.array(addend))
