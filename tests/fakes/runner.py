"""A runner without a model: the next token is a hash of the tokens it finds in its simulated KV pool.

It writes the token ids of a row into (block, offset) slots and reads the whole text back through the row's
block table. A wrong table, a lost block, an illegal share or a premature free thus changes the text.

Steps take effect in the order in which they are submitted, as on a device, but what they sampled is told only
when they are read. Until then no other sequence may write to the blocks that they refer to.
"""

from __future__ import annotations

import hashlib
import struct
import threading
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from vllm_mlx.core.stats import ModelPath
from vllm_mlx.engine.wire import EngineRequest
from vllm_mlx.runners.base import (
    CHUNK_TOKENS,
    STEP_TOKENS,
    Capabilities,
    Logprob,
    Row,
    Runner,
    RunnerDied,
    SampledToken,
    StepPlan,
    StepResult,
    TokenMask,
    do_nothing,
)


class BrokenContract(BaseException):
    """The engine asked for something that the port forbids. No engine code may swallow it."""


def next_token(
    token_ids: Sequence[int], seed: int, choice: int, vocab_size: int, banned_ids: Collection[int] = ()
) -> int:
    """What this "model" says after `token_ids`; never the last id, with which tests mark a prompt."""
    text = struct.pack(f"<{len(token_ids)}I", *token_ids)
    for attempt in range(100_000):
        key = struct.pack("<qqq", seed, choice, attempt)
        token_id = int.from_bytes(hashlib.blake2b(text, digest_size=8, key=key).digest()) % (vocab_size - 1)
        if token_id not in banned_ids:
            return token_id
    raise AssertionError("every id is banned")


