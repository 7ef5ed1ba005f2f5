"""Counts that health, status and metrics show; snapshots, not live objects."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import msgspec


class CacheStats(msgspec.Struct, frozen=True, kw_only=True):
    """Blocks of the KV pool. free + cached + active = total always holds (the scratch block is not counted).

    Attributes:
        free_blocks: hold nothing of use.
        cached_blocks: referenced by no sequence, kept for a later prefix hit.
        active_blocks: referenced by at least one sequence.
        hit_tokens, query_tokens: prompt tokens found in the cache, and asked for, since the start.
    """

    block_size: int = 0
    total_blocks: int = 0
    free_blocks: int = 0
    cached_blocks: int = 0
    active_blocks: int = 0
    hit_tokens: int = 0
    query_tokens: int = 0
    evicted_blocks: int = 0


class EngineStats(msgspec.Struct, frozen=True, kw_only=True):
    """One engine at one moment; counters run since its start."""

    running: int = 0
    waiting: int = 0
    steps: int = 0
    preemptions: int = 0
    prompt_tokens: int = 0
    generated_tokens: int = 0
    finished_requests: int = 0
    failed_requests: int = 0
    largest_batch: int = 0
    cache: CacheStats = CacheStats()


@dataclass(slots=True)
class Tally:
    """The counters of an engine that runs; see `EngineStats`."""

    steps: int = 0
    preemptions: int = 0
    prompt_tokens: int = 0
    generated_tokens: int = 0
    finished_requests: int = 0
    failed_requests: int = 0
    largest_batch: int = 0

    def stats(self, *, running: int, waiting: int, cache: CacheStats) -> EngineStats:
        """A snapshot."""
        return EngineStats(running=running, waiting=waiting, cache=cache, **asdict(self))


class ModelPath(msgspec.Struct, frozen=True, kw_only=True):
    """How a model is run (`paged` or `sequential`), and why, in words for an operator."""

    path: str
    reason: str
    dtype: str = ""
    device: str = ""
