"""Greedy text equals mlx-lm's own loop, token for token, for every family of mlx-lm."""

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from _pytest.mark import ParameterSet
from mlx_lm.generate import generate_step
from tests.fakes.families import COMMON, METAL_ONLY, PAGED, SEQUENTIAL, UNCUT, VOCAB
from tests.fakes.steps import Driver, GreedySampler, Text

from vllm_mlx.config import CacheConfig, EngineConfig, ModelConfig
from vllm_mlx.models.loader import load
from vllm_mlx.runners.base import Runner
from vllm_mlx.runners.build import build_runner

TOKENS = 24
FOLDER = Callable[..., Path]
Record = Callable[[str, object], None]


def marked(families: Iterable[str]) -> list[ParameterSet]:
    """The families as parameters, those that are not for every run marked as slow."""
    metal = pytest.mark.skipif(not mx.metal.is_available(), reason="mlx-lm runs this family on Metal alone")
    return [
        pytest.param(
            family,
            marks=[pytest.mark.slow] * (family not in COMMON) + [metal] * (family in METAL_ONLY),
        )
        for family in families
    ]


paged_families = pytest.mark.parametrize("family", marked(PAGED))
sequential_families = pytest.mark.parametrize("family", marked(SEQUENTIAL))


def build(folder: Path, **model: object) -> tuple[Runner, GreedySampler]:
    sampler = GreedySampler()
    runner = build_runner(
        folder,
        ModelConfig(model=str(folder), **model),  # type: ignore[arg-type]
        EngineConfig(max_num_seqs=8),
        CacheConfig(block_size=8, max_cache_blocks=64),
        new_sampler=lambda vocab: sampler,
    )
    return runner, sampler


def prompt(length: int, seed: int = 0) -> list[int]:
    return np.random.default_rng(seed).integers(0, VOCAB, length).tolist()


@cache
def _own(folder: Path, length: int, seed: int) -> tuple[list[int], list[mx.array]]:
    """mlx-lm's tokens and its normalised logits."""
    model = load(folder).model
    steps = generate_step(mx.array(prompt(length, seed)), model, max_tokens=TOKENS)
    tokens, logprobs = zip(*steps, strict=True)
    return list(tokens), list(logprobs)


def assert_same(text: Text, folder: Path, seed: int = 0) -> None:
    tokens, logprobs = _own(folder, len(text.prompt_ids), seed)
    assert text.output_ids[:TOKENS] == tokens
    assert len(set(tokens)) >= 8
    for ours, theirs in zip(text.logits, logprobs, strict=False):
        # One family forbids ids with -inf.
        difference = mx.where(mx.isinf(theirs), 0.0, ours - mx.logsumexp(ours) - theirs)
        assert mx.abs(difference).max().item() < 1e-4


@paged_families
def test_a_lone_sequence_gets_the_tokens_of_mlx_lm(
    family: str, model_folder: FOLDER, record_property: Record
) -> None:
    folder = model_folder(family)
    runner, sampler = build(folder)
    assert runner.capabilities.path.path == "paged", runner.capabilities.path.reason
    record_property("path", runner.capabilities.path.path)
    record_property("reason", runner.capabilities.path.reason)
    driver = Driver(runner, sampler)
    text = driver.start(prompt(19))
    driver.prefill(text)
    driver.decode([text], TOKENS - 1)
    assert_same(text, folder)


@paged_families
def test_sequences_that_join_and_leave_a_batch_get_their_own_tokens(
    family: str, model_folder: FOLDER
) -> None:
    folder = model_folder(family)
    driver = Driver(*build(folder))
    texts = [driver.start(prompt(length, seed=length)) for length in (5, 19, 33)]
    driver.prefill(texts[0])
    driver.decode(texts[:1], 3)
    driver.prefill(texts[1], chunks=[7])
    # One step decodes the first two and computes a chunk of the third.
    driver.step((texts[0], 1), (texts[1], 1), (texts[2], 13))
    driver.prefill(texts[2])
    driver.decode(texts, 12)
    driver.decode(texts[1:], TOKENS)
    driver.decode(texts[:1], TOKENS)
    for text in texts:
        assert_same(text, folder, seed=len(text.prompt_ids))


@pytest.mark.parametrize("chunks", [[1], [3, 5, 7], [8, 8], [17]])
@paged_families
def test_chunks_of_any_size_change_nothing(family: str, chunks: Sequence[int], model_folder: FOLDER) -> None:
    folder = model_folder(family)
    driver = Driver(*build_once(folder))
    text = driver.start(prompt(19))
    driver.prefill(text, chunks)
    driver.decode([text], 7)
    tokens, _ = _own(folder, 19, 0)
    assert text.output_ids == tokens[:8]


build_once = cache(build)


@paged_families
def test_a_shared_prefix_is_read_where_it_lies(family: str, model_folder: FOLDER) -> None:
    folder = model_folder(family)
    driver = Driver(*build(folder))
    first = driver.start(prompt(33, seed=33))
    driver.prefill(first)
    # The first two blocks hold 16 tokens that the second prompt begins with as well.
    second = driver.start(prompt(33, seed=33), shared=first.block_ids[:2], computed=16)
    driver.prefill(second)
    driver.decode([first, second], TOKENS - 1)
    assert first.block_ids[2:] != second.block_ids[2:]
    for text in (first, second):
        assert_same(text, folder, seed=33)


@paged_families
def test_a_wrong_block_shows_so_these_tests_can_fail(family: str, model_folder: FOLDER) -> None:
    folder = model_folder(family)
    driver = Driver(*build(folder))
    text = driver.start(prompt(19))
    driver.prefill(text)
    # A block that nothing has written holds zeros. (Not the oldest one: a window has passed that by.)
    text.block_ids[1] = 60
    driver.decode([text], TOKENS - 1)
    tokens, _ = _own(folder, 19, 0)
    assert text.output_ids != tokens


@sequential_families
def test_a_model_that_cannot_page_runs_alone_and_says_why(
    family: str, model_folder: FOLDER, record_property: Record
) -> None:
    folder = model_folder(family)
    runner, sampler = build(folder)
    assert runner.capabilities.path.path == "sequential"
    why = "depend on how a prompt is cut" if family in UNCUT else "cannot be paged"
    assert why in runner.capabilities.path.reason
    record_property("path", runner.capabilities.path.path)
    record_property("reason", runner.capabilities.path.reason)
    assert runner.capabilities.max_rows == 1
    assert not runner.capabilities.prefix_reuse
    driver = Driver(runner, sampler)
    texts = [driver.start(prompt(length, seed=length)) for length in (5, 19)]
    for text in texts:
        driver.prefill(text, chunks=[] if family in UNCUT else [3])
    driver.decode(texts, TOKENS - 1)
    for text in texts:
        assert_same(text, folder, seed=len(text.prompt_ids))
