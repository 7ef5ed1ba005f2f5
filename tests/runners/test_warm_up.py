"""The steps that are computed before anyone waits: within the limits, of the shapes in use, and forgotten."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest
from tests.fakes.runner import FakeRunner
from tests.fakes.steps import Driver, GreedySampler
from tests.runners.test_text import runner_of

from vllm_mlx.runners.forward import BUCKETED, EXACT, PLANNED
from vllm_mlx.runners.kernels.paged_attention import gather_attention
from vllm_mlx.runners.warm_up import warm_up

FOLDER = Callable[..., Path]


@pytest.mark.parametrize(
    ("limits", "decodes"),
    [
        ({"num_blocks": 300}, BUCKETED.row_buckets),
        ({"num_blocks": 300, "max_rows": 3}, (1, 2, 3)),
        ({"num_blocks": 6, "max_rows": 16}, (1, 2, 4, 5)),  # more rows than have a block
        ({"num_blocks": 2, "max_rows": 1}, (1,)),
        ({"num_blocks": 300, "max_model_len": 100}, BUCKETED.row_buckets),
        ({"num_blocks": 300, "max_model_len": 16, "block_size": 16}, BUCKETED.row_buckets),
        ({"num_blocks": 300, "block_size": 1}, BUCKETED.row_buckets),
    ],
    ids=str,
)
def test_steps_stay_within_the_limits_and_are_forgotten(limits: dict[str, int], decodes: tuple[int]) -> None:
    runner = FakeRunner(**limits)  # type: ignore[arg-type]
    warm_up(runner, BUCKETED)  # the fake insists on rows and blocks within the pool
    assert all(len(row.token_ids) <= runner.max_model_len for plan in runner.plans for row in plan.rows)
    found = [len(plan.rows) for plan in runner.plans if len(plan.rows[0].token_ids) == 1]
    assert found == list(decodes)
    assert set(runner.forgotten) == {row.seq_id for plan in runner.plans for row in plan.rows}
    # Ids that no request will have.
    assert max(runner.forgotten) < 0


def test_whatever_shape_a_prompt_has_its_attention_is_planned() -> None:
    runner = FakeRunner(num_blocks=2000, block_size=16, chunk_tokens=2048, max_model_len=20_000)
    warm_up(runner, PLANNED)
    planned = set()
    for plan in runner.plans:
        row = plan.rows[0]
        planned.add((len(plan.rows), len(row.token_ids), row.start and row.start + len(row.token_ids)))
    for tokens in range(2, runner.chunk_tokens + 1):
        length = PLANNED.chunk(tokens)
        for count in range(1, 65):
            assert {(piece, length, 0) for piece in PLANNED.pieces(count, length)} <= planned
        padded = PLANNED.chunk(tokens, history=True)
        for start in range(1, 16_384 - padded, 97):
            assert (1, padded, PLANNED.visible(start + padded)) in planned


def test_nothing_is_computed_where_shapes_are_not_padded() -> None:
    runner = FakeRunner()
    warm_up(runner, EXACT)
    assert not runner.plans


class Counting(GreedySampler):
    """Notes for whom a sampler would keep something."""

    def __init__(self) -> None:
        super().__init__()
        self.known: set[int] = set()

    def prepare(self, rows: Any, unread: mx.array | None = None, seq_ids: Sequence[int] | None = None) -> int:
        self.known |= set(seq_ids or ())
        return super().prepare(rows, unread, seq_ids)

    def forget(self, seq_ids: Sequence[int]) -> None:
        self.known -= set(seq_ids)


def test_a_warm_runner_keeps_nothing_and_says_what_a_cold_one_says(model_folder: FOLDER) -> None:
    texts = []
    for warm in (False, True):
        sampler = Counting()
        runner = runner_of(model_folder("qwen3"), shapes=PLANNED, attention=gather_attention, sampler=sampler)
        if warm:
            warm_up(runner, PLANNED)
            assert len(sampler.seen) > 20
            assert not sampler.known
            sampler.seen.clear()
        driver = Driver(runner, sampler)
        started = [driver.start(list(range(first, first + 9))) for first in (1, 60)]
        for text in started:
            driver.prefill(text)
        driver.decode(started, 6)
        texts.append([text.output_ids for text in started])
    assert texts[0] == texts[1]
