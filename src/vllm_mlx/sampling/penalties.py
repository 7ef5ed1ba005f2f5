"""Changes to single logits: repetition, presence and frequency penalties, bias and bans."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import numpy as np
import numpy.typing as npt

from vllm_mlx.core.sampling import SamplingParams
from vllm_mlx.core.steps import RowSampling

_Ids = npt.NDArray[np.int64]
_Floats = npt.NDArray[np.float64]
_SMALLEST_WIDTH = 16


@dataclass(frozen=True, slots=True)
class Edits:
    """The logits to change in N rows, as (N, K) arrays.

    A row with fewer than K repeats its first entry: writing the same value twice does no harm.

    Attributes:
        token_ids: uint32.
        factor: positive logits are divided by it, the others multiplied.
        addend: added after that; -inf bans the token.
    """

    token_ids: mx.array
    factor: mx.array
    addend: mx.array

    def rows(self, index: slice | mx.array) -> Edits:
        """The edits of some rows only."""
        return Edits(self.token_ids[index], self.factor[index], self.addend[index])

    def apply(self, logits: mx.array) -> mx.array:
        """The edited logits, (N, V) float32 as before; the argument is left as it was."""
        old = mx.take_along_axis(logits, self.token_ids, axis=1)
        new = mx.where(old > 0, old / self.factor, old * self.factor) + self.addend
        return mx.put_along_axis(logits, self.token_ids, new, axis=1)


def needs_edits(row: RowSampling) -> bool:
    """Whether any logit of the row is to be changed."""
    params = row.params
    return bool(row.banned_ids or params.logit_bias) or _penalised(params)


def build_edits(rows: Sequence[RowSampling], vocab_size: int, unread: mx.array | None = None) -> Edits | None:
    """The edits of a step, or None if no row has any.

    Repetition (Keskar et al. 2019, CTRL) looks at prompt and output, presence and frequency at the output
    only: logit - count * frequency_penalty - (count > 0) * presence_penalty (OpenAI's API reference). Then
    bias is added, then bans apply. Ids outside the vocabulary are ignored.

    Everything is computed again from the lists at each step, so there is no state to go wrong when a row
    moves, is preempted or is rolled back. It costs only rows with penalties, about 50 ns a token, most of
    it turning the list into an array: 0.1 ms for 2,000 tokens of output. A prompt shared by choices of one
    request is turned once.

    A token that the host has not read takes part, too: what its logit would get is computed for every token
    it may turn out to be, and the step's own graph picks one.

    Args:
        unread: (N,) the token before the one to sample, for rows with `num_unread`.
    """
    if not any(needs_edits(row) for row in rows):
        return None
    prompts: dict[int, _Ids] = {}
    changes = [_row_changes(row, vocab_size, prompts) for row in rows]
    width = _SMALLEST_WIDTH
    while width < max(len(change.ids) for change in changes):
        width *= 2  # few different widths, so that graphs and kernels repeat
    token_ids = _padded([change.ids for change in changes], width, np.uint32, 0)
    now = Edits(
        mx.array(token_ids),
        mx.array(_padded([change.factor for change in changes], width, np.float32, 1)),
        mx.array(_padded([change.addend for change in changes], width, np.float32, 0)),
    )
    counted = [i for i, row in enumerate(rows) if row.num_unread and _penalised(row.params)]
    if not counted or unread is None:
        return now
    return _with_unread(now, unread, _after_one_more(rows, changes, counted, width))


@dataclass(frozen=True, slots=True)
class _Changes:
    """The edited logits of one row, each id once; `bias` and `counts` are what `addend` is made of."""

    ids: _Ids
    factor: _Floats
    addend: _Floats
    counts: _Ids
    bias: _Floats


@dataclass(frozen=True, slots=True)
class _OneMore:
    """What a token's edit becomes once it occurs in the output once more than the host knows.

    Attributes:
        sizes: (N, 1) real entries of each row.
        factor, addend: (N, K) for tokens that have an edit already.
        other_factor, other_addend: (N, 1) for all others.
    """

    sizes: mx.array
    factor: mx.array
    addend: mx.array
    other_factor: mx.array
    other_addend: mx.array


def _after_one_more(
    rows: Sequence[RowSampling], changes: Sequence[_Changes], counted: Sequence[int], width: int
) -> _OneMore:
    factors, addends = [change.factor for change in changes], [change.addend for change in changes]
    others = np.zeros((2, len(rows), 1), np.float32)
    others[0] = 1
    for i in counted:
        params, change = rows[i].params, changes[i]
        repetition, presence, frequency = _strengths(params)
        factors[i] = np.full(len(change.ids), repetition)
        addends[i] = change.bias - ((change.counts + 1) * frequency + presence)
        others[:, i, 0] = repetition, -(frequency + presence)
    return _OneMore(
        mx.array([[len(change.ids)] for change in changes]),
        mx.array(_padded(factors, width, np.float32, 1)),
        mx.array(_padded(addends, width, np.float32, 0)),
        mx.array(others[0]),
        mx.array(others[1]),
    )


def _with_unread(now: Edits, unread: mx.array, then: _OneMore) -> Edits:
    """The edits with one token more in each row, as a column more."""
    token = unread.astype(mx.uint32)[:, None]
    real = mx.arange(now.token_ids.shape[1])[None] < then.sizes
    same = (now.token_ids == token) & real
    factor = mx.where(same, then.factor, now.factor)
    addend = mx.where(same, then.addend, now.addend)
    known = mx.any(same, axis=1, keepdims=True)
    # Where the token has its edit already, the new column repeats the row's first entry, as padding does.
    new = Edits(
        mx.where(known, now.token_ids[:, :1], token),
        mx.where(known, factor[:, :1], then.other_factor),
        mx.where(known, addend[:, :1], then.other_addend),
    )
    return Edits(
        mx.concatenate([mx.where(real, now.token_ids, new.token_ids), new.token_ids], axis=1),
        mx.concatenate([mx.where(real, factor, new.factor), new.factor], axis=1),
        mx.concatenate([mx.where(real, addend, new.addend), new.addend], axis=1),
    )


def _padded(
    parts: Sequence[npt.NDArray[Any]], width: int, dtype: npt.DTypeLike, empty: int
) -> npt.NDArray[Any]:
    """Rows of one width: the rest of a row repeats its first entry, or is `empty`."""
    padded = np.full((len(parts), width), empty, dtype=dtype)
    for i, entries in enumerate(parts):
        if len(entries):
            padded[i] = entries[0]
            padded[i, : len(entries)] = entries
    return padded


def _strengths(params: SamplingParams) -> tuple[float, float, float]:
    """Repetition, presence and frequency penalty."""
    repetition = params.repetition_penalty if params.repetition_penalty is not None else 1.0
    return repetition, params.presence_penalty or 0.0, params.frequency_penalty or 0.0


def _penalised(params: SamplingParams) -> bool:
    return bool(
        params.repetition_penalty not in (None, 1.0) or params.presence_penalty or params.frequency_penalty
    )


def _row_changes(row: RowSampling, vocab_size: int, prompts: dict[int, _Ids]) -> _Changes:
    params = row.params
    given = params.logit_bias or {}
    repetition, presence, frequency = _strengths(params)
    none = np.zeros(0, dtype=np.int64)
    output, output_counts, prompt = none, none, none
    if _penalised(params):
        output, output_counts = np.unique(_valid(row.output_ids, vocab_size), return_counts=True)
    if repetition != 1.0:
        # Keyed by identity within this call only, during which `rows` keeps the list alive.
        known = prompts.get(id(row.prompt_ids))
        prompt = _valid(row.prompt_ids, vocab_size) if known is None else known
        if known is None:
            prompt = prompts[id(row.prompt_ids)] = np.unique(prompt)
    biased = np.fromiter(given.keys(), dtype=np.int64, count=len(given))
    addends_of_bias = np.fromiter(given.values(), dtype=np.float64, count=len(given))
    inside = (biased >= 0) & (biased < vocab_size)
    biased, addends_of_bias = biased[inside], addends_of_bias[inside]
    banned = _valid(row.banned_ids, vocab_size)
    ids = np.unique(np.concatenate([output, prompt, biased, banned]))
    factor = np.ones(len(ids))
    counts = np.zeros(len(ids), dtype=np.int64)
    bias = np.zeros(len(ids))
    at_output = np.searchsorted(ids, output)
    counts[at_output] = output_counts
    factor[at_output] = repetition
    factor[np.searchsorted(ids, prompt)] = repetition
    bias[np.searchsorted(ids, biased)] = addends_of_bias
    bias[np.searchsorted(ids, banned)] = -np.inf
    addend = bias - (counts * frequency + (counts > 0) * presence)
    return _Changes(ids, factor, addend, counts, bias)


def _valid(ids: Sequence[int], vocab_size: int) -> _Ids:
    array = np.asarray(ids, dtype=np.int64)
    return array[(array >= 0) & (array < vocab_size)]
