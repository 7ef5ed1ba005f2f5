"""The tokens that the newest step sampled: still on the device, where the next step may already need them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import mlx.core as mx
import numpy as np

from vllm_mlx.runners.base import Row


class NewestTokens:
    """Tokens (N,) of N sequences."""

    def __init__(self, seq_ids: Sequence[int] = (), token_ids: mx.array | None = None) -> None:
        self._place = {seq_id: i for i, seq_id in enumerate(seq_ids)}
        self._seq_ids = list(seq_ids)
        self._token_ids = token_ids

    def of(self, rows: Sequence[Row]) -> mx.array | None:
        """The token of each row, (rows,); any token for rows that are not unread. None if no row is."""
        if self._token_ids is None or not any(row.unread for row in rows):
            return None
        if [row.seq_id for row in rows] == self._seq_ids:
            return self._token_ids
        places = [self._place[row.seq_id] if row.unread else 0 for row in rows]
        return self._token_ids[mx.array(places)]

    def filled_in(self, token_ids: np.ndarray[Any, Any], rows: Sequence[Row]) -> mx.array:
        """The input (B, L) of a forward, int32: `token_ids` with what is unread in its first rows."""
        unread = self.of(rows)
        if unread is None:
            return mx.array(token_ids)
        unread = unread.astype(mx.int32)[:, None]
        if token_ids.shape == unread.shape and all(row.unread for row in rows):
            return unread
        takes = np.zeros((len(token_ids), 1), np.bool_)
        takes[: len(rows), 0] = [row.unread for row in rows]
        unread = mx.pad(unread, [(0, len(token_ids) - len(rows)), (0, 0)])
        return mx.where(mx.array(takes), unread, mx.array(token_ids))


NOTHING_NEW = NewestTokens()
"""Before the first step."""
