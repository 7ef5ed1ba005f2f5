"""Repetition, presence and frequency penalties, and the tokens that they count: kept on the device."""

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
_Key = tuple[int, int]
_SMALLEST_WIDTH = 16
_NO_ENTRY = -1
_NO_TOKEN = 0xFFFFFFFF


def is_penalised(params: SamplingParams) -> bool:
    """Whether the text so far changes any logit."""
    return bool(
        params.repetition_penalty not in (None, 1.0) or params.presence_penalty or params.frequency_penalty
    )


@dataclass(frozen=True, slots=True)
class Occurrences:
    """The different tokens of P texts, as (P, K) arrays; the first column of a row is filled first.

    Attributes:
        token_ids: uint32.
        counts: int32, how often the token occurs in the output: 0 if only in the prompt, -1 for no entry.
    """

    token_ids: mx.array
    counts: mx.array

    @property
    def width(self) -> int:
        """K."""
        return int(self.counts.shape[1])

    def rows(self, index: slice | mx.array) -> Occurrences:
        """Those of some texts only."""
        return Occurrences(self.token_ids[index], self.counts[index])

    def fitted(self, width: int) -> Occurrences:
        """With another number of columns; those that are cut off must be without entries."""
        if width <= self.width:
            return Occurrences(self.token_ids[:, :width], self.counts[:, :width])
        more = [(0, 0), (0, width - self.width)]
        return Occurrences(
            mx.pad(self.token_ids, more), mx.pad(self.counts, more, constant_values=mx.array(_NO_ENTRY))
        )

    def followed_by(self, other: Occurrences) -> Occurrences:
        """These texts and then others, of as many columns."""
        return Occurrences(
            mx.concatenate([self.token_ids, other.token_ids]), mx.concatenate([self.counts, other.counts])
        )

    def with_output(self, tokens: mx.array, columns: mx.array) -> Occurrences:
        """With one token more in the output of each text.

        Args:
            tokens: (P, 1) uint32; `_NO_TOKEN` for none.
            columns: (P, 1) int32, without an entry so far: where the token goes if it is new to its text.
        """
        same = (self.token_ids == tokens) & (self.counts >= 0)
        new = (tokens != _NO_TOKEN) & ~mx.any(same, axis=1, keepdims=True)
        here = mx.arange(self.width, dtype=mx.int32)[None] == columns
        return Occurrences(
            mx.where(here, mx.where(new, tokens, mx.array(0, mx.uint32)), self.token_ids),
            mx.where(here, mx.where(new, 1, _NO_ENTRY), self.counts + same).astype(mx.int32),
        )


@dataclass(frozen=True, slots=True)
class Penalties:
    """What the texts of P rows do to their logits.

    Attributes:
        strengths: (P, 3) float32, repetition, presence and frequency penalty.
    """

    occurrences: Occurrences
    strengths: mx.array

    def rows(self, index: slice | mx.array) -> Penalties:
        """The penalties of some rows only."""
        return Penalties(self.occurrences.rows(index), self.strengths[index])

    def apply(self, logits: mx.array) -> mx.array:
        """The penalised logits, (P, V) float32 as before; the argument is left as it was.

        Repetition (Keskar et al. 2019, CTRL) looks at prompt and output, presence and frequency at the output
        only: logit - count * frequency_penalty - (count > 0) * presence_penalty (OpenAI's API reference).
        """
        repetition, presence, frequency = (self.strengths[:, i : i + 1] for i in range(3))
        # A column without an entry repeats the first: writing the same value twice does no harm.
        token_ids, counts = self.occurrences.token_ids, self.occurrences.counts
        real = counts >= 0
        token_ids = mx.where(real, token_ids, token_ids[:, :1])
        counts = mx.where(real, counts, counts[:, :1])
        factor = mx.where(counts >= 0, repetition, 1.0)
        taken = mx.where(counts > 0, counts.astype(mx.float32) * frequency + presence, 0.0)
        old = mx.take_along_axis(logits, token_ids, axis=1)
        new = mx.where(old > 0, old / factor, old * factor) - taken
        return mx.put_along_axis(logits, token_ids, new, axis=1)


