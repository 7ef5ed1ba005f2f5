"""A step while it is being planned: who takes part with how many tokens, and the rows that come of it."""

from __future__ import annotations

from vllm_mlx.engine.sequence import Sequence
from vllm_mlx.runners.base import UNREAD, Row, RowSampling, StepPlan


class Draft:
    """Shares of one step under one token budget."""

    def __init__(self, budget_tokens: int) -> None:
        self.budget_tokens = budget_tokens
        self._shares: dict[Sequence, int] = {}

    def __len__(self) -> int:
        return len(self._shares)

    def add(self, seq: Sequence, num_tokens: int) -> None:
        """Let a sequence compute its next `num_tokens` tokens."""
        self._shares[seq] = num_tokens
        self.budget_tokens -= num_tokens

    def drop(self, seq: Sequence) -> None:
        """Take a sequence out again, if it is in."""
        self.budget_tokens += self._shares.pop(seq, 0)

    @property
    def sequences(self) -> tuple[Sequence, ...]:
        """Those who take part, in the order in which they were added."""
        return tuple(self._shares)

    def plan(self, block_size: int) -> StepPlan:
        """The rows, in the same order."""
        return StepPlan(tuple([_row(seq, share, block_size) for seq, share in self._shares.items()]))


def _row(seq: Sequence, share: int, block_size: int) -> Row:
    start = seq.num_submitted
    stop = start + share
    request = seq.state.request
    reports = start < seq.num_prompt and seq.reports_prompt
    samples = stop == seq.num_tokens and seq.state.max_output > 0
    return Row(
        seq_id=seq.seq_id,
        token_ids=tuple(seq.token_ids[start:stop]) or (UNREAD,),
        start=start,
        block_ids=tuple(seq.table.block_ids[: -(-stop // block_size)]),
        sampling=_sampling(seq) if samples else None,
        prompt_logprobs=request.sampling.prompt_logprobs if reports else None,
        next_prompt_id=request.prompt_ids[stop] if reports and stop < seq.num_prompt else None,
    )


def _sampling(seq: Sequence) -> RowSampling:
    request, gate = seq.state.request, seq.gate
    too_early_to_end = len(seq.output_ids) + seq.num_unread < request.sampling.min_tokens
    banned_ids = seq.state.end_ids if too_early_to_end else ()
    waits = gate is not None and (gate.binds or gate.waits(seq.num_unread))
    if gate is not None and not gate.binds:
        banned_ids += gate.banned_ids
    return RowSampling(
        params=request.sampling,
        seed=request.seed,
        choice=seq.choice,
        prompt_ids=request.prompt_ids,
        output_ids=seq.output_ids,
        banned_ids=banned_ids,
        num_unread=seq.num_unread,
        waits=waits,
    )
