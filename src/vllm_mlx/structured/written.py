"""Reads a grammar as a caller wrote it: its schemas and expressions are bound by the same rules as others."""

from __future__ import annotations

import json
import re
from importlib import import_module

from vllm_mlx.core.errors import InvalidRequest
from vllm_mlx.structured import lark
from vllm_mlx.structured.pattern import check_repeats
from vllm_mlx.structured.schema import read_schema

MAX_LARK_CHARS = 64 * 1024
"""References in a row cost depth; in so many characters there are no more than a compiler's stack holds."""
MAX_NESTING = 200
MAX_GBNF_CHARS = 16 * 1024
"""The library's translation takes time as the square of the rules: a third of a second for so many."""

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

    llama.cpp's notation (GBNF: `root ::= ...`), which is also vLLM's, is translated.

    Raises:
        InvalidRequest: it is too long or too deep, or a part of it is refused. Whether the rest is a proper
            grammar is not looked at.
    """
    if len(text) > MAX_LARK_CHARS:
        raise InvalidRequest(f"the grammar has more than {MAX_LARK_CHARS} characters")
    if text.lstrip().startswith("{"):
        raise InvalidRequest("a grammar is written in Lark; it cannot begin with a brace")
    if "::=" in text:
        text = _translated(text)
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


def _translated(text: str) -> str:
    if len(text) > MAX_GBNF_CHARS:
        raise InvalidRequest(f"a grammar in GBNF may have at most {MAX_GBNF_CHARS} characters")
    # Only whoever sends such a grammar pays for the library; its own code that is run here is Python's.
    library = import_module("llguidance.gbnf_to_lark")
    try:
        return str(library.any_to_lark(text))
    except Exception as error:  # noqa: BLE001  (a rule that there is not is a plain `Exception` there)
        reason = str(error).partition("\n")[0][:200]
        raise InvalidRequest(f"the grammar is neither Lark nor GBNF: {reason}") from None


def _json(text: str, at: int) -> tuple[object, int]:
    try:
        return json.JSONDecoder().raw_decode(text, at)
    except (ValueError, RecursionError):
        raise InvalidRequest("what follows %json must be a JSON schema") from None