@dataclass(frozen=True, slots=True)
class _Held:
    """The texts of the last step's P rows.

    Attributes:
        keys: of each, whose it is and how many tokens of output are in it; None for one that is over.
        used: leading columns that may have an entry.
    """

    keys: list[_Key | None]
    used: list[int]
    params: list[SamplingParams]
    penalties: Penalties


class Histories:
    """Remembers which tokens the penalised rows of the last step hold, so that a step adds one to each.

    A text is known by its sequence's id, which is never used again, and by how much of the output has been
    counted. The row that wants the token after that finds it. Any other (it is new, was preempted or left
    out, is tried again, or rests on a token that was redrawn and so comes back with the same length) is
    counted again from its lists: about 50 ns a token.

    A token that the host has not read is counted by the step's own graph.

    A text takes a column for each different token of what was counted from lists and one for each token
    since; all rows have as many columns as the longest needs, eight bytes each.
    """

    def __init__(self, vocab_size: int) -> None:
        self._vocab_size = vocab_size
        self._held: _Held | None = None

    def advance(
        self, rows: Sequence[RowSampling], seq_ids: Sequence[int] | None, unread: mx.array | None
    ) -> Penalties | None:
        """The penalties of a step; None if no row has any.

        Args:
            rows: the P penalised rows of the step.
            seq_ids: P of them. None: nothing is known of these rows, and nothing is kept.
            unread: (P,) the token before the one to sample, for rows with `num_unread`.
        """
        held = self._held if seq_ids is not None else None
        if seq_ids is not None:
            self._held = None  # whatever fails from here on, nothing half done is found
        if not rows:
            return None
        lengths = [len(row.output_ids) + row.num_unread for row in rows]
        wanted: list[_Key | None] = [None] * len(rows)
        if seq_ids is not None:
            wanted = [(seq_id, length - 1) for seq_id, length in zip(seq_ids, lengths, strict=True)]
        known = {key for key in held.keys if key is not None} if held is not None else set()
        follows = [key in known for key in wanted]
        now = self._arranged(held, rows, wanted)
        now = self._with_newest(now, rows, follows, unread)
        if seq_ids is not None:
            keys: list[_Key | None] = list(zip(seq_ids, lengths, strict=True))
            self._held = _Held(keys, now.used, now.params, now.penalties)
        return now.penalties

    def forget(self, seq_ids: Sequence[int]) -> None:
        """These sequences are over, or will come back from their lists."""
        if self._held is None:
            return
        gone = set(seq_ids)
        held = self._held
        held.keys[:] = [None if key is None or key[0] in gone else key for key in held.keys]
        if not any(held.keys):
            self._held = None

    def _arranged(
        self, held: _Held | None, rows: Sequence[RowSampling], wanted: Sequence[_Key | None]
    ) -> _Held:
        """These rows in this order, without the token that follows, and with room for it."""
        params = [row.params for row in rows]
        if held is None or held.params != params:
            strengths = mx.array(np.array([_strengths(each) for each in params], np.float32))
        else:
            strengths = held.penalties.strengths
        if held is not None and held.keys == wanted:
            texts, used = held.penalties.occurrences, held.used
            if max(used) == texts.width:
                texts = texts.fitted(2 * texts.width)
        else:
            texts, used = self._gathered(held, rows, wanted)
        return _Held(list(wanted), used, params, Penalties(texts, strengths))

    def _gathered(
        self, held: _Held | None, rows: Sequence[RowSampling], wanted: Sequence[_Key | None]
    ) -> tuple[Occurrences, list[int]]:
        """Texts that are held, and the others from their lists, with their columns in use."""
        places = {key: place for place, key in enumerate(held.keys if held else ()) if key is not None}
        known = [None if key is None else places.get(key) for key in wanted]
        prompts: dict[int, _Ids] = {}
        new = [
            _count(row, self._vocab_size, prompts)
            for row, place in zip(rows, known, strict=True)
            if place is None
        ]
        sizes = iter([len(ids) for ids, _ in new])
        used = [next(sizes) if place is None or held is None else held.used[place] for place in known]
        width = _SMALLEST_WIDTH
        while width <= max(used):
            width *= 2  # few different widths, so that graphs and kernels repeat
        texts = None if len(new) == len(rows) or held is None else held.penalties.occurrences.fitted(width)
        if texts is None:
            return _uploaded(new, width), used
        num_held = texts.counts.shape[0]
        if new:
            texts = texts.followed_by(_uploaded(new, width))
        others = iter(range(num_held, num_held + len(new)))
        return texts.rows(mx.array([next(others) if place is None else place for place in known])), used

    def _with_newest(
        self, now: _Held, rows: Sequence[RowSampling], follows: Sequence[bool], unread: mx.array | None
    ) -> _Held:
        """With the token before the one to sample, where the lists did not bring it."""
        appends = [late or row.num_unread > 0 for row, late in zip(rows, follows, strict=True)]
        if not any(appends):
            return now
        takes = [row.num_unread > 0 for row in rows]
        read = [
            row.output_ids[-1] if late and not take else -1
            for row, late, take in zip(rows, follows, takes, strict=True)
        ]
        inside = [token if 0 <= token < self._vocab_size else _NO_TOKEN for token in read]
        tokens = mx.array(np.array(inside, np.uint32)[:, None])
        if any(takes):
            if unread is None:
                raise ValueError("a row rests on a token that was not handed over")
            tokens = mx.where(mx.array(np.array(takes)[:, None]), unread.astype(mx.uint32)[:, None], tokens)
        columns = mx.array(np.array(now.used, np.int32)[:, None])
        used = [size + more for size, more in zip(now.used, appends, strict=True)]
        texts = now.penalties.occurrences.with_output(tokens, columns)
        return _Held(now.keys, used, now.params, Penalties(texts, now.penalties.strengths))


