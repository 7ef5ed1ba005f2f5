"""The process groups of servers that run, to be ended from anywhere, a signal's handler included."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from typing import Final

_RUNNING: Final[set[int]] = set()
"""One set, because a process has its children whoever started them."""


def group_started(group: int) -> None:
    """It runs."""
    _RUNNING.add(group)


def group_ended(group: int) -> None:
    """It was seen to the end of: its number may soon be another's."""
    _RUNNING.discard(group)


def signal_group(group: int, number: signal.Signals) -> None:
    """Send all its processes a signal; nothing if there are none."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def kill_all() -> None:
    """End all at once."""
    for group in tuple(_RUNNING):
        signal_group(group, signal.SIGKILL)
