"""Text that arrives in pieces, and the few ways in which the readers consume it.

A reader is a generator: it yields when it needs more text and goes on where it stopped. Written with these
calls alone it cannot tell how the text was cut, because none of them answers before the answer is certain.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Sequence
from functools import lru_cache
from typing import NamedTuple, TypeVar

T = TypeVar("T")
Waits = Generator[None, None, T]
"""A reader that pauses for more text and ends with a T."""

SPACE = re.compile(r"[ \t\r\n]*")


class NoCall(Exception):
    """What looked like a tool call is none: all that was read of it is text."""


class Markers(NamedTuple):
    """A set of tags to look for."""

    pattern: re.Pattern[str]
    tags: tuple[str, ...]
    firsts: frozenset[str]
    longest: int

    def held_back(self, text: str, begin: int) -> int:
        """How many of the text's last characters, from `begin` on, may still grow into a tag."""
        for at in range(max(begin, len(text) - self.longest + 1), len(text)):
            if text[at] in self.firsts and any(
                text.startswith(tag[: len(text) - at], at) for tag in self.tags
            ):
                return len(text) - at
        return 0


@lru_cache(maxsize=512)
def markers(*tags: str) -> Markers:
    """The search for these tags; of two that begin at one place the longer one wins."""
    ordered = tuple(sorted({tag for tag in tags if tag}, key=len, reverse=True))
    pattern = re.compile("|".join(map(re.escape, ordered)) or r"(?!)")
    return Markers(pattern, ordered, frozenset(tag[0] for tag in ordered), max(map(len, ordered), default=0))


class Source:
    """The text so far, from the first character that is not read yet.

    Only the unread rest is kept in `text`, which is at most a tag long once a reader waits. What was read
    since the last `settle` is remembered in pieces, so that a failed call can be shown as it was.
    """

    def __init__(self) -> None:
        self.text = ""
        self.at = 0
        self.over = False
        self._mark = 0
        self._kept: list[str] = []

    def feed(self, text: str) -> None:
        """More text has arrived."""
        if self._mark < self.at:
            self._kept.append(self.text[self._mark : self.at])
        self.text = self.text[self.at :] + text
        self.at = self._mark = 0

    def settle(self) -> None:
        """What has been read is dealt with."""
        self._kept.clear()
        self._mark = self.at

    def unsettled(self) -> str:
        """What has been read since; it counts as dealt with now."""
        text = "".join(self._kept) + self.text[self._mark : self.at]
        self.settle()
        return text

    def more(self) -> Waits[bool]:
        """Whether there is another character."""
        while self.at >= len(self.text):
            if self.over:
                return False
            yield
        return True

    def peek(self) -> Waits[str]:
        """The next character; "" at the end."""
        while self.at >= len(self.text):
            if self.over:
                return ""
            yield
        return self.text[self.at]

    def skip(self, run: re.Pattern[str] = SPACE) -> Waits[None]:
        """Read a run of characters, as far as the pattern (one class, repeated) reaches."""
        while True:
            found = run.match(self.text, self.at)
            assert found is not None
            self.at = found.end()
            if self.at < len(self.text) or self.over:
                return
            yield

    def span(self, run: re.Pattern[str], limit: int = 1 << 60) -> Waits[str]:
        """The same, returning what was read.

        Raises:
            NoCall: it is longer than `limit`; so much of it has been read.
        """
        parts: list[str] = []
        size = 0
        while True:
            found = run.match(self.text, self.at)
            assert found is not None
            parts.append(found.group())
            size += len(found.group())
            self.at = found.end()
            if size > limit:
                self.at -= size - limit
                raise NoCall
            if self.at < len(self.text) or self.over:
                return "".join(parts)
            yield

    def ahead(self, tags: Sequence[str]) -> Waits[str]:
        """Which of the tags comes next, "" for none; of several the longest. Reads nothing."""
        while True:
            rest = len(self.text) - self.at
            open_ends = False
            best = ""
            for tag in tags:
                if rest >= len(tag):
                    if len(tag) > len(best) and self.text.startswith(tag, self.at):
                        best = tag
                elif len(tag) > len(best) and self.text.startswith(tag[:rest], self.at):
                    open_ends = True
            if not open_ends or self.over:
                return best
            yield

    def literal(self, *tags: str) -> Waits[str]:
        """The same, and read it."""
        tag = yield from self.ahead(tags)
        self.at += len(tag)
        return tag

    def ends_within(self, tags: Sequence[str]) -> bool:
        """Whether the text is over and its rest is the beginning of one of the tags."""
        return self.over and any(tag.startswith(self.text[self.at :]) for tag in tags)

    def until(self, tags: Markers, tell: Callable[[str], None], limit: int = 1 << 60) -> Waits[str]:
        """Tell everything up to the next tag as it comes; returns the tag, unread, or "" at the end.

        Raises:
            NoCall: it is longer than `limit`; so much of it has been read.
        """
        while True:
            found = tags.pattern.search(self.text, self.at)
            if found is not None:
                end = found.start()
            elif self.over:
                end = len(self.text)
            else:
                end = len(self.text) - tags.held_back(self.text, self.at)
            limit -= end - self.at
            if limit < 0:
                self.at = end + limit
                raise NoCall
            if end > self.at:
                piece, self.at = self.text[self.at : end], end
                tell(piece)
            if found is not None:
                return found.group()
            if self.over:
                return ""
            yield


def read_whole(text: str, read: Callable[[Source], Waits[object]]) -> str:
    """Have a reader read a text that is all there is; returns what it leaves unread."""
    source = Source()
    source.feed(text)
    source.over = True
    for _ in read(source):
        raise AssertionError("a reader waits for more of a text that is over")
    return source.text[source.at :]
