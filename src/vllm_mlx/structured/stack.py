"""Threads with a stack deep enough for a library that descends into a grammar."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final

STACK_BYTES: Final = 2**29
"""The library descends into rules that refer to each other: on a common stack of 8 MB, 2,000 references of a
JSON schema in a row end the process. Only what is used is ever taken."""

_setting = threading.Lock()


def start_deep_thread(
    work: Callable[[], None], name: str, stack_bytes: int = STACK_BYTES
) -> threading.Thread:
    """Start a daemon thread with a deep stack; the size is a setting of the process, so it is set back."""
    with _setting:
        before = threading.stack_size(stack_bytes)
        try:
            thread = threading.Thread(target=work, name=name, daemon=True)
            thread.start()
        finally:
            threading.stack_size(before)
    return thread
