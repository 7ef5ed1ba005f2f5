"""Whether what a scheduler notes in several places agrees; for tests."""

from __future__ import annotations

from collections.abc import Collection, Container, Iterable

from vllm_mlx.engine.policy import rank
from vllm_mlx.engine.sequence import RequestState, Sequence, Status


def check_books(
    states: Collection[RequestState],
    running: set[Sequence],
    waiting: list[Sequence],
    leaving: Container[Sequence],
    computing: Iterable[Sequence],
    num_queued: int,
) -> None:
    """Raise AssertionError unless all sequences are where their status says, and no one else holds blocks.

    Args:
        leaving: those who ended and are part of a step in flight.
        computing: from whom blocks are awaited.
        num_queued: requests of which nothing ever ran.
    """
    standing: dict[Status, set[Sequence]] = {status: set() for status in Status}
    for seq in (seq for state in states for seq in state.sequences):
        standing[seq.status].add(seq)
        if seq.status is not Status.RUNNING and seq.table.block_ids and seq not in leaving:
            raise AssertionError("a sequence that does not run holds blocks")
    if standing[Status.RUNNING] != running:
        raise AssertionError("running sequences differ from those in flight")
    if standing[Status.WAITING] != set(waiting):
        raise AssertionError("waiting sequences differ from those in flight")
    if waiting != sorted(waiting, key=rank):
        raise AssertionError("waiting sequences are out of order")
    if any(owner.status is not Status.RUNNING for owner in computing):
        raise AssertionError("a block is awaited from a sequence that does not run")
    if num_queued != sum(not state.admitted for state in states):
        raise AssertionError("the queue is miscounted")
