"""Runs the steps that every server soon needs before anyone waits for them."""

from __future__ import annotations

from collections.abc import Iterator

from vllm_mlx.core.sampling import NEUTRAL
from vllm_mlx.runners.base import Row, RowSampling, Runner, StepPlan
from vllm_mlx.runners.forward import Shapes

_LONGEST = 1024
"""Prompts of up to so many tokens are read beside others of their length."""
_FARTHEST = 16_384
"""Tokens of history to which chunks are tried."""
_TOGETHER = (1, 2, 4, 8)
_LONE = (1,)


def warm_up(runner: Runner, shapes: Shapes) -> None:
    """Compute decode steps of each number of rows that is padded to, and prompts, into an unused pool.

    Kernels and steps are compiled, and attention is planned, when a shape first comes up: each time a pause
    of 40 ms and more for all who stream. Where shapes are not padded nothing is compiled by shape.
    """
    limits = runner.capabilities
    if not shapes.row_buckets:
        return
    for count, tokens, start in _steps(shapes, limits.chunk_tokens):
        blocks = range(1, 1 + -(-(start + tokens) // limits.block_size))
        fits = len(blocks) < limits.num_blocks and start + tokens <= limits.max_model_len
        if fits and count <= limits.max_rows:
            rows = tuple(_row(number, tokens, start, blocks) for number in range(count))
            runner.execute(StepPlan(rows))
            runner.forget([row.seq_id for row in rows])


def _steps(shapes: Shapes, longest: int) -> Iterator[tuple[int, int, int]]:
    """Rows, tokens of each, and tokens before them."""
    for count in shapes.row_buckets:
        yield count, 1, 0
    if not shapes.planned:
        return
    for tokens in sorted({shapes.chunk(tokens) for tokens in range(2, longest + 1)}):
        for count in _TOGETHER if tokens <= _LONGEST else _LONE:
            yield count, tokens, 0
    for tokens in sorted({shapes.chunk(tokens, history=True) for tokens in range(2, longest + 1)}):
        for visible in sorted({shapes.visible(visible) for visible in range(tokens + 1, _FARTHEST + 1)}):
            yield 1, tokens, visible - tokens


def _row(number: int, tokens: int, start: int, block_ids: range) -> Row:
    sampling = RowSampling(NEUTRAL, 0, 0, [], [])
    return Row(-1 - number, (0,) * tokens, start, block_ids, sampling)
