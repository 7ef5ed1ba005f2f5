"""Waits for a thread until the system too has ended it, which Python before 3.13 does not do."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

_POLL_S = 0.001
_LIMIT_S = 5.0


async def joined_fully(thread: threading.Thread) -> None:
    """`join_fully` beside the loop, even where Python is about to end and its executors take nothing more."""
    loop, done = asyncio.get_running_loop(), asyncio.Event()

    def join() -> None:
        join_fully(thread)
        loop.call_soon_threadsafe(done.set)

    threading.Thread(target=join, name="join", daemon=True).start()
    await done.wait()


def join_fully(thread: threading.Thread) -> None:
    """Join a thread that used MLX, its thread-local destructors included.

    MLX keeps compiled functions in thread-local storage and takes Python's lock to free them. Python 3.11 and
    3.12 call a thread joined before its thread-local storage is freed; where the interpreter ends in between,
    taking the lock ends the process with SIGABRT ("terminate called without an active exception", one exit
    in three on a busy machine). Linux shows in /proc when a thread is gone; elsewhere this is a plain join.
    """
    thread.join()
    task = Path(f"/proc/self/task/{thread.native_id}")
    pause = threading.Event()
    for _ in range(int(_LIMIT_S / _POLL_S)):
        if not task.exists():
            return
        pause.wait(_POLL_S)
