"""Reads a grammar as a caller wrote it: its schemas and expressions are bound by the same rules as others."""

from __future__ import annotations

import json
import re

from vllm_mlx.core.errors import InvalidRequest
from vllm_mlx.structured import lark
from vllm_mlx.structured.pattern import check_repeats
from vllm_mlx.structured.schema import read_schema

MAX_LARK_CHARS = 64 * 1024
"""References in a row cost depth; in so many characters there are no more than a compiler's stack holds."""
MAX_NESTING = 200

_PIECE = re.compile(
    r"""//[^\n]*
    | "(?:\\.|[^"\\\n])*"
    | /(?P<pattern>(?:\\.|[^/\\\n])+)/
    | %(?P<word>json|lark)\b\s*
    | (?P<open>[(\[]) | (?P<close>[)\]])
    | <[^<>\s]*>
    | [\s\S]""",
    re.VERBOSE,
)


def read_lark(text: str) -> str:
    """The grammar, each `%json` in it with a schema that can be enforced.

    Raises:
        InvalidRequest: it is too long or too deep, or a part of it is refused. Whether the rest is a proper
            grammar is not looked at.
    """
    if len(text) > MAX_LARK_CHARS:
        raise InvalidRequest(f"the grammar has more than {MAX_LARK_CHARS} characters")
    if text.lstrip().startswith("{"):
        raise InvalidRequest("a grammar is written in Lark; it cannot begin with a brace")
    parts, at, depth = [], 0, 0
    while found := _PIECE.match(text, at):
        at = found.end()
        piece = found.group()
        if found["pattern"] is not None:
            check_repeats(found["pattern"])
        depth = max(0, depth + (found["open"] is not None) - (found["close"] is not None))
        if depth > MAX_NESTING:
            raise InvalidRequest(f"the grammar nests parentheses deeper than {MAX_NESTING} levels")
        if found["word"] == "lark":
            raise InvalidRequest("a grammar within a grammar (%lark) is not supported")
        if found["word"] == "json":
            schema, at = _json(text, at)
            piece = lark.json_value(read_schema(schema)) + " "
        parts.append(piece)
    return "".join(parts)


def _json(text: str, at: int) -> tuple[object, int]:
    try:
        return json.JSONDecoder().raw_decode(text, at)
    except (ValueError, RecursionError):
        raise InvalidRequest("what follows %json must be a JSON schema") from None
