"""Python code on a thread, for so long and no longer: then it is interrupted where it stands."""

from __future__ import annotations

import asyncio
import ctypes
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Generic, TypeVar

T = TypeVar("T")


class OutOfTime(Exception):
    """The work was interrupted, at its limit or because nobody waits for it any more."""


class _Interrupt(BaseException):
    """Raised inside the work; no `except Exception` of a library swallows it."""


async def run_bounded(executor: Executor, work: Callable[[], T], limit_s: float) -> T:
    """Do the work on a thread of the executor.

    The limit counts from when a thread takes the work up. Interrupted is what runs as Python code, such as a
    template with loops in loops; a call into a library that is written in another language ends first. Work
    whose caller is cancelled is interrupted too, so that it frees its thread.

    Raises:
        OutOfTime: it took longer.
    """
    job = _Job(work, limit_s)
    loop = asyncio.get_running_loop()
    job.watch(loop)
    try:
        return await loop.run_in_executor(executor, job.run)
    except asyncio.CancelledError:
        job.interrupt()
        raise
    finally:
        job.unwatch()


class _Job(Generic[T]):
    """One piece of work, the thread that does it, and the loop's timer on it."""

    def __init__(self, work: Callable[[], T], limit_s: float) -> None:
        self._work = work
        self._limit_s = limit_s
        self._timer: asyncio.TimerHandle | None = None
        self._lock = threading.Lock()
        self._thread: int | None = None
        self._started_at: float | None = None
        self._interrupted = False

    def watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Interrupt the work once its limit is over; as long as no thread has begun, all of it is left."""
        started_at = self._started_at
        left_s = self._limit_s - (0.0 if started_at is None else time.monotonic() - started_at)
        if left_s > 0:
            self._timer = loop.call_later(left_s, self.watch, loop)
        else:
            self.interrupt()

    def unwatch(self) -> None:
        """The work has ended."""
        if self._timer is not None:
            self._timer.cancel()

    def run(self) -> T:
        """The work's result; called on the thread.

        Raises:
            OutOfTime: it was interrupted.
        """
        try:
            with self._lock:
                if self._interrupted:
                    raise OutOfTime
                self._thread = threading.get_ident()
                self._started_at = time.monotonic()
            struck = False
            try:
                return self._work()
            except _Interrupt:
                struck = True
                raise
            finally:
                self._end(struck=struck)
        except _Interrupt:
            raise OutOfTime from None

    def interrupt(self) -> None:
        """End the work, if it has not ended; the first call counts."""
        with self._lock:
            if self._thread is not None and not self._interrupted:
                _raise_in(self._thread, _Interrupt)
            self._interrupted = True

    def _end(self, *, struck: bool) -> None:
        with self._lock:
            # What has not struck yet must not strike the thread's next job. Only then: taking back nothing
            # leaves CPython 3.11 with a flag that no thread clears, and `sys.settrace` never ends.
            if self._thread is not None and self._interrupted and not struck:
                _raise_in(self._thread, None)
            self._thread = None


def _raise_in(thread: int, exception: type[BaseException] | None) -> None:
    """Have an exception raised in another thread at its next step; None takes back one that waits.

    CPython's documented way: https://docs.python.org/3/c-api/init.html#c.PyThreadState_SetAsyncExc
    """
    raised = ctypes.py_object(exception) if exception is not None else ctypes.py_object()
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), raised)
