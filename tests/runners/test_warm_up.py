"""The steps that are computed before anyone waits: within the limits, of the shapes in use, and forgotten."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.families import VOCAB
from tests.fakes.runner import FakeRunner
from tests.fakes.steps import Driver, GreedySampler
from tests.runners.test_text import runner_of

from vllm_mlx.runners.forward import BUCKETED, EXACT, PLANNED
from vllm_mlx.runners.kernels.paged_attention import gather_attention
from vllm_mlx.runners.warm_up import warm_up
from vllm_mlx.sampling.batch import Sampler

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


def test_prompts_come_alone_and_together() -> None:
    runner = FakeRunner(num_blocks=300)
    warm_up(runner, PLANNED)
    prompts = {(len(plan.rows), len(plan.rows[0].token_ids)) for plan in runner.plans}
    assert {count for count, tokens in prompts if tokens > 1} == {1, 2, 4, 8}
    assert {tokens for count, tokens in prompts if count == 1} == {1, 32, 64, 128, 256, 512}


def test_nothing_is_computed_where_shapes_are_not_padded() -> None:
    runner = FakeRunner()
    warm_up(runner, EXACT)
    assert not runner.plans


class Counting(Sampler):
    """Knows for whom it keeps something."""

    def __init__(self) -> None:
        super().__init__(VOCAB)
        self.known: set[int] = set()
        self.steps = 0

    def prepare(
        self, rows: Any, unread: Any = None, seq_ids: Sequence[int] | None = None, **options: Any
    ) -> Any:
        self.known |= set(seq_ids or ())
        self.steps += 1
        return super().prepare(rows, unread, seq_ids, **options)

    def forget(self, seq_ids: Sequence[int]) -> None:
        self.known -= set(seq_ids)
        super().forget(seq_ids)


@pytest.mark.parametrize("kernel", [False, True])
def test_a_warm_runner_keeps_nothing_and_says_what_a_cold_one_says(
    kernel: bool, model_folder: FOLDER
) -> None:
    folder = model_folder("qwen3")
    attention = gather_attention if kernel else None
    counting = Counting()
    warm_up(runner_of(folder, shapes=PLANNED, attention=attention, sampler=counting), PLANNED)
    assert counting.steps > 5
    assert not counting.known
    texts = []
    for warm in (False, True):
        sampler = GreedySampler()
        runner = runner_of(folder, shapes=PLANNED, attention=attention, sampler=sampler)
        if warm:
            warm_up(runner, PLANNED)
            sampler.seen.clear()
        driver = Driver(runner, sampler)
        started = [driver.start(list(range(first, first + 9))) for first in (1, 60)]
        for text in started:
            driver.prefill(text)
        driver.decode(started, 6)
        texts.append([text.output_ids for text in started])
    assert texts[0] == texts[1]
