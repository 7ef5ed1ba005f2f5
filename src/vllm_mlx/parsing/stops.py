"""Finds stop strings in generated text as it grows, and never lets a part of one out."""

from __future__ import annotations

import re
from array import array
from collections import deque
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple


class StopStep(NamedTuple):
    """What one call to `StopMatcher.feed_tokens` settled.

    Attributes:
        text: text that no stop string can reach any more.
        shown: how many more tokens, in order and counted from the last ones shown, have text in it. Each
            token is shown once, with its first character; one without text of its own goes with the next.
        confirmed: how many of the tokens just given were generated before or by the end of the stop string;
            all of them while there is none. The rest must be neither sent, billed nor kept.
        matched: the stop string that ended the text.
    """

    text: str
    shown: int
    confirmed: int
    matched: str | None


class StopMatcher:
    """Multi-pattern search with hold-back, over the raw output (markup included, as vLLM does it).

    The string that is completed first wins; of those completed by the same character, the longest. So the
    answer depends on the text alone, not on how it was cut into pieces, and a generation never has to go on
    to find out whether it had already ended. Each string is followed by Knuth, Morris and Pratt's automaton
    from its first character on; the time is linear in the text for a fixed set of strings.

    Args:
        stop: the stop strings, none of them empty. No strings: everything passes through.
    """

    def __init__(self, stop: Sequence[str]) -> None:
        # Longest first: where several end together, the first one found is the answer.
        self._stop = sorted(set(stop), key=len, reverse=True)
        self._by_first: dict[str, list[str]] = {}
        for pattern in self._stop:
            self._by_first.setdefault(pattern[0], []).append(pattern)
        self._first = re.compile("|".join(map(re.escape, self._by_first)) or r"(?!)")
        self._active: dict[str, int] = {}  # pattern -> how many of its characters the text ends with
        self._held = ""
        self._seen = 0
        self._starts: deque[int] = deque()  # where the text of each token not yet shown begins
        self.matched: str | None = None

    def feed(self, text: str) -> tuple[str, str | None]:
        """Take more text. Returns what is safe to show, and the stop string once there is one.

        Text after a match, and all later calls, give nothing.
        """
        if not self._stop:
            self._seen += len(text)
            return text, None
        if self.matched is not None:
            return "", self.matched
        end = self._scan(text)
        whole = self._held + text
        if self.matched is not None:
            safe = whole[: len(self._held) + end - len(self.matched)]
            self._held = ""
        else:
            safe = whole[: len(whole) - max(self._active.values(), default=0)]
            self._held = whole[len(safe) :]
        self._seen += len(safe)
        return safe, self.matched

    def feed_tokens(self, pieces: Sequence[str]) -> StopStep:
        """The same for the texts of consecutive tokens; "" for one that ends inside a character."""
        safe: list[str] = []
        confirmed = 0
        for piece in pieces:
            if self.matched is not None:
                break
            self._starts.append(self._seen + len(self._held))
            safe.append(self.feed(piece)[0])
            confirmed += 1
        return StopStep("".join(safe), self._pop_shown(), confirmed, self.matched)

    def finish(self) -> StopStep:
        """The generation ended without (or after) a match: everything held back is safe."""
        text, self._held, self._active = self._held, "", {}
        shown = len(self._starts) if self.matched is None else 0
        self._starts.clear()
        return StopStep(text, shown, 0, self.matched)

    def _pop_shown(self) -> int:
        shown = 0
        while self._starts and self._starts[0] < self._seen:
            self._starts.popleft()
            shown += 1
        return shown

    def _scan(self, text: str) -> int:
        """Advance over the text; where a string is completed, set `matched` and return the index after it."""
        at = 0
        while at < len(text):
            if not self._active:
                start = self._first.search(text, at)
                if start is None:
                    break
                at = start.start()
            self._step(text[at])
            at += 1
            if self.matched is not None:
                break
        return at

    def _step(self, char: str) -> None:
        moved: dict[str, int] = {}
        for pattern, length in self._active.items():
            length = _advance(pattern, length, char)
            if length:
                moved[pattern] = length
        for pattern in self._by_first.get(char, ()):
            moved.setdefault(pattern, 1)
        self._active = moved
        done = [pattern for pattern, length in moved.items() if length == len(pattern)]
        self.matched = max(done, key=len, default=None)


def _advance(pattern: str, length: int, char: str) -> int:
    """The longest prefix of the pattern that the text ends with, after one more character."""
    failure = _failure(pattern)
    while length and pattern[length] != char:
        length = failure[length - 1]
    return length + 1 if pattern[length] == char else 0


@lru_cache(maxsize=512)
def _failure(pattern: str) -> array[int]:
    """For each prefix, the length of its longest proper suffix that begins the pattern."""
    table = array("I", [0]) * len(pattern)
    length = 0
    for at in range(1, len(pattern)):
        while length and pattern[length] != pattern[at]:
            length = table[length - 1]
        if pattern[length] == pattern[at]:
            length += 1
        table[at] = length
    return table
