"""Log-probabilities as OpenAI's APIs show them."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from vllm_mlx.core.events import TokenLogprob

LOWEST_LOGPROB = -9999.0
"""Stands for minus infinity, which JSON has not; OpenAI uses the same number."""


class Alternative(msgspec.Struct):
    """A token that could have stood there."""

    token: str
    logprob: float
    bytes: list[int]


class Logprob(msgspec.Struct):
    """A token that stands there, and its alternatives."""

    token: str
    logprob: float | None
    bytes: list[int]
    top_logprobs: list[Alternative]


def wire_logprobs(tokens: Sequence[TokenLogprob]) -> list[Logprob]:
    """One entry a token, in order."""
    return [
        Logprob(
            token.token,
            None if token.logprob is None else finite(token.logprob),
            list(token.raw),
            [Alternative(other.token, finite(other.logprob), list(other.raw)) for other in token.top],
        )
        for token in tokens
    ]


def finite(logprob: float) -> float:
    """A logprob that JSON can hold."""
    return max(logprob, LOWEST_LOGPROB)
