"""How many prompt tokens a step may take so that those who decode do not wait too long for their next."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from vllm_mlx.engine.costs import CostModel, Load
from vllm_mlx.runners.base import StepPlan

_DECODE_STEPS = 2.5
"""Without a setting: how many steps of decoding alone the bound is."""

_AIM = 0.8
"""Share of the bound that a step is expected to take: steps scatter around what is expected of them."""

_UNNOTICED_S = 0.1
"""Without a setting: prompts that are read whole may together make a step this long. Cutting up or putting
off a burst of short prompts costs more than it spares anyone: no one reads ten tokens a second, and a small
chunk costs nearly what a large one does (benchmarks/LOG.md, 2026-11-30)."""

_FIRST_TOKENS = 64
"""What a step takes before the cost of a prompt's tokens is known; later ones at most double it."""


class Pacer:
    """Bounds each step's share of prefill by what earlier steps took. Pure: it is told the seconds.

    Args:
        max_itl_ms: how long who decodes may wait for the next token; None for a bound made from the
            steps that only decode, 0 for no bound.
        block_size: tokens; a bounded chunk is a multiple of it, so that shapes repeat.
    """

    def __init__(self, max_itl_ms: float | None, block_size: int) -> None:
        self._limit_s = None if max_itl_ms is None else max_itl_ms / 1000 or math.inf
        self._costs = CostModel()
        self._block_size = block_size

    def observe(self, plan: StepPlan, seconds: float) -> None:
        """Learn from a step that took so long."""
        self._costs.observe(Load.of(plan), seconds)

    def step(self, decoding: int, longest: int) -> Pace:
        """What the next step may take beside `decoding` rows, the longest of which has so many tokens."""
        base_s = self._costs.decode_s(decoding, longest) if decoding else None
        limit_s = self._limit_s
        whole_s = limit_s
        if limit_s is None and base_s is not None:
            limit_s = _DECODE_STEPS * base_s
            whole_s = max(limit_s, _UNNOTICED_S)
        if not decoding or limit_s is None or whole_s is None:
            limit_s = whole_s = math.inf
        spent_s = base_s or 0.0
        return Pace(self._costs, self._block_size, _AIM * limit_s - spent_s, _AIM * whole_s - spent_s)


@dataclass(slots=True)
class Pace:
    """The time that one step has left for prompts, and what was taken of it.

    Attributes:
        least_tokens: what the first chunk of a step gets however little time there is.
        left_s: for chunks of prompts that take several steps.
        whole_left_s: for prompts that are read whole.
        any_taken: whether a chunk was taken.
    """

    costs: CostModel
    least_tokens: int
    left_s: float
    whole_left_s: float
    any_taken: bool = False

    def take(self, start: int, wanted: int, *, whole: bool) -> int:
        """How many of the next `wanted` tokens after `start` this step computes; takes their time.

        The first who asks gets at least `least_tokens` or all it wants, so that prefill never stands still.
        """
        left_s = self.whole_left_s if whole else self.left_s
        if left_s == math.inf:
            return wanted
        tokens = self._fitting(start, wanted, left_s)
        if not tokens and not self.any_taken:
            tokens = min(wanted, self.least_tokens)
        if tokens:
            cost_s = self.costs.chunk_s(start, tokens) or left_s
            self.left_s -= cost_s
            self.whole_left_s -= cost_s
            self.any_taken = True
        return tokens

    def _fitting(self, start: int, wanted: int, left_s: float) -> int:
        # Nothing is known of much larger chunks than were measured.
        most = 2 * self.costs.largest_tokens or _FIRST_TOKENS
        sizes = list(_sizes(self.least_tokens, min(wanted, most)))
        if wanted <= most:
            sizes.append(wanted)
        for size in reversed(sizes):
            cost_s = self.costs.chunk_s(start, size)
            if (not self.any_taken) if cost_s is None else cost_s <= left_s:
                return size
        return 0


def _sizes(unit: int, most: int) -> Iterator[int]:
    """1, 2, 3, 4, 6, 8, 12, ... units up to `most`: few, so that shapes repeat."""
    size = unit
    while size <= most:
        yield size
        if size > unit and size + size // 2 <= most:
            yield size + size // 2
        size *= 2
