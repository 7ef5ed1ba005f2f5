"""The port through which decisions read time, so that tests can turn the clock by hand."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Monotonic seconds."""

    def __call__(self) -> float: ...


system_clock: Clock = time.monotonic