def _strengths(params: SamplingParams) -> tuple[float, float, float]:
    """Repetition, presence and frequency penalty."""
    repetition = params.repetition_penalty if params.repetition_penalty is not None else 1.0
    return repetition, params.presence_penalty or 0.0, params.frequency_penalty or 0.0


def _count(row: RowSampling, vocab_size: int, prompts: dict[int, _Ids]) -> tuple[_Ids, _Ids]:
    """The different tokens of a row's lists and how often each is in the output.

    Args:
        prompts: those that choices of one request share, by identity; `rows` keeps the lists alive.
    """
    output, counts = np.unique(_valid(row.output_ids, vocab_size), return_counts=True)
    if _strengths(row.params)[0] == 1.0:
        return output, counts
    prompt = prompts.get(id(row.prompt_ids))
    if prompt is None:
        prompt = prompts[id(row.prompt_ids)] = np.unique(_valid(row.prompt_ids, vocab_size))
    ids = np.union1d(prompt, output)
    all_counts = np.zeros(len(ids), np.int64)
    all_counts[np.searchsorted(ids, output)] = counts
    return ids, all_counts


def _uploaded(texts: Sequence[tuple[_Ids, _Ids]], width: int) -> Occurrences:
    token_ids = np.zeros((len(texts), width), np.uint32)
    counts = np.full((len(texts), width), _NO_ENTRY, np.int32)
    for i, (ids, occurrences) in enumerate(texts):
        token_ids[i, : len(ids)] = ids
        counts[i, : len(ids)] = occurrences
    return Occurrences(mx.array(token_ids), mx.array(counts))


def _valid(ids: Sequence[int], vocab_size: int) -> npt.NDArray[Any]:
    array = np.asarray(ids, dtype=np.int64)
    return array[(array >= 0) & (array < vocab_size)]
