"""Runs steps of many sequences on the paged pool."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import mlx.core as mx
import numpy as np

from vllm_mlx.core.steps import RowFault
from vllm_mlx.runners.base import (
    Capabilities,
    Row,
    RowSampling,
    Runner,
    SampledToken,
    StepPlan,
    StepResult,
    TokenMask,
    do_nothing,
)
from vllm_mlx.runners.forward import PagedForward
from vllm_mlx.runners.newest import NOTHING_NEW, NewestTokens
from vllm_mlx.runners.prompt_logprobs import score_prompt
from vllm_mlx.sampling.masks import RowMask


class PendingTokens(Protocol):
    """Tokens (N,) on their way, see `PendingSample`."""

    @property
    def token_ids(self) -> mx.array: ...

    def submit(self) -> None: ...

    def peek(self) -> list[int | None]:
        """Wait on any thread; the tokens that `read` is going to say, None where that is not certain."""
        ...

    def read(self) -> list[SampledToken | RowFault]: ...

    @property
    def redrawn(self) -> Sequence[int]:
        """After `read`: rows whose token on the device is not the one that was read."""
        ...


class Sampler(Protocol):
    """Picks a token for each row of logits (N, vocab), float32, or says what is wrong with the row."""

    def prepare(
        self,
        rows: Sequence[RowSampling],
        unread: mx.array | None = None,
        seq_ids: Sequence[int] | None = None,
    ) -> Any:
        """Take in what the N rows of N sequences ask for.

        Args:
            unread: (N,) the tokens before, where the host has not read them.
        """
        ...

    def sample_lazy(self, logits: mx.array, prepared: Any, mask: RowMask | None = None) -> PendingTokens:
        """Lazy; what was prepared is used once."""
        ...

    def forget(self, seq_ids: Sequence[int]) -> None:
        """Drop what is kept for these sequences."""
        ...


class Sampling:
    """The sampling of some rows, prepared when their step was submitted.

    Args:
        logits: (N, vocab), lazy.
        rows: N of them, all asking.
    """

    def __init__(
        self, sampler: Sampler, logits: mx.array, rows: Sequence[Row], newest: NewestTokens = NOTHING_NEW
    ) -> None:
        asked = [row.sampling for row in rows if row.sampling is not None]
        self.seq_ids = [row.seq_id for row in rows]
        self._sampler = sampler
        self._logits = logits
        self._prepared = sampler.prepare(asked, newest.of(rows), self.seq_ids)

    def start(self, mask: TokenMask | None = None) -> PendingTokens:
        """Start it on the device."""
        tokens = self._sampler.sample_lazy(self._logits, self._prepared, self._row_mask(mask))
        tokens.submit()
        return tokens

    def _row_mask(self, mask: TokenMask | None) -> RowMask | None:
        if mask is None:
            return None
        if list(mask.seq_ids) == self.seq_ids:  # every row, as is usual
            return RowMask(range(len(self.seq_ids)), mask.bits, mask.names)
        places = {seq_id: place for place, seq_id in enumerate(self.seq_ids)}
        here = [(i, places[seq_id]) for i, seq_id in enumerate(mask.seq_ids) if seq_id in places]
        if not here:
            return None
        kept, rows = zip(*here, strict=True)
        bits: Any = mask.bits if len(here) == len(mask.seq_ids) else np.asarray(mask.bits)[list(kept)].data
        return RowMask(rows, bits, [mask.names[i] for i in kept])


class SubmittedStep:
    """A step on the device.

    Args:
        result: what is known of it already.
        sampling: of the rows that sample, if there are any.
        on_sampled: told the tokens once they are on their way.
    """

    def __init__(
        self,
        result: StepResult,
        sampling: Sampling | None = None,
        on_sampled: Callable[[NewestTokens], None] | None = None,
    ) -> None:
        self._result = result
        self._sampling = sampling
        self._on_sampled = on_sampled
        self._tokens: PendingTokens | None = None

    def sample(self, mask: TokenMask | None = None) -> None:
        """Start sampling; see `PendingStep`."""
        if self._sampling is None:
            return
        self._tokens = self._sampling.start(mask)
        if self._on_sampled is not None:
            self._on_sampled(NewestTokens(self._sampling.seq_ids, self._tokens.token_ids))

    def peek(self) -> dict[int, int]:
        """Wait for the tokens that are certain; see `PendingStep`."""
        if self._sampling is None or self._tokens is None:
            return {}
        tokens = zip(self._sampling.seq_ids, self._tokens.peek(), strict=True)
        failed = self._result.failed
        return {seq_id: token for seq_id, token in tokens if token is not None and seq_id not in failed}

    def read(self) -> StepResult:
        """Wait for the tokens; see `PendingStep`."""
        if self._sampling is None or self._tokens is None:
            return self._result
        seq_ids, result = self._sampling.seq_ids, self._result
        for seq_id, token in zip(seq_ids, self._tokens.read(), strict=True):
            if isinstance(token, RowFault):
                result.failed[seq_id] = token.reason
            elif seq_id not in result.failed:
                result.sampled[seq_id] = token
        result.redrawn.update(seq_ids[i] for i in self._tokens.redrawn)
        return result


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

    def submit(self, plan: StepPlan, starting: Callable[[], None] = do_nothing) -> SubmittedStep:
        """Start computing every row; see `Runner`."""
        result = StepResult()
        last_states: list[mx.array] = []
        sampled: list[Row] = []
        unsubmitted: list[mx.array] | None = None  # what is asked for of the group before
        for group in self._forward.groups(plan.rows):
            if unsubmitted is not None:
                self._forward.submit(*unsubmitted)
            states = self._forward.states(group, self._newest)
            asking = [i for i, row in enumerate(group) if row.sampling is not None]
            if asking:
                last_states.append(states.last(asking))
                sampled += [group[i] for i in asking]
            unsubmitted = last_states[-1:] if asking else []
            scored = [row for row in group if row.prompt_logprobs is not None]
            if scored:
                self._forward.submit(*unsubmitted, states.array)
                unsubmitted = None
            for row in scored:
                score_prompt(
                    row,
                    states.of(group.index(row)),
                    result,
                    logits=self._forward.logits,
                    vocab=self._capabilities.vocab_size,
                )
        newest, self._newest = self._newest, NOTHING_NEW
        if not sampled:
            self._forward.submit(*(unsubmitted or ()))
            return SubmittedStep(result)
        joined = last_states[0] if len(last_states) == 1 else mx.concatenate(last_states, axis=0)
        logits = self._forward.logits(joined)[:, -1]
        step = SubmittedStep(result, Sampling(self._sampler, logits, sampled, newest), self._keep_newest)
        starting()
        # The head goes with the sampling: a submission costs the host by its size, too, and that of the
        # forward costs it more (on an H200 0.13 ms for a head that costs 0.09 there).
        self._forward.submit(joined)
        if not plan.waits:
            step.sample()
        return step

    def _keep_newest(self, tokens: NewestTokens) -> None:
        self._newest = tokens

    def forget(self, seq_ids: Sequence[int]) -> None:
        """Outside a sequence's blocks only the sampler keeps something for it."""
        self._sampler.forget(seq_ids)

    def close(self) -> None:
        """Drop the model and the pool, and give their memory back."""
        self._forward.release()
        mx.clear_cache()
