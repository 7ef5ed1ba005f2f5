"""Runs steps of many sequences on the paged pool."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import mlx.core as mx

from vllm_mlx.core.steps import RowFault
from vllm_mlx.runners.base import Capabilities, Row, RowSampling, Runner, SampledToken, StepPlan, StepResult
from vllm_mlx.runners.forward import PagedForward
from vllm_mlx.runners.newest import NOTHING_NEW, NewestTokens
from vllm_mlx.runners.prompt_logprobs import score_prompt


class PendingTokens(Protocol):
    """Tokens (N,) on their way, see `PendingSample`."""

    @property
    def token_ids(self) -> mx.array: ...

    def submit(self) -> None: ...

    def read(self) -> list[SampledToken | RowFault]: ...

    @property
    def redrawn(self) -> Sequence[int]:
        """After `read`: rows whose token on the device is not the one that was read."""
        ...


class Sampler(Protocol):
    """Picks a token for each row of logits (N, vocab), float32, or says what is wrong with the row."""

    def sample_lazy(
        self, logits: mx.array, rows: Sequence[RowSampling], unread: mx.array | None = None
    ) -> PendingTokens:
        """Lazy; `unread` (N,) has, for rows that need it, the token before the one to sample."""
        ...


@dataclass(frozen=True, slots=True)
class SubmittedStep:
    """A step on the device: `rows` are those that sample, in the order of the tokens."""

    result: StepResult
    rows: Sequence[Row] = ()
    tokens: PendingTokens | None = None

    def read(self) -> StepResult:
        """Wait for the tokens; see `PendingStep`."""
        if self.tokens is None:
            return self.result
        for row, token in zip(self.rows, self.tokens.read(), strict=True):
            if isinstance(token, RowFault):
                self.result.failed[row.seq_id] = token.reason
            elif row.seq_id not in self.result.failed:
                self.result.sampled[row.seq_id] = token
        self.result.redrawn.update(self.rows[i].seq_id for i in self.tokens.redrawn)
        return self.result


class TextRunner(Runner):
    """A `Runner` over a paged pool.

    `PagedForward` says which rows share a forward. Each is submitted as it is built, then the sampling of all
    rows; only prompt log-probabilities are waited for at once, since they are computed in pieces to bound
    their memory.
    """

    def __init__(self, forward: PagedForward, sampler: Sampler, capabilities: Capabilities) -> None:
        self._forward = forward
        self._sampler = sampler
        self._capabilities = capabilities
        self._newest = NOTHING_NEW

    @property
    def capabilities(self) -> Capabilities:
        return self._capabilities

    def submit(self, plan: StepPlan) -> SubmittedStep:
        """Start computing every row; see `Runner`."""
        result = StepResult()
        last_states: list[mx.array] = []
        sampled: list[Row] = []
        for group in self._forward.groups(plan.rows):
            states = self._forward.states(group, self._newest)
            asking = [i for i, row in enumerate(group) if row.sampling is not None]
            if asking:
                last_states.append(states.last(asking))
                sampled += [group[i] for i in asking]
            scored = [row for row in group if row.prompt_logprobs is not None]
            self._forward.submit(*last_states[-1:], *([states.array] if scored else []))
            for row in scored:
                score_prompt(
                    row,
                    states.of(group.index(row)),
                    result,
                    logits=self._forward.logits,
                    vocab=self._capabilities.vocab_size,
                )
        if not sampled:
            self._newest = NOTHING_NEW
            return SubmittedStep(result)
        joined = last_states[0] if len(last_states) == 1 else mx.concatenate(last_states, axis=0)
        logits = self._forward.logits(joined)[:, -1]
        tokens = start_sampling(self._sampler, logits, sampled, self._newest)
        self._newest = NewestTokens([row.seq_id for row in sampled], tokens.token_ids)
        return SubmittedStep(result, sampled, tokens)

    def forget(self, seq_ids: Sequence[int]) -> None:
        """Nothing is kept for a sequence outside its blocks."""

    def close(self) -> None:
        """Drop the model and the pool, and give their memory back."""
        self._forward.release()
        mx.clear_cache()


def start_sampling(
    sampler: Sampler, logits: mx.array, rows: Sequence[Row], newest: NewestTokens = NOTHING_NEW
) -> PendingTokens:
    """Start sampling logits (N, vocab) for N rows, which all ask."""
    asked = [row.sampling for row in rows if row.sampling is not None]
    tokens = sampler.sample_lazy(logits, asked, newest.of(rows))
    tokens.submit()
    return tokens
