"""Steps that are submitted and not applied yet: which sequences they refer to, and who may leave when."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator

from vllm_mlx.engine.draft import Draft
from vllm_mlx.engine.sequence import Sequence, Status
from vllm_mlx.runners.base import Row, StepPlan
from vllm_mlx.structured.gate import Gate

_Members = tuple[Sequence, ...]


class Flight:
    """The steps in flight, oldest first.

    Args:
        on_left: told a sequence that ended once no step in flight refers to it; it still holds its blocks.
    """

    def __init__(self, on_left: Callable[[Sequence], None]) -> None:
        self._on_left = on_left
        self._steps: deque[tuple[StepPlan, _Members]] = deque()
        self._leaving: set[Sequence] = set()

    def __len__(self) -> int:
        return len(self._steps)

    @property
    def leaving(self) -> frozenset[Sequence]:
        """Sequences that ended and are part of a step in flight."""
        return frozenset(self._leaving)

    def depart(self, draft: Draft, block_size: int) -> StepPlan:
        """The rows of a draft; its sequences count them as on their way."""
        plan = draft.plan(block_size)
        for row, seq in zip(plan.rows, draft.sequences, strict=True):
            seq.depart(len(row.token_ids), samples=row.sampling is not None)
        self._steps.append((plan, draft.sequences))
        return plan

    def gates(self, plan: StepPlan) -> dict[int, Gate]:
        """Of the newest step, all earlier ones having landed: the gates of those whose results are of use."""
        return {
            row.seq_id: seq.gate
            for row, seq in self._newest(plan)
            if seq.gate is not None and seq.status is Status.RUNNING and not seq.num_void
        }

    def unread_gates(self, plan: StepPlan) -> dict[int, Gate]:
        """Of the newest step, the gates that must still hear of a token of the step before."""
        return {
            row.seq_id: seq.gate for row, seq in self._newest(plan) if seq.gate is not None and row.unread
        }

    def land(self, plan: StepPlan) -> Iterator[tuple[Row, Sequence]]:
        """The rows of the oldest step whose results are of use, each with its sequence."""
        if not self._steps or self._steps[0][0] is not plan:
            raise ValueError("steps are applied in the order in which they were planned")
        _, members = self._steps.popleft()
        for row, seq in zip(plan.rows, members, strict=True):
            seq.steps_in_flight -= 1
            if seq.status is Status.ENDED:
                self.leave(seq)
            elif seq.num_void:
                seq.num_void -= 1
            else:
                seq.arrive(len(row.token_ids), sampled=row.sampling is not None)
                yield row, seq

    def retract(self) -> None:
        """Count nothing as on its way any more."""
        members = dict.fromkeys(seq for _, members in self._steps for seq in members)
        self._steps.clear()
        for seq in members:
            seq.steps_in_flight = 0
            seq.void()
            if seq.status is Status.ENDED:
                self.leave(seq)

    def _newest(self, plan: StepPlan) -> Iterator[tuple[Row, Sequence]]:
        if not self._steps or self._steps[-1][0] is not plan:
            raise ValueError("this is not the newest step in flight")
        return zip(plan.rows, self._steps[-1][1], strict=True)

    def leave(self, seq: Sequence) -> None:
        """A sequence that ended leaves with the last step that refers to it."""
        if seq.steps_in_flight:
            self._leaving.add(seq)
        else:
            self._leaving.discard(seq)
            self._on_left(seq)

    def check(self, running: set[Sequence]) -> None:
        """Raise AssertionError if the counts do not agree with the steps, or a step lost a block."""
        parts = Counter(seq for _, members in self._steps for seq in members)
        if self._leaving != {seq for seq in parts if seq.status is Status.ENDED}:
            raise AssertionError("those who leave differ from those who ended in flight")
        if not parts.keys() <= running | self._leaving:
            raise AssertionError("a sequence in flight neither runs nor leaves")
        if any(seq.steps_in_flight != parts[seq] for seq in running | self._leaving):
            raise AssertionError("a sequence miscounts its steps in flight")
        for plan, members in self._steps:
            for row, seq in zip(plan.rows, members, strict=True):
                if tuple(seq.table.block_ids[: len(row.block_ids)]) != row.block_ids:
                    raise AssertionError("a step in flight refers to a block that its sequence does not hold")
