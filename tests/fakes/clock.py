"""A clock that tests turn by hand."""

from __future__ import annotations


class HandClock:
    """Starts at 1,000 s and moves only when told to."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s

    def advance(self, seconds: float) -> None:
        self.now_s += seconds
