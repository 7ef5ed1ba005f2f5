"""Scores the prompt tokens of a row, in pieces that bound the logits held at a time."""

from __future__ import annotations

from collections.abc import Callable

import mlx.core as mx

from vllm_mlx.core.steps import Logprob, RowFault
from vllm_mlx.runners.base import Row, StepResult
from vllm_mlx.sampling.logprobs import prompt_logprobs

_PIECE_BYTES = 64 * 2**20


def score_prompt(
    row: Row, states: mx.array, result: StepResult, *, logits: Callable[[mx.array], mx.array], vocab: int
) -> None:
    """Put the log-probabilities of the prompt tokens that follow the row's positions into the result.

    Args:
        states: (1, L, width), one for each of the row's tokens.
        logits: turns states into float32 logits (1, l, vocab).
    """
    if row.prompt_logprobs is None:
        return
    targets = list(row.token_ids[1:])
    if row.next_prompt_id is not None:
        targets.append(row.next_prompt_id)
    found: list[Logprob] = []
    size = max(1, _PIECE_BYTES // (4 * vocab))
    for first in range(0, len(targets), size):
        wanted = targets[first : first + size]
        piece = prompt_logprobs(
            logits(states[:, first : first + len(wanted)])[0], wanted, row.prompt_logprobs
        )
        if isinstance(piece, RowFault):
            result.failed[row.seq_id] = piece.reason
            return
        found += piece
    result.prompt_logprobs[row.seq_id] = found
