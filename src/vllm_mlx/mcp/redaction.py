"""Takes what looks like a secret out of what is logged, at a cost that does not grow with the text."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

HIDDEN = "***"
MAX_TEXT_CHARS = 80
MAX_VALUES = 64
"""Of one line, all levels together: a line holds a few hundred characters."""

LOOKED_AT_CHARS = 432
"""How far behind what is shown a secret is looked for that begins before."""

_MAX_ITEMS = 8
_MAX_DEPTH = 3
_MAX_NUMBER = 2**64

_SECRET_KEY = re.compile(
    r"pass(word|wd|phrase|code)?$|secret|token|api[_-]?key|private[_-]?key|access[_-]?key|credential"
    r"|authori[sz]ation|cookie|bearer|session|signature|(^|[_-])key$|^(auth|pin|otp|pwd)$",
    re.IGNORECASE,
)
_NAMES_OF_A_VALUE = ("name", "key", "header", "Name", "Key", "Header")
_NAMED_VALUES = frozenset({"value", "values", "val", "content", "data"})

# What is repeated without a bound in these is given back by no search, or parted from its like by what it
# cannot hold: each takes a time that grows with the text alone, whatever the text.
_ALONE = re.compile(
    r"(?:bearer|basic)\s{1,8}+\S+"
    r"|\b(?:sk|pk|rk|ghp|gho|ghs|ghu|github_pat|glpat|xox[a-z]|hf|npm|pypi|AKIA|ASIA|AIza)"
    r"[-_]?[A-Za-z0-9_-]{12,}"
    r"|\beyJ[A-Za-z0-9_-]{8,}+(?:\.[A-Za-z0-9_-]++)*+"
    r"|(?<=://)[^/?#\s]+(?=@)"
    r"|-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----[\s\S]*",
    re.IGNORECASE,
)
_QUOTED = r"(?P<{0}>\\{{0,4}}[\"'`])(?:(?!(?P={0}))(?:\\.|.))*+"
_AFTER_A_NAME = re.compile(
    r"(?:(?P<header>authori[sz]ation|cookie)"
    r"|pass(?:word|wd|phrase|code)|secret|token|credentials?|signature|(?:api|access|private)key"
    r"|(?<![a-z])(?:key|pass|pwd|sig|auth|pin|otp))"
    r"\\{0,4}[\"'`]?\]?\s{0,4}+[:=]{1,2}+>?\s{0,4}+"
    # A header's value is its line; another unquoted one ends with its word, or where a query goes on.
    rf"(?P<value>{_QUOTED.format('q')}|(?(header)[^\r\n]++|(?:(?!&[\w.-]{{1,40}}=)\S)++))",
    re.IGNORECASE | re.DOTALL,
)


def redacted(value: Any, secrets: Sequence[str] = ()) -> Any:
    """A JSON value with secrets hidden, and cut to what a line can hold.

    Args:
        secrets: texts that are hidden wherever they stand.
    """
    return _Line(secrets).value(value)


def hide(text: str, secrets: Sequence[str] = (), shown: int = MAX_TEXT_CHARS) -> str:
    """The first so many characters of a text, with secrets hidden."""
    # One that begins in what is shown counts with its whole length; nothing else behind it is looked at.
    seen = text[: shown + max([LOOKED_AT_CHARS, *map(len, secrets)])]
    pieces, done = [], 0
    for start, end in sorted((*_known(seen, secrets, shown), *_suspected(seen, shown))):
        if start >= done:
            pieces += [seen[done:start], HIDDEN]
        done = max(done, end)
    pieces.append(seen[done:shown])
    return "".join(pieces) + ("..." if len(text) > shown else "")


def _known(seen: str, secrets: Sequence[str], shown: int) -> Iterator[tuple[int, int]]:
    for secret in filter(None, secrets):
        start = seen.find(secret)
        while 0 <= start < shown:
            yield start, start + len(secret)
            start = seen.find(secret, start + 1)


def _suspected(seen: str, shown: int) -> Iterator[tuple[int, int]]:
    """Where something stands that looks like a secret: by its form, or by the name before it."""
    for pattern, group in ((_ALONE, 0), (_AFTER_A_NAME, "value")):
        for found in pattern.finditer(seen):
            if found.start(group) >= shown:
                break
            yield found.span(group)


class _Line:
    """What one line shows; its values are counted."""

    def __init__(self, secrets: Sequence[str]) -> None:
        self._secrets = secrets
        self._left = MAX_VALUES

    def value(self, value: Any, depth: int = 0) -> Any:
        self._left -= 1
        if self._left < 0:
            return "..."
        if isinstance(value, str):
            return hide(value, self._secrets)
        if isinstance(value, dict | list):
            if depth > _MAX_DEPTH:
                return "..."
            return self._object(value, depth) if isinstance(value, dict) else self._list(value, depth)
        if isinstance(value, int) and not isinstance(value, bool):
            return self._number(value)
        return value

    def _object(self, value: dict[Any, Any], depth: int) -> dict[str, Any]:
        names_a_secret = any(_is_secret(value[key]) for key in _NAMES_OF_A_VALUE if key in value)
        shown: dict[str, Any] = {}
        for key, one in islice(value.items(), min(_MAX_ITEMS, max(0, self._left))):
            name = str(key)
            is_secret = _is_secret(name) or (names_a_secret and name.lower() in _NAMED_VALUES)
            shown[hide(name, self._secrets)] = HIDDEN if is_secret else self.value(one, depth + 1)
            self._left -= is_secret
        return shown | ({"...": len(value) - len(shown)} if len(value) > len(shown) else {})

    def _list(self, value: list[Any], depth: int) -> list[Any]:
        most = min(_MAX_ITEMS, max(0, self._left))
        return [self.value(one, depth + 1) for one in value[:most]] + (["..."] if len(value) > most else [])

    def _number(self, value: int) -> int | str:
        if abs(value) >= _MAX_NUMBER:
            return "..."  # Python refuses to write out one of thousands of digits
        return HIDDEN if str(value) in self._secrets else value


def _is_secret(name: Any) -> bool:
    """Whether a value by this name is hidden; what is longer than any name may well hold one."""
    return isinstance(name, str) and (len(name) > LOOKED_AT_CHARS or bool(_SECRET_KEY.search(name)))
