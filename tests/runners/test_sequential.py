"""The runner for models that cannot page: right, and as patient as the port asks."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tests.fakes.families import COMMON, SEQUENTIAL, VOCAB
from tests.fakes.steps import Driver, GreedySampler

from vllm_mlx.config import CacheConfig, EngineConfig, ModelConfig
from vllm_mlx.runners.base import Row, StepPlan
from vllm_mlx.runners.build import build_runner

FOLDER = Callable[..., Path]


def driver_of(folder: Path) -> Driver:
    sampler = GreedySampler()
    runner = build_runner(
        folder, ModelConfig(), EngineConfig(), CacheConfig(block_size=8), new_sampler=lambda vocab: sampler
    )
    return Driver(runner, sampler)


@pytest.mark.parametrize("family", sorted(COMMON & SEQUENTIAL.keys()))
def test_a_step_tried_again_gives_the_same_token(family: str, model_folder: FOLDER) -> None:
    driver = driver_of(model_folder(family))
    text = driver.start(np.random.default_rng(3).integers(0, VOCAB, 9).tolist())
    first = driver.runner.execute(StepPlan((driver.row(text, 9),)))
    assert driver.runner.execute(StepPlan((driver.row(text, 9),))) == first
    driver.prefill(text)
    for _ in range(3):
        step = StepPlan((driver.row(text, 1),))
        assert driver.runner.execute(step) == driver.runner.execute(step)
        driver.step((text, 1))


def test_a_forgotten_sequence_cannot_go_on_by_mistake(model_folder: FOLDER) -> None:
    driver = driver_of(model_folder("mamba2"))
    text = driver.start([1, 2, 3])
    driver.prefill(text)
    driver.runner.forget([text.seq_id])
    with pytest.raises(ValueError, match="starts at 3"):
        driver.runner.execute(StepPlan((Row(text.seq_id, [4], 3, [1]),)))
