"""Log-probabilities under the model's own distribution, with the likeliest alternatives."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import mlx.core as mx

from vllm_mlx.core.steps import Logprob, RowFault
from vllm_mlx.sampling.ordering import largest

_PIECE_ELEMENTS = 1 << 22
"""Most logits that `prompt_logprobs` handles at a time: 16 MiB as float32."""


@dataclass(frozen=True, slots=True)
class PendingLogprobs:
    """Device arrays of R rows: `chosen` (R,), and the alternatives (R, n), best first; None if n is 0."""

    chosen: mx.array
    top_values: mx.array | None
    top_ids: mx.array | None

    def arrays(self) -> list[mx.array]:
        """What must be evaluated before `read`."""
        return [array for array in (self.chosen, self.top_values, self.top_ids) if array is not None]

    def read(self, token_ids: Sequence[int], wanted: Sequence[int]) -> list[Logprob]:
        """Host values: for each row its token's log-probability and its `wanted` first alternatives."""
        chosen: list[float] = self.chosen.tolist()  # type: ignore[assignment]
        if self.top_values is None or self.top_ids is None:
            return [Logprob(token, value) for token, value in zip(token_ids, chosen, strict=True)]
        values: list[list[float]] = self.top_values.tolist()  # type: ignore[assignment]
        ids: list[list[int]] = self.top_ids.tolist()  # type: ignore[assignment]
        return [
            Logprob(token, value, _alternatives(row_ids[:count], row_values[:count]))
            for token, value, row_ids, row_values, count in zip(
                token_ids, chosen, ids, values, wanted, strict=True
            )
        ]


def logprobs(logits: mx.array, token_ids: mx.array, count: int) -> PendingLogprobs:
    """log_softmax of raw logits at one token a row and at the `count` likeliest; lazy.

    Args:
        logits: (R, V) float32, as the model gave them.
        token_ids: (R,).
        count: alternatives; among equals the lower id comes first.
    """
    normaliser = _log_sum_exp(logits)
    chosen = (mx.take_along_axis(logits, token_ids[:, None], axis=1) - normaliser)[:, 0]
    if count == 0:
        return PendingLogprobs(chosen, None, None)
    values, ids = largest(logits, min(count, logits.shape[1]), stable=True)
    return PendingLogprobs(chosen, values - normaliser, ids)


def prompt_logprobs(logits: mx.array, next_ids: Sequence[int], count: int) -> list[Logprob] | RowFault:
    """The log-probabilities of the tokens that followed in the prompt.

    Args:
        logits: (L, V) raw logits of L positions.
        next_ids: the L tokens that follow them, all within the vocabulary.
        count: alternatives at each position.

    Returns:
        One entry a position, or a fault if the model's logits are not numbers. Evaluates in pieces, so that
        beside `logits` itself only some 16 MiB are held at a time.
    """
    if len(next_ids) != logits.shape[0]:
        raise ValueError("one following token is needed for each position")
    rows = max(1, _PIECE_ELEMENTS // logits.shape[1])
    result: list[Logprob] = []
    for start in range(0, len(next_ids), rows):
        ids = list(next_ids[start : start + rows])
        piece = logprobs(logits[start : start + rows].astype(mx.float32), mx.array(ids), count)
        mx.eval(piece.arrays())
        result += piece.read(ids, [count] * len(ids))
    if any(math.isnan(entry.logprob) for entry in result):
        return RowFault(NOT_NUMBERS)
    return result


_BLOCK = 256

NOT_NUMBERS = "the model computed logits that are not numbers"


def _log_sum_exp(logits: mx.array) -> mx.array:
    """log of the sum of exp over rows, (R, 1).

    Summed in blocks: over 50,000 equal terms `mx.logsumexp` on a CPU is off by 5e-5, this by 1e-6.
    """
    best = mx.max(logits, axis=1, keepdims=True)
    weights = mx.exp(logits - best)
    weights = mx.pad(weights, [(0, 0), (0, -weights.shape[1] % _BLOCK)])
    blocks = mx.sum(weights.reshape(weights.shape[0], -1, _BLOCK), axis=2)
    return best + mx.log(mx.sum(blocks, axis=1, keepdims=True))


def _alternatives(ids: Sequence[int], values: Sequence[float]) -> tuple[tuple[int, float], ...]:
    """Pairs of id and log-probability, without the tokens that the model rules out."""
    return tuple((token, value) for token, value in zip(ids, values, strict=True) if value > -math.inf)
