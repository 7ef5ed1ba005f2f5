"""One lazy graph that samples every row of a step, and the host values read from it.

Order of operations, for each row by itself:

1. log-probabilities, where asked for, are log_softmax of the model's raw logits (vLLM's default
   `logprobs_mode`, "raw_logprobs"): they do not change with sampling settings;
2. penalties (`penalties.py`), then bias, then bans (`offsets.py`); vLLM adds the bias before the repetition
   penalty; tokens that a grammar rules out (`masks.py`) are out whatever their logit;
3. temperature below 1e-5: the largest logit wins. Otherwise the logits are divided by the temperature;
4. top-k, then top-p of what is left, then min-p (`filters.py`): Hugging Face's order of warpers. vLLM has
   the same, but takes min-p first (v1/sample/sampler.py); the results differ only in the mass that top-p is
   a share of;
5. a draw by Gumbel-max, with noise from (seed, choice, position, token) (`seeds.py`).

Rows of one kind are computed together, but every operation is row by row, so what a row gets does not
depend on the other rows of its batch, on their number or on its place among them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

import mlx.core as mx
import numpy as np

from vllm_mlx.core.sampling import NEUTRAL, SamplingParams
from vllm_mlx.core.steps import Logprob, RowFault, RowSampling, SampledToken
from vllm_mlx.sampling.filters import Draw, Filters, draw_filtered, draw_greedy, draw_unfiltered
from vllm_mlx.sampling.logprobs import NOT_NUMBERS, PendingLogprobs, logprobs
from vllm_mlx.sampling.masks import MaskTable, PlacedMask, RowMask
from vllm_mlx.sampling.offsets import Offsets, build_offsets
from vllm_mlx.sampling.penalties import Histories, Penalties, is_penalised
from vllm_mlx.sampling.seeds import row_keys

GREEDY_BELOW = 1e-5
"""Temperatures below this mean the likeliest token (vLLM's bound)."""

CANDIDATES = 1024
FEW_CANDIDATES = 64
"""How many of the likeliest tokens the filters look at before a full sort is tried: few where top-k is less
than that. The draw is the same whatever the number; too small a one is noticed and only costs time."""

_NOTHING_ALLOWED = "no token may be sampled: all are banned or ruled out by the model"

# On a CPU a row's temporaries should stay in its cache: beyond it, fresh pages make everything five times
# slower. On a GPU the bound only keeps a large batch's temporaries from filling the memory.
_TILE_ELEMENTS = {mx.DeviceType.cpu: 1 << 18, mx.DeviceType.gpu: 1 << 25}


class _Kind(Enum):
    GREEDY = auto()
    UNFILTERED = auto()
    FILTERED = auto()
    TOP_P_ALONE = auto()  # without top-k: it is a share of the whole row's mass, which costs another pass


@dataclass(frozen=True, slots=True)
class _Tile:
    """Rows that are computed together.

    Attributes:
        candidates: how many tokens the filters look at; 0 without filters.
        index: selects the rows from arrays of all rows.
        penalised: selects the rows from arrays of all penalised rows; None if they are not penalised.
    """

    kind: _Kind
    candidates: int
    rows: tuple[int, ...]
    index: slice | mx.array
    penalised: slice | mx.array | None
    filters: Filters


@dataclass(frozen=True, slots=True)
class Prepared:
    """A step's settings as arrays; the tiles are kept while the same settings come in the same order."""

    rows: tuple[RowSampling, ...]
    tiles: tuple[_Tile, ...]
    keys: mx.array | None
    penalties: Penalties | None
    offsets: Offsets | None

    def in_full(self, indices: Sequence[int], vocab_size: int) -> Prepared:
        """Some of the rows, with all that belongs to them, to be drawn from a full sort."""
        rows = tuple(self.rows[i] for i in indices)
        index = mx.array(list(indices))
        places = _penalised_places([row.params for row in self.rows])
        penalised = [places[i] for i in indices if i in places]
        return Prepared(
            rows,
            _tiles(tuple(row.params for row in rows), vocab_size, full_sort=True),
            None if self.keys is None else self.keys[index],
            self.penalties.rows(mx.array(penalised)) if self.penalties and penalised else None,
            None if self.offsets is None else self.offsets.rows(index),
        )


class PendingSample:
    """Tokens on their way: lazy device arrays until `read`.

    Attributes:
        token_ids: (N,) uint32 on the device. Final at once unless `may_redraw`.
        may_redraw: `read` may find that a row's filters keep more than the candidates that were looked at
            and draw it again from a full sort; its token on the device is then not the one returned.
        redrawn: after `read`, the rows of which that is so.

    Args:
        mask: what rows may sample; None for anything.
        on_failure: called when it cannot be computed, before that is raised.
    """

    def __init__(
        self,
        logits: mx.array,
        prepared: Prepared,
        mask: PlacedMask | None = None,
        on_failure: Callable[[], None] = lambda: None,
    ) -> None:
        self._logits = logits
        self._prepared = prepared
        self._mask = mask
        self._on_failure = on_failure
        self._arrays = _graph(logits, prepared, mask)
        self.token_ids = self._arrays.token_ids
        self.may_redraw = self._arrays.may_redraw
        self.redrawn: tuple[int, ...] = ()
        self._host: np.ndarray[Any, Any] | None = None

    def submit(self) -> None:
        """Start computing without waiting."""
        with self._telling_of_failure():
            mx.async_eval(self._arrays.wanted)  # type: ignore[no-untyped-call]

    def peek(self) -> list[int | None]:
        """Wait for the tokens, once submitted; None for rows that are at fault, or may be drawn again.

        Any thread may, while no other reads them: it only copies what the device has written.
        """
        entries: list[SampledToken | RowFault] = [SampledToken(token) for token in self._token_ids()]
        again = set(self._check(entries))
        return [
            entry.token_id if isinstance(entry, SampledToken) and i not in again else None
            for i, entry in enumerate(entries)
        ]

    def read(self) -> list[SampledToken | RowFault]:
        """Wait for the step; for each row in order its token, or what is wrong with it."""
        with self._telling_of_failure():
            mx.eval(self._arrays.wanted)
        token_ids = self._token_ids()
        entries = self._read_logprobs(token_ids)
        result: list[SampledToken | RowFault] = [
            SampledToken(token, entries.get(i)) for i, token in enumerate(token_ids)
        ]
        again = self._check(result)
        if again:
            self._redraw(again, token_ids, result)
        return result

    @contextmanager
    def _telling_of_failure(self) -> Iterator[None]:
        try:
            yield
        except Exception:
            self._on_failure()
            raise

    def _words(self) -> np.ndarray[Any, Any]:
        if self._host is None:
            self._host = np.array(self._arrays.host)
        return self._host

    def _token_ids(self) -> list[int]:
        token_ids: list[int] = self._words()[: self.token_ids.shape[0]].tolist()
        return token_ids

    def _check(self, result: list[SampledToken | RowFault]) -> list[int]:
        """Put faults in the place of tokens that are none; the rows that must be drawn again."""
        again: list[int] = []
        words, start = self._words(), len(result)
        for check in self._arrays.checks:
            again += check.apply(words[start : start + check.size], result)
            start += check.size
        return again

    def _read_logprobs(self, token_ids: Sequence[int]) -> dict[int, Logprob]:
        arrays = self._arrays
        if arrays.logprobs is None:
            return {}
        wanted = [self._prepared.rows[i].params.logprobs or 0 for i in arrays.logprob_rows]
        entries = arrays.logprobs.read([token_ids[i] for i in arrays.logprob_rows], wanted)
        return dict(zip(arrays.logprob_rows, entries, strict=True))

    def _redraw(
        self, indices: Sequence[int], drawn: Sequence[int], result: list[SampledToken | RowFault]
    ) -> None:
        prepared = self._prepared.in_full(indices, self._logits.shape[1])
        mask = None if self._mask is None else self._mask.rows(indices)
        pending = PendingSample(self._logits[_index(indices)], prepared, mask)
        for i, entry in zip(indices, pending.read(), strict=True):
            result[i] = entry
            if isinstance(entry, SampledToken) and entry.token_id != drawn[i]:
                self.redrawn += (i,)


class Sampler:
    """Samples the rows of a step.

    Between steps it holds the last step's settings as arrays, the masks that were used last
    (`masks.MaskTable`), and of the requests one thing: which tokens the texts of its penalised rows hold
    (`penalties.Histories`), so that a long text costs a step no more than a short one. That changes no token:
    what is not found there is made again from what the rows bring.

    Args:
        vocab_size: ids below it may be sampled; further columns of the logits (padding) are not looked at.
    """

    def __init__(self, vocab_size: int) -> None:
        if vocab_size < 1:
            raise ValueError("a vocabulary has at least one token")
        self._vocab_size = vocab_size
        self._settings: tuple[tuple[SamplingParams, ...], bool] | None = None
        self._tiles: tuple[_Tile, ...] = ()
        self._histories = Histories(vocab_size)
        self._masks = MaskTable()

    def sample(
        self, logits: mx.array, rows: Sequence[RowSampling], *, full_sort: bool = False
    ) -> list[SampledToken | RowFault]:
        """Sample and wait: `sample_lazy` and `read` in one."""
        return self.sample_lazy(logits, self.prepare(rows, full_sort=full_sort)).read()

    def sample_lazy(self, logits: mx.array, prepared: Prepared, mask: RowMask | None = None) -> PendingSample:
        """Build the graph that samples one token a row; nothing is computed yet.

        Args:
            logits: (N, V) as the model gave them, any float type; V at least the vocabulary's size.
            prepared: what each of the N rows asks for.
            mask: which tokens rows may sample; None for any.
        """
        if logits.ndim != 2 or logits.shape[0] != len(prepared.rows) or logits.shape[1] < self._vocab_size:
            raise ValueError(f"logits of shape {logits.shape} do not fit {len(prepared.rows)} rows")
        logits = logits[:, : self._vocab_size] if logits.shape[1] > self._vocab_size else logits
        placed = None if mask is None else self._masks.place(mask)
        return PendingSample(logits, prepared, placed, self._masks.clear)

    def prepare(
        self,
        rows: Sequence[RowSampling],
        unread: mx.array | None = None,
        seq_ids: Sequence[int] | None = None,
        *,
        full_sort: bool = False,
    ) -> Prepared:
        """The host's share of a step: settings (kept while they stay the same), new keys and edits.

        It reads the lists of the rows; nothing later does.

        Args:
            rows: what each of the N rows asks for.
            unread: (N,) where some row has `num_unread`: its token before the one to sample.
            seq_ids: whose rows they are, N ids that are never used again; None: each row stands for itself.
            full_sort: sort whole rows for the filters instead of looking at the likeliest candidates first.
                The tokens are the same.
        """
        settings = (tuple(row.params for row in rows), full_sort)
        if settings != self._settings:
            self._tiles = _tiles(settings[0], self._vocab_size, full_sort)
            self._settings = settings
        drawn = any(tile.kind is not _Kind.GREEDY for tile in self._tiles)
        keys = mx.array(row_keys(rows)) if drawn else None
        penalties = self._penalties(rows, unread, seq_ids)
        return Prepared(tuple(rows), self._tiles, keys, penalties, build_offsets(rows, self._vocab_size))

    def forget(self, seq_ids: Sequence[int]) -> None:
        """These sequences are over, or will come back from their lists: drop what is kept for them."""
        self._histories.forget(seq_ids)

    def _penalties(
        self, rows: Sequence[RowSampling], unread: mx.array | None, seq_ids: Sequence[int] | None
    ) -> Penalties | None:
        penalised = [i for i, row in enumerate(rows) if is_penalised(row.params)]
        if unread is not None and len(penalised) < len(rows):
            unread = unread[mx.array(penalised)] if penalised else None
        return self._histories.advance(
            [rows[i] for i in penalised],
            None if seq_ids is None else [seq_ids[i] for i in penalised],
            unread,
        )


@dataclass(frozen=True, slots=True)
class _Check:
    """What tells whether the tokens of a tile can be used.

    Attributes:
        total: (R,) sums of the raw logits: the one pass on which every backend agrees that a NaN or +inf
            anywhere shows, while -inf (a token that the model rules out) does no harm.
        best: (R,) largest edited logits.
        exact: (R,) whether the filters saw enough candidates; None if that cannot be in doubt.
    """

    rows: tuple[int, ...]
    total: mx.array
    best: mx.array
    exact: mx.array | None

    def words(self) -> list[mx.array]:
        """All of it as uint32."""
        words = [self.total.view(mx.uint32), self.best.view(mx.uint32)]
        return words if self.exact is None else [*words, self.exact.astype(mx.uint32)]

    @property
    def size(self) -> int:
        """How many words that is."""
        return len(self.rows) * (2 if self.exact is None else 3)

    def apply(self, words: np.ndarray[Any, Any], result: list[SampledToken | RowFault]) -> list[int]:
        """Put faults in the place of tokens that are none; returns the rows to be drawn again."""
        total, best, *exact = words.reshape(-1, len(self.rows))
        total, best = total.view(np.float32), best.view(np.float32)
        broken = np.isnan(total) | (total == np.inf)
        impossible = ~broken & (best == -np.inf)
        for place in np.flatnonzero(broken):
            result[self.rows[place]] = RowFault(NOT_NUMBERS)
        for place in np.flatnonzero(impossible):
            result[self.rows[place]] = RowFault(_NOTHING_ALLOWED)
        again = np.flatnonzero(~(broken | impossible) & (exact[0] == 0)) if exact else ()
        return [self.rows[place] for place in again]


@dataclass(frozen=True, slots=True)
class _StepArrays:
    """What a step computes.

    Attributes:
        token_ids: (N,) uint32.
        host: these, then the words of each check: one array, because reading one costs a copy and a wait.
    """

    token_ids: mx.array
    host: mx.array
    checks: tuple[_Check, ...]
    logprobs: PendingLogprobs | None
    logprob_rows: tuple[int, ...]

    @property
    def may_redraw(self) -> bool:
        return any(check.exact is not None for check in self.checks)

    @property
    def wanted(self) -> list[mx.array]:
        """What must be evaluated."""
        return [self.token_ids, self.host, *(self.logprobs.arrays() if self.logprobs else [])]


def _graph(logits: mx.array, prepared: Prepared, mask: PlacedMask | None) -> _StepArrays:
    tokens: list[mx.array] = []
    checks: list[_Check] = []
    for tile in prepared.tiles:
        raw = logits[tile.index].astype(mx.float32)
        draw = _draw(raw, tile, prepared, mask)
        tokens.append(draw.token_ids)
        checks.append(_Check(tile.rows, mx.sum(raw, axis=1), draw.best, draw.exact))
    token_ids = _in_row_order(tokens, [i for tile in prepared.tiles for i in tile.rows])
    asking = tuple(i for i, row in enumerate(prepared.rows) if row.params.logprobs is not None)
    pending = None
    if asking:
        count = max(prepared.rows[i].params.logprobs or 0 for i in asking)
        index = _index(asking)
        pending = logprobs(logits[index].astype(mx.float32), token_ids[index], count)
    host = mx.concatenate([token_ids, *(word for check in checks for word in check.words())])
    return _StepArrays(token_ids, host, tuple(checks), pending, asking)


def _draw(raw: mx.array, tile: _Tile, prepared: Prepared, mask: PlacedMask | None) -> Draw:
    logits = raw
    if prepared.penalties is not None and tile.penalised is not None:
        logits = prepared.penalties.rows(tile.penalised).apply(logits)
    if prepared.offsets is not None:
        logits = prepared.offsets.rows(tile.index).apply(logits)
    if mask is not None:
        logits = mask.rule_out(logits, tile.rows)
    if tile.kind is _Kind.GREEDY or prepared.keys is None:
        return draw_greedy(logits)
    keys = prepared.keys[tile.index]
    if tile.kind is _Kind.UNFILTERED:
        return draw_unfiltered(logits, tile.filters.temperature, keys)
    return draw_filtered(
        logits,
        tile.filters,
        keys,
        candidates=tile.candidates,
        unbounded_mass=tile.kind is _Kind.TOP_P_ALONE,
    )


def _in_row_order(parts: list[mx.array], order: list[int]) -> mx.array:
    if not parts:
        return mx.zeros((0,), dtype=mx.uint32)
    joined = parts[0] if len(parts) == 1 else mx.concatenate(parts)
    if order == sorted(order):
        return joined
    inverse = [0] * len(order)
    for place, row in enumerate(order):
        inverse[row] = place
    return joined[mx.array(inverse)]


def _tiles(settings: tuple[SamplingParams, ...], vocab_size: int, full_sort: bool) -> tuple[_Tile, ...]:
    """Rows with the same way through the graph, cut into tiles of bounded size."""
    resolved = [params.resolve(NEUTRAL) for params in settings]
    places = _penalised_places(settings)
    alike: dict[tuple[_Kind, int, bool], list[int]] = {}
    for i, params in enumerate(resolved):
        kind = _kind(params, vocab_size)
        candidates = vocab_size if full_sort else _candidates(params, vocab_size)
        filtered = kind in (_Kind.FILTERED, _Kind.TOP_P_ALONE)
        alike.setdefault((kind, candidates if filtered else 0, i in places), []).append(i)
    most = max(1, _TILE_ELEMENTS[mx.default_device().type] // vocab_size)
    tiles = []
    for (kind, candidates, penalised), members in alike.items():
        for start in range(0, len(members), most):
            rows = members[start : start + most]
            filters = _filters([resolved[i] for i in rows], vocab_size)
            here = _index([places[i] for i in rows]) if penalised else None
            tiles.append(_Tile(kind, candidates, tuple(rows), _index(rows), here, filters))
    return tuple(tiles)


def _penalised_places(settings: Sequence[SamplingParams]) -> dict[int, int]:
    """Of each penalised row, by its place among all rows: its place among the penalised ones."""
    penalised = [i for i, params in enumerate(settings) if is_penalised(params)]
    return {row: place for place, row in enumerate(penalised)}


def _index(rows: Sequence[int]) -> slice | mx.array:
    """What selects these rows: a slice where they are neighbours, because a view costs nothing."""
    if list(rows) == list(range(rows[0], rows[0] + len(rows))):
        return slice(rows[0], rows[0] + len(rows))
    return mx.array(list(rows))


def _kind(params: SamplingParams, vocab_size: int) -> _Kind:
    if (params.temperature or 0.0) < GREEDY_BELOW:
        return _Kind.GREEDY
    if _top_k(params, vocab_size) < vocab_size:
        return _Kind.FILTERED
    if _top_p(params) < 1.0:
        return _Kind.TOP_P_ALONE
    return _Kind.FILTERED if params.min_p else _Kind.UNFILTERED


def _candidates(params: SamplingParams, vocab_size: int) -> int:
    """More than top-k: the last candidate must be one that top-k drops, to prove that it drops the rest."""
    top_k = _top_k(params, vocab_size)
    if top_k < FEW_CANDIDATES:
        return min(FEW_CANDIDATES, vocab_size)
    return vocab_size if CANDIDATES <= top_k < vocab_size else min(CANDIDATES, vocab_size)


def _filters(resolved: Sequence[SamplingParams], vocab_size: int) -> Filters:
    def column(values: list[float] | list[int], dtype: mx.Dtype = mx.float32) -> mx.array:
        return mx.array(values, dtype=dtype)[:, None]

    tops = [_top_p(params) for params in resolved]
    return Filters(
        temperature=column([params.temperature or 0.0 for params in resolved]),
        top_k=column([_top_k(params, vocab_size) for params in resolved], mx.int32),
        top_p=column([top_p if top_p < 1.0 else float("inf") for top_p in tops]),
        min_p=column([params.min_p or 0.0 for params in resolved]),
    )


def _top_k(params: SamplingParams, vocab_size: int) -> int:
    top_k = params.top_k or 0
    return top_k if 0 < top_k < vocab_size else vocab_size


def _top_p(params: SamplingParams) -> float:
    return params.top_p if params.top_p is not None else 1.0
