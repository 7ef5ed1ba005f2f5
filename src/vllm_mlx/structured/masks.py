"""What the rows of a step are allowed to sample, as bits; numpy alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, cast

import numpy as np
import numpy.typing as npt

from vllm_mlx.core.steps import TokenMask
from vllm_mlx.structured.gate import Allowed, Gate

if TYPE_CHECKING:
    from vllm_mlx.structured.llguidance import GrammarMatcher, MaskFiller

Words = npt.NDArray[np.uint32]

_ALL: Final = np.uint32(0xFFFFFFFF)
_NOTHING = "the grammar allows no token of the model's vocabulary"


class Masks:
    """Makes the masks of steps, for one vocabulary."""

    def __init__(self, vocab_size: int) -> None:
        self._vocab_size = vocab_size
        # The library writes one bit more, for the end of a text.
        self._width = -(-(vocab_size + 1) // 32)
        self._filler: MaskFiller | None = None

    def fill(self, gates: Mapping[int, Gate]) -> tuple[TokenMask | None, dict[int, str]]:
        """The mask of these sequences, and by id those that can say nothing, with the reason.

        What grammars allow is found out for all of them at once, on other threads. No mask: all may say
        anything.
        """
        allowed = {seq_id: gate.allowed() for seq_id, gate in gates.items()}
        asked = {seq_id: rule for seq_id, rule in allowed.items() if rule is not None}
        if not asked:
            return None, {}
        words = np.zeros((len(asked), self._width), np.uint32)
        seq_ids, rules = tuple(asked), tuple(asked.values())
        by_grammar = [i for i, rule in enumerate(rules) if rule.only is None and rule.matcher is not None]
        failed = {seq_ids[i]: why for i, why in self._by_grammar(by_grammar, rules, words).items()}
        for row, rule in zip(words, rules, strict=True):
            if rule.only is not None:
                _set(row, (rule.only,))
                continue
            if rule.matcher is None:
                row[:] = _ALL
            _clear(row, (self._vocab_size,))
            _set(row, rule.also)
            _clear(row, rule.never)
        for i in np.flatnonzero(~words.any(axis=1)).tolist():
            failed.setdefault(seq_ids[i], _NOTHING)
        return TokenMask(seq_ids, memoryview(cast(Any, words))), failed

    def close(self) -> None:
        """End the threads."""
        if self._filler is not None:
            self._filler.close()

    def _by_grammar(self, places: Sequence[int], rules: Sequence[Allowed], words: Words) -> dict[int, str]:
        if not places:
            return {}
        if self._filler is None:
            # The library is there already: a matcher is the library's.
            self._filler = import_module("vllm_mlx.structured.llguidance").MaskFiller()
        own: Any = words[places]
        matchers = [cast("GrammarMatcher", rules[i].matcher) for i in places]
        failed = cast("MaskFiller", self._filler).fill(matchers, own)
        words[places] = own
        return {places[i]: why for i, why in failed.items()}


def _set(row: Words, ids: Sequence[int]) -> None:
    for token_id in ids:
        row[token_id >> 5] |= np.uint32(1 << (token_id & 31))


def _clear(row: Words, ids: Sequence[int]) -> None:
    for token_id in ids:
        row[token_id >> 5] &= ~np.uint32(1 << (token_id & 31))
