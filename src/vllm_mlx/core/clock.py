"""The port through which decisions read time, so that tests can turn the clock by hand."""

from __future__ import annotations

import threading
import time
from typing import Protocol


class Clock(Protocol):
    """Monotonic seconds."""

    def __call__(self) -> float: ...


system_clock: Clock = time.monotonic


def thread_work_clock() -> Clock | None:
    """Seconds of processor time that the calling thread takes: any thread may read it while that one lives.

    None where the system does not tell of other threads (macOS).
    """
    clock_of = getattr(time, "pthread_getcpuclockid", None)
    if clock_of is None:
        return None
    clock_id: int = clock_of(threading.get_ident())
    return lambda: time.clock_gettime(clock_id)
