"""Reads a text as a literal of Python, without the warnings that Python's parser prints about some.

To silence them where they are made is no way: what `warnings` offers for that holds for all threads at once.
"""

from __future__ import annotations

import ast
import re
from typing import Any

_STRING = re.compile(
    r"#[^\n]*"  # a comment, whose quotes open nothing
    r"|((?<!\w)[a-zA-Z]{1,2})?"
    r"('''(?:[^\\]|\\.)*?(?:'''|\Z)"
    r'|"""(?:[^\\]|\\.)*?(?:"""|\Z)'
    r"|'(?:[^'\\\n]|\\.)*+'?"
    r'|"(?:[^"\\\n]|\\.)*+"?)',
    re.DOTALL,
)
_ESCAPE = re.compile(r"\\([0-7]{3}|.)", re.DOTALL)
_KNOWN = frozenset("\n\\'\"abfnrtvxuUN01234567")
_KEYWORD = re.compile("and|else|for|i[fns]|not|or")
"""What a number may run into, with a warning: `1if`. No literal holds such a word outside its strings."""


def read_literal(text: str) -> Any:
    """The value of a literal; bytes and the like are none here.

    Raises:
        ValueError, TypeError, SyntaxError, MemoryError, RecursionError: it is none, or too much.
    """
    if _KEYWORD.search(_STRING.sub('""', text)):
        raise ValueError("no literal")
    return ast.literal_eval(_STRING.sub(_without_doubt, text))


def _without_doubt(found: re.Match[str]) -> str:
    """A string whose backslashes all mean something; where one meant itself it stands twice."""
    prefix, string = (found[1] or "").lower(), found[2]
    if string is None or prefix == "r":
        return found[0]
    if prefix not in ("", "u"):
        raise ValueError("no literal")
    return _ESCAPE.sub(_escape, found[0])


def _escape(found: re.Match[str]) -> str:
    code = found[1]
    if len(code) == 3:  # beyond 377 it is warned about, too
        return f"\\u{int(code, 8):04x}"
    return found[0] if code in _KNOWN else "\\" + found[0]
