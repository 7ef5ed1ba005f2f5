"""What the rows of a step are allowed to sample, as bits; no library that knows grammars."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

import numpy as np
import numpy.typing as npt
from xxhash import xxh3_128_digest

from vllm_mlx.core.errors import AppError, InvalidGrammar
from vllm_mlx.core.steps import TokenMask
from vllm_mlx.structured.gate import Allowed, Gate

if TYPE_CHECKING:
    from vllm_mlx.structured.filling import MaskFiller
    from vllm_mlx.structured.llguidance import GrammarMatcher

Words = npt.NDArray[np.uint32]

Tokens = Callable[[], Mapping[int, int]]
"""Waits for a step, and says the tokens of those sequences for which they are certain. Any thread may."""

MASK_THREADS: Final = max(1, min(8, (os.cpu_count() or 2) // 2))
"""How many find masks. What the processor counts as two cores is often one, and whoever submits steps needs
one of those alone."""

_SEED: Final = secrets.randbits(64)
_ALL: Final = np.uint32(0xFFFFFFFF)
_NOTHING = "the grammar allows no token of the model's vocabulary"


class Filled(NamedTuple):
    """The masks of R matchers.

    Attributes:
        words: (R, W), without the library's own bit for the end of a text. No one changes them.
        digests: R; masks are the same where these are.
        empty: R; whether a mask allows nothing.
        ends: R; whether the text may end there; None where it is not known.
        failed: rows that have no mask, and why.
        step: all that a step of just these rows must be told; None where that is not known.
    """

    words: Words
    digests: list[bytes]
    empty: list[bool]
    ends: list[bool | None]
    failed: Mapping[int, AppError] = MappingProxyType({})
    step: TokenMask | None = None

    @classmethod
    def of(cls, words: Words, vocab_size: int) -> Filled:
        """All that must be known of masks, so that whoever submits steps need not look into their 19 kB each.

        Args:
            words: (R, W) as the library wrote them; they lose its own bit.
        """
        last, bit = words[:, vocab_size // 32], np.uint32(1 << vocab_size % 32)
        marked = (last & bit != 0).tolist()
        last &= ~bit
        # Half a microsecond a mask; a cryptographic one takes 11 and asks for Python's lock anew after each.
        # No one outside sees a digest or the seed, so no one can make two masks that have the same.
        digests = [xxh3_128_digest(row, _SEED) for row in words]
        nothing = _digest_of_nothing(words.shape[1])
        empty = [digest == nothing for digest in digests]
        # A matcher that stopped for any reason has the library's bit alone.
        ends = [None if none else ended for none, ended in zip(empty, marked, strict=True)]
        return cls(words, digests, empty, ends)

    def of_step(self, seq_ids: Sequence[int], also: Sequence[tuple[int, ...]]) -> Filled:
        """The same, with the mask of a step; R sequences, and R times ids that are allowed as well."""
        if self.failed or any(empty and not ids for empty, ids in zip(self.empty, also, strict=True)):
            return self
        words, names = self.words, list[Hashable](self.digests)
        if any(also):
            words = words.copy()
            for row, ids in enumerate(also):
                if ids:
                    _set(words[row], ids)
                    names[row] = (names[row], ids, ())
        return self._replace(step=TokenMask(tuple(seq_ids), memoryview(cast(Any, words)), tuple(names)))


class Masks:
    """Makes the masks of steps, for one vocabulary."""

    def __init__(self, vocab_size: int) -> None:
        self._vocab_size = vocab_size
        self._filler: MaskFiller | None = None

    def fill(self, gates: Mapping[int, Gate]) -> tuple[TokenMask | None, dict[int, AppError]]:
        """The mask of these sequences, and by id those that can say nothing, with the reason.

        What grammars allow is found out for all of them at once, on other threads, where it is not known.
        No mask: all may say anything.
        """
        step = _foreseen_step(gates)
        if step is not None:
            return step, {}
        asked = [(seq_id, rule) for seq_id, gate in gates.items() if (rule := gate.allowed()) is not None]
        if not asked:
            return None, {}
        seq_ids, rules = zip(*asked, strict=True)
        filled = self._by_grammar(rules)
        failed = {seq_ids[row]: why for row, why in filled.failed.items()}
        names: list[Hashable] = list(filled.digests)
        for i, rule in enumerate(rules):
            if rule.only is not None:
                filled.words[i] = 0
                _set(filled.words[i], (rule.only,))
                names[i] = rule.only
                continue
            if rule.also or rule.never:
                _set(filled.words[i], rule.also)
                _clear(filled.words[i], rule.never)
                names[i] = (names[i], rule.also, rule.never)
            if (filled.empty[i] or rule.never) and not (rule.also or filled.words[i].any()):
                failed.setdefault(seq_ids[i], InvalidGrammar(_NOTHING))
        return TokenMask(seq_ids, memoryview(cast(Any, filled.words)), tuple(names)), failed

    @contextmanager
    def looking_ahead(self, gates: Mapping[int, Gate], tokens: Tokens) -> Iterator[Callable[[], None]]:
        """What begins, on other threads, to find out what may follow the tokens that sequences take next.

        From then on until the end nobody may use the gates. Afterwards they stand where they stood.
        """

        def begin() -> None:
            if any(gate.next_taker is not None for gate in gates.values()):
                self._threads().look_ahead(gates, tokens)

        try:
            yield begin
        finally:
            if self._filler is not None:
                self._filler.settle()

    def close(self) -> None:
        """End the threads."""
        if self._filler is not None:
            self._filler.close()

    def _by_grammar(self, rules: Sequence[Allowed]) -> Filled:
        """What the matchers of rules allow, to be changed; all ones, of no digest, where there is none."""
        matchers = [cast("GrammarMatcher | None", rule.matcher) for rule in rules]
        known = [None if matcher is None else matcher.reached for matcher in matchers]
        places = {i: (each.filled, each.row) for i, each in enumerate(known) if each is not None}
        missing = {i: each for i, each in enumerate(matchers) if each is not None and i not in places}
        if missing:
            found = self._threads().fill(list(missing.values()))
            places.update((i, (found, row)) for row, i in enumerate(missing))
        words = np.full((len(rules), self._vocab_size // 32 + 1), _ALL)
        digests, empty = [b""] * len(rules), [False] * len(rules)
        failed = dict[int, AppError]()
        for i, (filled, row) in places.items():
            words[i], digests[i], empty[i] = filled.words[row], filled.digests[row], filled.empty[row]
            if row in filled.failed:
                failed[i] = filled.failed[row]
        return Filled(words, digests, empty, [None] * len(rules), failed)  # the gates know already

    def _threads(self) -> MaskFiller:
        if self._filler is None:
            # The library is there already: a matcher is the library's.
            self._filler = import_module("vllm_mlx.structured.filling").MaskFiller(self._vocab_size)
        return cast("MaskFiller", self._filler)


@cache
def _digest_of_nothing(width: int) -> bytes:
    digest: bytes = xxh3_128_digest(bytes(4 * width), _SEED)
    return digest


def _foreseen_step(gates: Mapping[int, Gate]) -> TokenMask | None:
    """The mask that was made ahead for just these, if each took the token that it was made for."""
    filled: Filled | None = None
    for row, gate in enumerate(gates.values()):
        taker = cast("GrammarMatcher | None", gate.next_taker)
        place = taker.reached if taker is not None else None
        if place is None or place.row != row or (filled is not None and place.filled is not filled):
            return None
        filled = place.filled
    step = filled.step if filled is not None else None
    return step if step is not None and step.seq_ids == tuple(gates) else None


def _set(row: Words, ids: Sequence[int]) -> None:
    for token_id in ids:
        row[token_id >> 5] |= np.uint32(1 << (token_id & 31))


def _clear(row: Words, ids: Sequence[int]) -> None:
    for token_id in ids:
        row[token_id >> 5] &= ~np.uint32(1 << (token_id & 31))