def ruled_out(mask: TokenMask | None, seq_id: int, vocab_size: int) -> list[int]:
    """The ids that a mask forbids a sequence."""
    if mask is None or seq_id not in mask.seq_ids:
        return []
    words = mask.bits.tolist()[mask.seq_ids.index(seq_id)]
    return [i for i in range(vocab_size) if not words[i // 32] >> i % 32 & 1]


def token_logprob(before: Sequence[int], token_id: int) -> float:
    """A made-up log-probability that depends on the whole text before the token."""
    return -float(next_token([*before, token_id], 0, 0, 1000)) / 100


def alone(request: EngineRequest, vocab_size: int, choice: int = 0) -> tuple[list[int], str]:
    """Output ids and finish reason of one choice when nothing else is served: the truth for every test."""
    sampling = request.sampling
    end_ids = (*request.eos_ids, *sampling.stop_token_ids)
    output: list[int] = []
    while True:
        banned = end_ids if len(output) < sampling.min_tokens else ()
        output.append(next_token([*request.prompt_ids, *output], request.seed, choice, vocab_size, banned))
        if output[-1] in end_ids:
            return output, "stop"
        if len(output) >= sampling.max_tokens:
            return output, "length"


@dataclass
class FakeStep:
    """A step that was submitted to a `FakeRunner`."""

    runner: FakeRunner
    plan: StepPlan
    result: StepResult
    raises: Exception | None = None
    unsampled: list[Callable[[TokenMask | None], None]] | None = None

    def sample(self, mask: TokenMask | None) -> None:
        if self.unsampled is None:
            raise BrokenContract("this step did not wait, or was sampled already")
        if self.runner.oldest is not self:
            raise BrokenContract("a step is sampled before the one before it was read")
        for draw in self.unsampled:
            draw(mask)
        self.unsampled = None

    def peek(self) -> dict[int, int]:
        if self.unsampled is not None:
            raise BrokenContract("a step is asked for its tokens before it was sampled")
        if self.runner.oldest is not self:
            raise BrokenContract("a step is asked for its tokens out of turn")
        if self.raises is not None:
            raise self.raises
        certain = self.result.sampled.keys() - self.result.redrawn - self.result.failed.keys()
        return {seq_id: self.result.sampled[seq_id].token_id for seq_id in certain}

    def read(self) -> StepResult:
        self.unsampled = None
        self.runner.land(self)
        if self.raises is not None:
            raise self.raises
        return self.result


@dataclass
class FakeRunner(Runner):
    """A `Runner` whose every answer can be foretold with `alone`.

    Attributes:
        fail_on: a row that computes this id is reported as failed.
        raise_on: a step with a row that computes this id raises.
        die_on: a step with a row that computes this id finds the model gone.
        hang_on: a step with a row that computes this id never comes to an end.
        fails_late: the two above come out when the step is read.
        overlap: two steps may be in flight.
        redraws: every so many-th id is settled only when it is read: the device has another one until then.
        plans: every plan it was given.
        forgotten: ids of the sequences it was told to forget, in order.
    """

    overlap_by_default: ClassVar[bool] = False

    vocab_size: int = 97
    block_size: int = 4
    num_blocks: int = 65
    max_rows: int = 64
    max_model_len: int = 4096
    prefix_reuse: bool = True
    fingerprint: str = "fake"
    step_tokens: int = STEP_TOKENS
    chunk_tokens: int = CHUNK_TOKENS
    fail_on: int | None = None
    raise_on: int | None = None
    die_on: int | None = None
    hang_on: int | None = None
    fails_late: bool = False
    overlap: bool = field(default_factory=lambda: FakeRunner.overlap_by_default)
    redraws: int | None = None
    keep_plans: bool = True
    plans: list[StepPlan] = field(default_factory=list)
    forgotten: list[int] = field(default_factory=list)
    closed: bool = False
    _slots: dict[tuple[int, int], int] = field(default_factory=dict)
    _positions: dict[int, int] = field(default_factory=dict)  # where each sequence must go on
    _again: set[tuple[int, int]] = field(default_factory=set)  # where the row after a redrawn token starts
    _rewound: bool = False  # a step failed: sequences may go on from before where they were
    _in_flight: list[FakeStep] = field(default_factory=list)
    _on_device: dict[int, int] = field(default_factory=dict)  # what the last step sampled

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            vocab_size=self.vocab_size,
            max_model_len=self.max_model_len,
            block_size=self.block_size,
            num_blocks=self.num_blocks,
            max_rows=self.max_rows,
            prefix_reuse=self.prefix_reuse,
            path=ModelPath(path="paged", reason="fake"),
            fingerprint=self.fingerprint,
            overlap=self.overlap,
            step_tokens=self.step_tokens,
            chunk_tokens=self.chunk_tokens,
        )

    def submit(self, plan: StepPlan, starting: Callable[[], None] = do_nothing) -> FakeStep:
        starting()
        if self.keep_plans:
            self.plans.append(plan)
        if len(self._in_flight) > self.overlap:
            raise BrokenContract("too many steps in flight")
        if any(step.unsampled is not None for step in self._in_flight):
            raise BrokenContract("a step is submitted before the one before it was sampled")
        self._check(plan)
        token_ids = {row.seq_id: self._token_ids(row) for row in plan.rows}
        error = self._error({token_id for ids in token_ids.values() for token_id in ids})
        if error is not None:
            self._rewound = True
            if not self.fails_late:
                raise error
        for row in plan.rows:  # all writes before any read, as a batch does it
            for i, token_id in enumerate(token_ids[row.seq_id]):
                self._slots[self._slot(row, row.start + i)] = token_id
        self._on_device = {}
        step = FakeStep(self, plan, StepResult(), error)
        draws: list[Callable[[TokenMask | None], None]] = []
        for row in plan.rows:
            self._positions[row.seq_id] = row.start + len(row.token_ids)
            if self.fail_on in token_ids[row.seq_id]:
                step.result.failed[row.seq_id] = "the fake row is bad"
                self._on_device[row.seq_id] = 0
            else:
                draws.append(self._compute(row, step.result))
        self._in_flight.append(step)
        if plan.waits:
            step.unsampled = draws
        else:
            for draw in draws:
                draw(None)
        return step

    @property
    def oldest(self) -> FakeStep | None:
        return self._in_flight[0] if self._in_flight else None

    def land(self, step: FakeStep) -> None:
        if not self._in_flight or self._in_flight[0] is not step:
            raise BrokenContract("steps are read once each, in order")
        del self._in_flight[0]
        for row in step.plan.rows:
            if row.seq_id in step.result.redrawn:
                self._again.add((row.seq_id, row.start + len(row.token_ids)))

    def forget(self, seq_ids: Sequence[int]) -> None:
        if any(row.seq_id in seq_ids for step in self._in_flight for row in step.plan.rows):
            raise BrokenContract("a sequence is forgotten while it is in flight")
        self.forgotten.extend(seq_ids)
        for seq_id in seq_ids:
            self._positions.pop(seq_id, None)

    def close(self) -> None:
        self.closed = True

    def _slot(self, row: Row, position: int) -> tuple[int, int]:
        return row.block_ids[position // self.block_size], position % self.block_size

    def _token_ids(self, row: Row) -> Sequence[int]:
        if not row.unread:
            return row.token_ids
        if row.seq_id not in self._on_device:
            raise BrokenContract("the step before sampled no token for this row")
        return [self._on_device[row.seq_id]]

    def _error(self, token_ids: set[int]) -> Exception | None:
        if self.hang_on in token_ids:
            threading.Event().wait()
        if self.die_on in token_ids:
            return RunnerDied("the fake device is gone")
        if self.raise_on in token_ids:
            return ValueError("the fake model cannot compute this step")
        return None

    def _compute(self, row: Row, result: StepResult) -> Callable[[TokenMask | None], None]:
        """Compute a row; what is returned samples it, upon what the lists of the row say now."""
        stop = row.start + len(row.token_ids)
        seen = [self._slots.get(self._slot(row, position), self.vocab_size) for position in range(stop)]
        if row.prompt_logprobs is not None:
            following = [*row.token_ids[1:], *([] if row.next_prompt_id is None else [row.next_prompt_id])]
            result.prompt_logprobs[row.seq_id] = [
                Logprob(token_id, token_logprob(seen[: row.start + i + 1], token_id))
                for i, token_id in enumerate(following)
            ]
        ask = row.sampling
        if ask is not None:
            known = len(ask.prompt_ids) + len(ask.output_ids)
            if list(ask.prompt_ids) + list(ask.output_ids) != seen[:known] or ask.position != len(seen):
                # The text still comes out, wrong, so that a test sees what a user would see.
                seen.append(self.vocab_size)

        def draw(mask: TokenMask | None) -> None:
            if ask is None:
                return
            banned_ids = {*ask.banned_ids, *ruled_out(mask, row.seq_id, self.vocab_size)}
            if not set(range(self.vocab_size - 1)) - banned_ids:
                result.failed[row.seq_id] = "nothing is allowed"
                self._on_device[row.seq_id] = 0
                return
            token_id = next_token(seen, ask.seed, ask.choice, self.vocab_size, banned_ids)
            logprob = None
            if ask.params.logprobs is not None:
                logprob = Logprob(token_id, token_logprob(seen, token_id))
            result.sampled[row.seq_id] = SampledToken(token_id, logprob)
            self._on_device[row.seq_id] = token_id
            if self.redraws is not None and token_id % self.redraws == 0:
                result.redrawn.add(row.seq_id)
                self._on_device[row.seq_id] = (token_id + 1) % self.vocab_size

        return draw

    def _check(self, plan: StepPlan) -> None:
        if not 1 <= len(plan.rows) <= self.max_rows:
            raise BrokenContract("a plan without rows, or with too many")
        if len({row.seq_id for row in plan.rows}) != len(plan.rows):
            raise BrokenContract("a sequence occurs twice")
        written: set[tuple[int, int]] = set()
        for row in plan.rows:
            stop = row.start + len(row.token_ids)
            if not row.token_ids or len(row.block_ids) != -(-stop // self.block_size):
                raise BrokenContract("no tokens, or a block table of the wrong length")
            if not self._goes_on(row):
                raise BrokenContract("a sequence that was not forgotten goes on elsewhere")
            if not all(0 < block_id < self.num_blocks for block_id in row.block_ids):
                raise BrokenContract("a block outside the pool, or the scratch block")
            slots = {self._slot(row, position) for position in range(row.start, stop)}
            if slots & written:
                raise BrokenContract("two rows write the same slot")
            written |= slots
            self._check_against_flight(row, {block_id for block_id, _ in slots})
        for row in plan.rows:
            if any(self._slot(row, position) in written for position in range(row.start)):
                raise BrokenContract("a row reads what another row writes in the same step")

    def _goes_on(self, row: Row) -> bool:
        expected = self._positions.get(row.seq_id, row.start)
        again = (self._rewound and row.start < expected) or (row.seq_id, row.start) in self._again
        return row.start == expected or again

    def _check_against_flight(self, row: Row, written: set[int]) -> None:
        for step in self._in_flight:
            for other in step.plan.rows:
                if other.seq_id != row.seq_id and written & set(other.block_ids):
                    raise BrokenContract("a row writes to a block that a step in flight refers to")
