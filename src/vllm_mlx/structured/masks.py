"""What the rows of a step are allowed to sample, as bits; numpy alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, cast

import numpy as np
import numpy.typing as npt

from vllm_mlx.core.errors import AppError, InvalidGrammar
from vllm_mlx.core.steps import TokenMask
from vllm_mlx.structured.gate import Allowed, Gate

if TYPE_CHECKING:
    from vllm_mlx.structured.filling import MaskFiller
    from vllm_mlx.structured.llguidance import Foreseen, GrammarMatcher

Words = npt.NDArray[np.uint32]

Tokens = Callable[[], Mapping[int, int]]
"""Waits for a step, and says the tokens of those sequences for which they are certain. Any thread may."""

_ALL: Final = np.uint32(0xFFFFFFFF)
_NOTHING = "the grammar allows no token of the model's vocabulary"


class Masks:
    """Makes the masks of steps, for one vocabulary."""

    def __init__(self, vocab_size: int) -> None:
        self._vocab_size = vocab_size
        # The library writes one bit more, for the end of a text.
        self._width = -(-(vocab_size + 1) // 32)
        self._filler: MaskFiller | None = None

    def fill(self, gates: Mapping[int, Gate]) -> tuple[TokenMask | None, dict[int, AppError]]:
        """The mask of these sequences, and by id those that can say nothing, with the reason.

        What grammars allow is found out for all of them at once, on other threads, where it is not known.
        No mask: all may say anything.
        """
        allowed = {seq_id: gate.allowed() for seq_id, gate in gates.items()}
        asked = {seq_id: rule for seq_id, rule in allowed.items() if rule is not None}
        if not asked:
            return None, {}
        seq_ids, rules = tuple(asked), tuple(asked.values())
        words, failures = self._by_grammar(rules)
        failed = {seq_ids[row]: why for row, why in failures.items()}
        end, bit = divmod(self._vocab_size, 32)
        words[:, end] &= ~np.uint32(1 << bit)
        for i, rule in enumerate(rules):
            if rule.only is not None:
                words[i] = 0
                _set(words[i], (rule.only,))
                continue
            if rule.also:
                _set(words[i], rule.also)
            if rule.never:
                _clear(words[i], rule.never)
        for i in np.flatnonzero(words.max(axis=1) == 0).tolist():
            failed.setdefault(seq_ids[i], InvalidGrammar(_NOTHING))
        return TokenMask(seq_ids, memoryview(cast(Any, words))), failed

    @contextmanager
    def looking_ahead(self, gates: Mapping[int, Gate], tokens: Tokens) -> Iterator[None]:
        """Meanwhile find out, on other threads, what may follow the tokens that sequences are to take next.

        Nobody may use the gates meanwhile. Afterwards they stand where they stood.
        """
        takers = {seq_id: gate.next_taker for seq_id, gate in gates.items()}
        awaited = {
            seq_id: (cast("GrammarMatcher", matcher), gates[seq_id].end_ids)
            for seq_id, matcher in takers.items()
            if matcher is not None
        }
        if not awaited:
            yield
            return
        filler = self._threads()
        filler.look_ahead(awaited, tokens, self._width)
        try:
            yield
        finally:
            filler.settle()

    def close(self) -> None:
        """End the threads."""
        if self._filler is not None:
            self._filler.close()

    def _by_grammar(self, rules: Sequence[Allowed]) -> tuple[Words, dict[int, AppError]]:
        """What the matchers of rules allow, all ones where there is none; rows that failed, and why."""
        matchers = [cast("GrammarMatcher | None", rule.matcher) for rule in rules]
        reached = [None if matcher is None else matcher.reached for matcher in matchers]
        failed = {i: each.failed for i, each in enumerate(reached) if each is not None and each.failed}
        if reached[0] is not None and _is_made_of(reached[0].words, reached):
            return reached[0].words, failed
        missing = [
            (i, matcher)
            for i, (matcher, each) in enumerate(zip(matchers, reached, strict=True))
            if matcher is not None and each is None
        ]
        places = [i for i, _ in missing]
        filled = np.zeros((0, self._width), np.uint32)
        if missing:
            filled, late = self._threads().fill([matcher for _, matcher in missing], self._width)
            failed |= {places[row]: why for row, why in late.items()}
        if len(missing) == len(rules):
            return filled, failed
        words = np.full((len(rules), self._width), _ALL)
        words[places] = filled
        for row, each in zip(words, reached, strict=True):
            if each is not None:
                row[:] = each.words[each.row]
        return words, failed

    def _threads(self) -> MaskFiller:
        if self._filler is None:
            # The library is there already: a matcher is the library's.
            self._filler = import_module("vllm_mlx.structured.filling").MaskFiller()
        return cast("MaskFiller", self._filler)


def _is_made_of(words: Words, rows: Sequence[Foreseen | None]) -> bool:
    return len(words) == len(rows) and all(
        each is not None and each.words is words and each.row == i for i, each in enumerate(rows)
    )


def _set(row: Words, ids: Sequence[int]) -> None:
    for token_id in ids:
        row[token_id >> 5] |= np.uint32(1 << (token_id & 31))


def _clear(row: Words, ids: Sequence[int]) -> None:
    for token_id in ids:
        row[token_id >> 5] &= ~np.uint32(1 << (token_id & 31))
