"""Reads values in Python's notation, or with other quotes, and tells them as JSON while they are written."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Sequence

from vllm_mlx.parsing.arguments import LONE_SURROGATE
from vllm_mlx.parsing.source import Source, Waits, markers

PYTHON_QUOTES = ('"""', "'''", '"', "'")
_WORD = re.compile(r"[^\s,:=(){}\[\]\"'<]*")
_WORDS = {"True": "true", "False": "false", "None": "null", "true": "true", "false": "false", "null": "null"}
_CLOSER = {"{": "}", "[": "]", "(": "]"}
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_LEADING_ZERO = re.compile(r"-?0[0-9]+")
"""No number in JSON: a code of digits, perhaps, unless the schema takes numbers only."""
_SIMPLE = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "a": "\a", "v": "\v", "0": "\0"}
_HEX = {"x": 2, "u": 4, "U": 8}
_HEX_DIGITS = frozenset("0123456789abcdefABCDEF")


def read_loose(
    source: Source, tell: Callable[[str], None], quotes: Sequence[str], closing: Sequence[str] = ()
) -> Waits[None]:
    """One value: string, number, word, list, tuple or mapping, at any depth.

    It ends before a comma or a bracket that is not its own. Words that mean nothing become strings.

    Args:
        quotes: the strings' delimiters; backslashes escape only in Python's.
        closing: tags that end a broken value.
    """
    open_brackets: list[str] = []
    comma = key = False  # a comma waits for the value after it; a mapping's key comes next
    while True:
        yield from source.skip()
        char = yield from source.peek()
        if not char or (not open_brackets and char in ",)}]:="):
            return
        if char == "<" and ((yield from source.ahead(closing)) or source.ends_within(closing)):
            return
        if char in ")}]":
            source.at += 1
            tell(_CLOSER[open_brackets.pop()])
            comma = key = False
        elif char == ",":
            source.at += 1
            comma, key = True, open_brackets[-1] == "{"
        elif char in ":=":
            source.at += 1
            tell(": ")
            key = False
        else:
            if comma:
                tell(", ")
                comma = False
            key = yield from _read_part(source, tell, quotes, open_brackets, key)
        if not open_brackets:
            return


def _read_part(
    source: Source, tell: Callable[[str], None], quotes: Sequence[str], open_brackets: list[str], key: bool
) -> Waits[bool]:
    """A bracket, a string or a word. Returns whether a mapping's key comes next."""
    quote = yield from source.literal(*quotes)
    if quote:
        yield from read_string(source, tell, quote)
        return False
    char = source.text[source.at]
    if char in _CLOSER:
        source.at += 1
        open_brackets.append(char)
        tell("{" if char == "{" else "[")
        return char == "{"
    word = yield from source.span(_WORD)
    if not word:  # a quote of another kind, or "<"
        word, source.at = char, source.at + 1
    tell(json.dumps(word, ensure_ascii=False) if key else word_to_json(word))
    return False


def read_string(source: Source, tell: Callable[[str], None], quote: str) -> Waits[None]:
    """A string from after its opening quote to after its closing one."""
    escapes = quote in PYTHON_QUOTES
    ends = markers(quote, "\\") if escapes else markers(quote)
    tell('"')
    while True:
        found = yield from source.until(ends, lambda text: tell(escaped(text)))
        source.at += len(found)
        if not found:
            return
        if found == quote:
            tell('"')
            return
        tell((yield from _escape(source)))


def _escape(source: Source) -> Waits[str]:
    """What a backslash and the characters after it mean, as they stand in a JSON string."""
    char = yield from source.peek()
    source.at += len(char)
    if char == "\n":
        return ""
    if char in _HEX:
        digits = ""
        while len(digits) < _HEX[char] and (yield from source.peek()) in _HEX_DIGITS:
            digits += source.text[source.at]
            source.at += 1
        if len(digits) == 4:  # JSON has the same, and a pair of them may be one character
            return f"\\u{digits}"
        if len(digits) < _HEX[char] or int(digits, 16) > 0x10FFFF:
            return escaped(f"\\{char}{digits}")
        return escaped(LONE_SURROGATE.sub("\ufffd", chr(int(digits, 16))))
    if char in _SIMPLE:
        return escaped(_SIMPLE[char])
    return escaped(char if char in "\\'\"" else f"\\{char}")


def escaped(text: str) -> str:
    """The text as it stands between a JSON string's quotes."""
    return json.dumps(text, ensure_ascii=False)[1:-1]


def word_to_json(word: str) -> str:
    """A number or a constant as JSON writes it; any other word as a string."""
    if word in _WORDS:
        return _WORDS[word]
    if _NUMBER.fullmatch(word):
        return word
    if _LEADING_ZERO.fullmatch(word):
        return json.dumps(word)
    try:
        number: int | float = int(word, 0) if len(word) < 100 else float(word)
    except ValueError:
        try:
            number = float(word)
        except ValueError:
            return json.dumps(word, ensure_ascii=False)
    return json.dumps(number if math.isfinite(number) else word, ensure_ascii=False)
