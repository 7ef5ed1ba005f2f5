"""Runs one sequence at a time with the model's own cache: for models whose caches cannot page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import mlx.core as mx

from vllm_mlx.runners.base import Capabilities, Row, Runner, StepPlan, StepResult, do_nothing
from vllm_mlx.runners.prompt_logprobs import score_prompt
from vllm_mlx.runners.text import Sampler, Sampling, SubmittedStep


@dataclass(slots=True)
class _Held:
    """A sequence's cache, and the tokens that are in it."""

    cache: list[Any]
    token_ids: list[int] = field(default_factory=list)


class SequentialRunner(Runner):
    """A `Runner` of one row a step, without blocks: the block table of a row is not looked at.

    A forward is computed while it is submitted; another step may not be submitted before it is read.

    A row that starts before the end of what was computed (a step that is tried again) finds its cache
    trimmed, or, where the cache cannot forget, computed anew.

    Args:
        new_cache: makes the model's own cache, empty.
    """

    def __init__(
        self, model: Any, new_cache: Callable[[], list[Any]], sampler: Sampler, capabilities: Capabilities
    ) -> None:
        self._model = model
        self._new_cache = new_cache
        self._sampler = sampler
        self._capabilities = capabilities
        self._held: dict[int, _Held] = {}

    @property
    def capabilities(self) -> Capabilities:
        return self._capabilities

    def submit(self, plan: StepPlan, starting: Callable[[], None] = do_nothing) -> SubmittedStep:
        """Compute the row; see `Runner`."""
        result = StepResult()
        (row,) = plan.rows
        logits = self._compute(row)
        score_prompt(
            row,
            logits,
            result,
            logits=lambda piece: piece.astype(mx.float32),
            vocab=self._capabilities.vocab_size,
        )
        if row.sampling is None:
            return SubmittedStep(result)
        step = SubmittedStep(result, Sampling(self._sampler, logits[:, -1].astype(mx.float32), [row]))
        if not plan.waits:
            step.sample()
        return step

    def forget(self, seq_ids: Sequence[int]) -> None:
        """Drop the caches of these sequences, and what the sampler keeps for them."""
        self._sampler.forget(seq_ids)
        for seq_id in seq_ids:
            self._held.pop(seq_id, None)

    def close(self) -> None:
        """Drop the model and all caches, and give their memory back."""
        self._held.clear()
        self._model = None
        mx.clear_cache()

    def _compute(self, row: Row) -> mx.array:
        held = self._rewound(row.seq_id, row.start)
        # The last token runs alone: logits of a whole chunk are never computed unless they are asked for.
        body = list(row.token_ids)
        if row.prompt_logprobs is None and row.sampling is not None and len(body) > 1:
            self._extend(held, body[:-1])
            body = body[-1:]
        return self._extend(held, body)

    def _extend(self, held: _Held, token_ids: list[int]) -> mx.array:
        logits: mx.array = self._model(mx.array([token_ids]), cache=held.cache)
        mx.eval([layer.state for layer in held.cache])
        held.token_ids += token_ids
        return logits

    def _rewound(self, seq_id: int, start: int) -> _Held:
        """The sequence's cache with exactly its first `start` tokens in it."""
        held = self._held.get(seq_id)
        if held is not None and len(held.token_ids) == start:
            return held
        known = held.token_ids[:start] if held is not None else []
        if len(known) < start:
            raise ValueError(
                f"sequence {seq_id} starts at {start}, but only {len(known)} tokens are computed"
            )
        if held is not None and start and all(layer.is_trimmable() for layer in held.cache):
            for layer in held.cache:
                layer.trim(len(held.token_ids) - start)
            held.token_ids = known
            return held
        held = self._held[seq_id] = _Held(self._new_cache())
        if known:
            self._extend(held, known)
        return held
