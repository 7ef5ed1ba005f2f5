"""Randomness that nobody can guess, for ids and seeds: taken from the system a block at a time."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

_BLOCK_BYTES = 4096


class Chance:
    """Hands each random byte out once, on any thread.

    Each read from the system lets go of the interpreter's lock, so that the engine's thread may come between;
    a request needs several ids, and then the event loop would wait as often.

    Args:
        read: so many random bytes, fit for secrets.
    """

    def __init__(self, read: Callable[[int], bytes] = os.urandom) -> None:
        self._read = read
        self.forget()

    def forget(self) -> None:
        """Begin anew. A forked process must: it would else hand out the same bytes as its parent."""
        self._lock = threading.Lock()  # a new one, too: at the fork another thread may have held the old one
        self._block = b""
        self._used = 0

    def take(self, size: int) -> bytes:
        """So many bytes."""
        with self._lock:
            end = self._used + size
            if end > len(self._block):
                self._block, self._used, end = self._read(max(size, _BLOCK_BYTES)), 0, size
            taken = self._block[self._used : end]
            self._used = end
            return taken


_chance = Chance()
os.register_at_fork(after_in_child=_chance.forget)


def fresh_hex(digits: int = 32) -> str:
    """So many random hexadecimal digits; 32 of them are an id that never comes twice."""
    return _chance.take((digits + 1) // 2).hex()[:digits]


def fresh_bits(bits: int) -> int:
    """A random number from 0 to 2**bits - 1."""
    size = (bits + 7) // 8
    return int.from_bytes(_chance.take(size), "little") >> (size * 8 - bits)
