"""Asks a grammar about texts, byte by byte, and writes random texts by it."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import jsonschema
from llguidance import LLMatcher, LLTokenizer

from vllm_mlx.structured.check import LIMITS

BYTES = LLTokenizer("byte")
"""One token a byte, a few control tokens, and the end of a text."""

CORPUS = Path(__file__).parent / "schemas"
VALIDATORS = {
    4: jsonschema.Draft4Validator,
    7: jsonschema.Draft7Validator,
    2020: jsonschema.Draft202012Validator,
}
_ENDING = (BYTES.eos_token, *b'}]"')


def corpus() -> list[tuple[str, dict[str, Any]]]:
    """Every case, by file and line."""
    return [
        (f"{path.stem}-{number}", json.loads(line))
        for path in sorted(CORPUS.glob("*.jsonl"))
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
    ]


def matcher(grammar: str) -> LLMatcher:
    made = LLMatcher(BYTES, grammar, log_level=0, limits=LIMITS)
    assert not made.is_error(), made.get_error()
    return made


def accepts(grammar: str, text: str) -> bool:
    """Whether the text is a whole one of the grammar."""
    asked, raw = matcher(grammar), list(text.encode())
    return asked.try_consume_tokens(raw) == len(raw) and asked.is_accepting()


def walk(grammar: str, seed: int, *, free: int = 60, most: int = 3000) -> str | None:
    """A random text of the grammar: free choices first, then whatever may end it; None if it does not end."""
    asked, chance = matcher(grammar), random.Random(seed)
    written = bytearray()
    for step in range(most):
        mask = asked.compute_bitmask()
        allowed = [i for i in range(BYTES.vocab_size) if mask[i // 8] >> i % 8 & 1]
        if not allowed:
            return written.decode() if asked.is_accepting() else None
        in_string = written.replace(b"\\\\", b"").replace(b'\\"', b"").count(b'"') % 2
        ending = [token for token in (_ENDING[-1:] if in_string else _ENDING) if token in allowed]
        hurry = step > free or chance.random() < 0.2
        token = ending[0] if ending and hurry else chance.choice(allowed)
        if token == BYTES.eos_token:
            return written.decode()
        assert asked.consume_token(token), asked.get_error()
        written.append(token)
    return None
