"""Runs the steps that every server soon needs before anyone waits for them."""

from __future__ import annotations

from collections.abc import Iterator

from vllm_mlx.core.sampling import NEUTRAL
from vllm_mlx.runners.base import Row, RowSampling, Runner, StepPlan
from vllm_mlx.runners.forward import Shapes

_PROMPTS = ((1, 32), (1, 64), (1, 128), (1, 256), (1, 512), (2, 128), (2, 256), (4, 128), (4, 256), (8, 128))
"""How many prompts, of how many tokens each."""


def warm_up(runner: Runner, shapes: Shapes) -> None:
    """Compute decode steps of each number of rows that is padded to, and some prompts, into an unused pool.

    Kernels and steps are compiled, and attention is planned, when a shape first comes up: together seconds
    that the first requests would wait for. Where shapes are not padded nothing is compiled by shape.
    """
    if not shapes.row_buckets:
        return
    for plan in _plans(runner, shapes):
        runner.execute(plan)
        runner.forget([row.seq_id for row in plan.rows])


def _plans(runner: Runner, shapes: Shapes) -> Iterator[StepPlan]:
    limits = runner.capabilities
    blocks = range(1, limits.num_blocks)
    for count, tokens in _PROMPTS:
        needed = -(-tokens // limits.block_size)
        if count <= limits.max_rows and needed <= len(blocks) and tokens <= limits.max_model_len:
            yield StepPlan(tuple(_row(i, tokens, blocks[:needed]) for i in range(count)))
    for count in shapes.row_buckets:
        if count <= limits.max_rows:
            yield StepPlan(tuple(_row(i, 1, blocks[:1]) for i in range(count)))


def _row(number: int, tokens: int, block_ids: range) -> Row:
    sampling = RowSampling(NEUTRAL, 0, 0, [], [])
    return Row(-1 - number, (0,) * tokens, 0, block_ids, sampling)
