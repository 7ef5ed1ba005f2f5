"""How long an engine that owes an answer has said nothing: plain bookkeeping upon a clock."""

from __future__ import annotations

from vllm_mlx.core.clock import Clock


class Silence:
    """Measures the silence of one engine, from the moment at which it has something to say.

    It owes a word after every command, and while it has work: each step tells something, if only that it was
    taken. Whoever asks a silent engine more and gives up again does not make it look alive.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._since_s: float | None = None

    def asked(self) -> None:
        """It was sent a command."""
        if self._since_s is None:
            self._since_s = self._clock()

    def heard(self, *, has_work: bool) -> None:
        """It said something, and has more to say or not."""
        self._since_s = self._clock() if has_work else None

    @property
    def seconds(self) -> float:
        """Since when it owes a word; 0 while it owes none."""
        return 0.0 if self._since_s is None else self._clock() - self._since_s
