"""Whether a grammar compiles, found out without a model, and bounded."""

from __future__ import annotations

import re
from functools import cache
from typing import Final

from llguidance import LLMatcher, LLParserLimits, LLTokenizer

from vllm_mlx.core.errors import InvalidRequest

LIMITS: Final = LLParserLimits(
    # 100,000 values of 15 characters take 2 million; at about 50,000 a millisecond.
    initial_lexer_fuel=5_000_000,
    step_max_items=20_000,
    max_lexer_states=50_000,  # 2 kB each
    verbose_errors=False,
)
_MESSAGE_CHARS = 300
_PLACE = re.compile(r"^(at )?\d+\(\d+\): |failed to compile JSON schema: ")
"""Places in the grammar that was made of the constraint say nothing to the caller."""


@cache
def _bytes() -> LLTokenizer:
    """A vocabulary of the 256 bytes: what compiles over it compiles over any."""
    return LLTokenizer("byte")


def check_grammar(text: str) -> None:
    """Compile a grammar and throw it away; Python's lock is not held meanwhile.

    Raises:
        InvalidRequest: it is no grammar, too complex, or lets nothing through; the message says which.
    """
    matcher = LLMatcher(_bytes(), text, log_level=0, limits=LIMITS)
    if not matcher.is_error():
        matcher.compute_bitmask()
    if matcher.is_error():
        raise InvalidRequest(_reason(matcher.get_error()))


def _reason(error: str) -> str:
    """The library's first line; what follows repeats the grammar. A panic of its is a limit that it has."""
    if "panic" in error:
        return "the grammar is too large"
    line = _PLACE.sub("", error.split("\n", 1)[0])
    if line.startswith("NoExtension"):
        return "no text meets the constraint"
    if line.startswith("Unable to determine if regex is empty"):
        return "a pattern is too complex together with the length or the format asked for"
    if line.startswith(("invalid regex", "regex parse error")):
        # The reason stands below a drawing of the expression, or at the end of the line.
        reasons = [part.removeprefix("error: ") for part in error.splitlines() if part.startswith("error: ")]
        line = f"invalid regular expression: {'; '.join(reasons) or line.rpartition('(in regex): ')[2]}"
    return line.strip()[:_MESSAGE_CHARS]
