"""Drives a runner without a scheduler: deals blocks, cuts chunks, keeps tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import mlx.core as mx

from vllm_mlx.core.sampling import NEUTRAL
from vllm_mlx.runners.base import Row, RowSampling, Runner, SampledToken, StepPlan, StepResult
from vllm_mlx.sampling.masks import RowMask


@dataclass
class Greedy:
    """The likeliest tokens."""

    token_ids: mx.array
    redrawn: tuple[int, ...] = ()

    def submit(self) -> None:
        """They are computed when they are read."""

    def peek(self) -> list[int | None]:
        return list(self.token_ids.tolist())

    def read(self) -> list[SampledToken]:
        return [SampledToken(token) for token in self.token_ids.tolist()]


class GreedySampler:
    """Takes the likeliest token and keeps the logits it saw."""

    def __init__(self) -> None:
        self.seen: list[mx.array] = []

    def prepare(
        self,
        rows: Sequence[RowSampling],
        unread: mx.array | None = None,
        seq_ids: Sequence[int] | None = None,
    ) -> int:
        return len(rows)

    def sample_lazy(self, logits: mx.array, prepared: int, mask: RowMask | None = None) -> Greedy:
        assert logits.shape[0] == prepared
        assert mask is None
        mx.eval(logits)
        self.seen += list(logits)
        return Greedy(mx.argmax(logits, axis=-1))

    def forget(self, seq_ids: Sequence[int]) -> None:
        """Nothing is kept for a sequence."""


@dataclass
class Text:
    """A sequence in the making."""

    seq_id: int
    prompt_ids: list[int]
    block_ids: list[int]
    output_ids: list[int] = field(default_factory=list)
    logits: list[mx.array] = field(default_factory=list)
    computed: int = 0

    @property
    def token_ids(self) -> list[int]:
        return self.prompt_ids + self.output_ids


class Driver:
    """Plans steps by hand over one runner."""

    def __init__(self, runner: Runner, sampler: GreedySampler) -> None:
        self.runner = runner
        self._sampler = sampler
        self._free = list(range(1, runner.capabilities.num_blocks))
        self._next_id = 0

    def start(self, prompt_ids: Sequence[int], *, shared: Sequence[int] = (), computed: int = 0) -> Text:
        """A new sequence, maybe upon blocks that another one filled."""
        self._next_id += 1
        return Text(self._next_id, list(prompt_ids), list(shared), computed=computed)

    def row(self, text: Text, tokens: int) -> Row:
        """The sequence's next so many tokens, with blocks for them."""
        size = self.runner.capabilities.block_size
        end = text.computed + tokens
        while len(text.block_ids) * size < end:
            text.block_ids.append(self._free.pop(0))
        last = end == len(text.token_ids)
        sampling = RowSampling(NEUTRAL, 0, 0, text.prompt_ids, text.output_ids) if last else None
        ids = text.token_ids[text.computed : end]
        return Row(text.seq_id, ids, text.computed, text.block_ids, sampling)

    def step(self, *shares: tuple[Text, int]) -> StepResult:
        """One step over (sequence, tokens to compute); sampled tokens are appended."""
        rows = tuple(self.row(text, tokens) for text, tokens in shares)
        before = len(self._sampler.seen)
        result = self.runner.execute(StepPlan(rows))
        order = [row.seq_id for row in sorted(rows, key=lambda row: len(row.token_ids) > 1) if row.sampling]
        seen = dict(zip(order, self._sampler.seen[before:], strict=True))
        for text, tokens in shares:
            text.computed += tokens
            if text.seq_id in result.sampled:
                text.output_ids.append(result.sampled[text.seq_id].token_id)
                text.logits.append(seen[text.seq_id])
        return result

    def prefill(self, text: Text, chunks: Sequence[int] = ()) -> None:
        """Compute the prompt, in these chunks and then the rest."""
        for chunk in chunks:
            self.step((text, chunk))
        rest = len(text.prompt_ids) - text.computed
        if rest:
            self.step((text, rest))

    def decode(self, texts: Sequence[Text], tokens: int) -> None:
        """Generate so many tokens for each, together where the runner can."""
        width = self.runner.capabilities.max_rows
        for _ in range(tokens):
            for i in range(0, len(texts), width):
                self.step(*((text, 1) for text in texts[i : i + width]))
