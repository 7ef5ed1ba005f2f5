"""Runs the steps that every server soon needs before anyone waits for them."""

from __future__ import annotations

from collections.abc import Iterator

from vllm_mlx.core.sampling import NEUTRAL
from vllm_mlx.runners.base import Capabilities, Row, RowSampling, Runner, StepPlan
from vllm_mlx.runners.forward import LONGEST_TOGETHER, TOGETHER, Shapes

_FARTHEST = 16_384
"""Tokens of history to which chunks are tried."""


def warm_up(runner: Runner, shapes: Shapes) -> None:
    """Compute decode steps of each number of rows that is padded to, and prompts, into an unused pool.

    Kernels and steps are compiled, and attention is planned, when a shape first comes up: each time a pause
    of 40 ms and more for all who stream. Where shapes are not padded nothing is compiled by shape.
    """
    if not shapes.row_buckets:
        return
    limits = runner.capabilities
    for count, tokens, start in _steps(shapes, limits):
        needed = -(-(start + tokens) // limits.block_size)
        fits = count * needed < limits.num_blocks and start + tokens <= limits.max_model_len
        if fits and count <= limits.max_rows:
            rows = tuple(_row(number, tokens, start, needed) for number in range(count))
            runner.execute(StepPlan(rows))
            runner.forget([row.seq_id for row in rows])


def _steps(shapes: Shapes, limits: Capabilities) -> Iterator[tuple[int, int, int]]:
    """Rows, tokens of each, and tokens before them."""
    longest, most = limits.chunk_tokens, min(limits.max_rows, limits.num_blocks - 1)
    for count in sorted({min(bucket, most) for bucket in shapes.row_buckets}):
        yield count, 1, 0
    if not shapes.planned:
        return
    for tokens in sorted({shapes.chunk(tokens) for tokens in range(2, longest + 1)}):
        for count in TOGETHER if tokens <= LONGEST_TOGETHER else (1,):
            yield count, tokens, 0
    for tokens in sorted({shapes.chunk(tokens, history=True) for tokens in range(2, longest + 1)}):
        for visible in sorted({shapes.visible(visible) for visible in range(tokens + 1, _FARTHEST + 1)}):
            yield 1, tokens, visible - tokens


def _row(number: int, tokens: int, start: int, needed: int) -> Row:
    """One of several rows, each with blocks of its own."""
    blocks = range(1 + number * needed, 1 + (number + 1) * needed)
    sampling = RowSampling(NEUTRAL, 0, 0, (0,) * (start + tokens), ())
    return Row(-1 - number, (0,) * tokens, start, blocks, sampling)
