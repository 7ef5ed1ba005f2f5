"""The port between deciding and computing: a plan of rows goes in, sampled tokens come out.

A step is submitted and read; the next one may be submitted in between, upon tokens that are not read yet.
Plain Python values only, so that the scheduler and its tests need no array library.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass, field
from typing import Protocol

from vllm_mlx.core.stats import ModelPath
from vllm_mlx.core.steps import Logprob, RowSampling, SampledToken, TokenMask

__all__ = [
    "UNREAD",
    "Capabilities",
    "Logprob",
    "PendingStep",
    "Row",
    "RowSampling",
    "Runner",
    "RunnerDied",
    "SampledToken",
    "StepPlan",
    "StepResult",
    "TokenMask",
]

UNREAD = 0
"""Stands in a row for the token that the step before sampled; any id of the vocabulary would do."""


STEP_TOKENS, CHUNK_TOKENS = 2048, 512
"""What a step and one row of it compute at most, where neither the device nor a setting says otherwise."""


@dataclass(frozen=True, slots=True)
class Row:
    """One sequence's share of a step: compute these tokens, and maybe sample the one that follows.

    A decode is a row of one token; a prefill chunk has several.

    Attributes:
        seq_id: stays the same while the sequence lives; never used again.
        token_ids: at least one; of an unread row just one, `UNREAD`.
        start: position of the first of them; everything before it is in the cache already.
        block_ids: block table that covers positions 0 to start + len(token_ids) - 1.
        sampling: set when the token after the last one is to be sampled.
        prompt_logprobs: how many alternatives to report for each of `token_ids` positions' next prompt
            token; None for none. `next_prompt_id` is the prompt token after this chunk, if there is one.
    """

    seq_id: int
    token_ids: SequenceOf[int]
    start: int
    block_ids: SequenceOf[int]
    sampling: RowSampling | None = None
    prompt_logprobs: int | None = None
    next_prompt_id: int | None = None

    @property
    def unread(self) -> bool:
        """Whether its token is the one that the step submitted just before sampled for the sequence."""
        return self.sampling is not None and self.sampling.num_unread > 0


@dataclass(frozen=True, slots=True)
class StepPlan:
    """The rows of one step; no sequence occurs twice."""

    rows: tuple[Row, ...]

    @property
    def waits(self) -> bool:
        """Whether sampling must wait for what some row may sample; see `PendingStep.sample`."""
        return any(row.sampling is not None and row.sampling.waits for row in self.rows)


@dataclass(frozen=True, slots=True)
class StepResult:
    """By sequence id: what was sampled, prompt log-probabilities, and rows whose own fault ended them.

    Attributes:
        redrawn: sequences whose token was settled only when it was read, and differs from the one on the
            device: what the next step, if it was submitted before that, made of them is void.
    """

    sampled: dict[int, SampledToken] = field(default_factory=dict)
    prompt_logprobs: dict[int, list[Logprob]] = field(default_factory=dict)
    failed: dict[int, str] = field(default_factory=dict)
    redrawn: set[int] = field(default_factory=set)


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a loaded model can do, and the pool it has.

    Attributes:
        num_blocks: blocks in the pool, block 0 (scratch, never handed out) included.
        max_rows: rows a step may hold; 1 for a model that runs one sequence at a time.
        prefix_reuse: whether a later sequence may continue from blocks that an earlier one filled.
        overlap: whether `submit` returns while the device computes, so that it pays to submit a step before
            the one before is read.
        step_tokens, chunk_tokens: what a step and a row take at most, if the settings do not say.
    """

    vocab_size: int
    max_model_len: int
    block_size: int
    num_blocks: int
    max_rows: int
    prefix_reuse: bool
    path: ModelPath
    fingerprint: str
    overlap: bool = False
    step_tokens: int = STEP_TOKENS
    chunk_tokens: int = CHUNK_TOKENS


class RunnerDied(Exception):
    """The device or the model is gone: no later step can succeed either."""


def do_nothing() -> None:
    """Where no one wants to hear."""


class PendingStep(Protocol):
    """A step that was submitted."""

    def sample(self, mask: TokenMask | None) -> None:
        """Start sampling, of a plan that waits: once, before it is read and before another is submitted.

        By then the step before has been read, so that what every row may sample is known.

        Args:
            mask: may name sequences that are not in the step.

        Raises:
            RunnerDied, or any other exception: as `Runner.submit`.
        """
        ...

    def peek(self) -> dict[int, int]:
        """Wait for it, and say the tokens that `read` will say, by sequence, as far as they are certain.

        Another thread may ask, while the engine's own submits the next step; nobody may ask or read at the
        same time. Nothing is computed for it.

        Raises:
            Exception: as `read` would, or less.
        """
        ...

    def read(self) -> StepResult:
        """Wait for it. Steps are read once each, in the order in which they were submitted.

        One that waits for `sample` in vain, because the step before it failed, has nothing sampled to tell.

        Raises:
            RunnerDied, or any other exception: as `Runner.submit`.
        """
        ...


class Runner(Protocol):
    """Executes plans on one model. Every call comes from the engine's one thread.

    Steps take effect in the order in which they were submitted. Executing the same row twice gives the same
    result and leaves the same cache: the engine relies on it to find out which row of a failed step is at
    fault, and to compute again what rested on a token that was redrawn.
    """

    @property
    def capabilities(self) -> Capabilities: ...

    def submit(self, plan: StepPlan, starting: Callable[[], None] = do_nothing) -> PendingStep:
        """Start computing every row, forward and sampling; at most one earlier step may be unread.

        Of a plan that waits only the forward; all that it says of its rows is taken in all the same.

        Raises only for faults that it cannot pin to a row.

        Args:
            starting: called once, or not at all, when nothing is left to do but to tell the device. That
                takes milliseconds without Python's lock, in which other threads hold no one up.

        Raises:
            RunnerDied: nothing can be computed any more; ends the engine. After any other exception the
                engine reads what else is pending, and tries the rows one by one.
        """
        ...

    def execute(self, plan: StepPlan, mask: TokenMask | None = None) -> StepResult:
        """Submit, sample and read in one."""
        step = self.submit(plan)
        if plan.waits:
            step.sample(mask)
        return step.read()

    def forget(self, seq_ids: SequenceOf[int]) -> None:
        """These sequences are over (or were preempted) and in no pending step: drop what is kept for them."""
        ...

    def close(self) -> None:
        """Free the model and the pool."""
        ...
