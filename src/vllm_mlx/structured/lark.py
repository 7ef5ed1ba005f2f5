"""Small pieces of a grammar's text, in llguidance's variant of Lark."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import Any

from vllm_mlx.parsing.format import TAG

SpecialId = Callable[[str], int | None]
"""The id of a control token by its name; None for what is ordinary text to the model."""

WHITESPACE = r" |\n[ \t]{0,24}"
"""Between the marks of JSON: one space, or a line break with an indent. More would be room to never end."""

ESCAPES = 'nrbtf\\"'
"""What may follow a backslash in a text that a grammar writes. Not `u`: `"\\u0061"` is the name `a`, and what
a schema says of a name is looked up by how it is written. So a control character without a short escape can
only be written where it stands in a name of the schema."""

ANY_TEXT = "/(?s:.*)/"

_TAG = re.compile(f"({TAG})")


def literal(text: str) -> str:
    """A text as it is; it must not be empty."""
    return json.dumps(text, ensure_ascii=False)


def markup(text: str, special_id: SpecialId) -> str:
    """Markup whose tags may be control tokens, which no text spells."""
    parts, plain = [], ""
    for piece in _TAG.split(text):
        token_id = special_id(piece) if piece else None
        if token_id is None:
            plain += piece
            continue
        if plain:
            parts.append(literal(plain))
        plain = ""
        parts.append(f"<[{token_id}]>")
    if plain:
        parts.append(literal(plain))
    return " ".join(parts)


def text_until(end: str, name: str, special_id: SpecialId) -> tuple[str, list[str]]:
    """Any text up to the first time that some markup is written, and that markup.

    Args:
        name: of a rule that may be needed.

    Returns:
        What may stand in a rule, and the rules that it refers to.
    """
    mark = markup(end, special_id)
    if mark == literal(end):
        return name, [f"{name}[lazy]: {ANY_TEXT} {mark}"]
    return f"{ANY_TEXT} {mark}", []


def json_value(schema: dict[str, Any] | bool) -> str:
    """JSON valid against a plain schema."""
    if not isinstance(schema, dict):
        schema = {} if schema else {"not": {}}
    options = {"x-guidance": {"whitespace_pattern": WHITESPACE, "json_allowed_escapes": ESCAPES}}
    return "%json " + json.dumps(schema | options, ensure_ascii=False)


def one_of_texts(texts: Sequence[str]) -> str:
    """The definition of a terminal; alternatives of a rule would each be a symbol of the grammar."""
    return " | ".join(map(literal, texts))


def regex(pattern: str) -> str:
    """A whole regular expression as a terminal."""
    # Inside `/.../` a slash ends the expression, and so does the end of the line.
    return "/" + re.sub(r"\\.|/|\n", _fit, pattern, flags=re.DOTALL) + "/"


def _fit(found: re.Match[str]) -> str:
    return {"/": r"\/", "\n": r"\n", "\\\n": r"\n"}.get(found.group(), found.group())
