"""The paged runner: what a step may hold, and what never leaks from one row into another."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from mlx_lm.models.cache import make_prompt_cache
from tests.fakes.families import VOCAB, WINDOW
from tests.fakes.steps import Driver, GreedySampler

from vllm_mlx.core.sampling import NEUTRAL
from vllm_mlx.core.stats import ModelPath
from vllm_mlx.models.loader import load
from vllm_mlx.runners.base import Capabilities, Row, RowSampling, StepPlan
from vllm_mlx.runners.forward import EXACT, Layout, PagedForward, Shapes
from vllm_mlx.runners.kernels.paged_attention import Attention, gather_attention
from vllm_mlx.runners.paged import PagedCache
from vllm_mlx.runners.pool import NewPool, ScatterPool
from vllm_mlx.runners.probe import PagedPlan, probe
from vllm_mlx.runners.text import TextRunner
from vllm_mlx.sampling.batch import Sampler

BLOCK = 8
BLOCKS = 64
FOLDER = Callable[..., Path]


def runner_of(
    folder: Path,
    *,
    shapes: Shapes = EXACT,
    new_pool: NewPool = ScatterPool,
    split: bool = True,
    sampler: object = None,
    attention: Attention | None = None,
    compiled: bool = False,
) -> TextRunner:
    model = load(folder).model
    plan = probe(model, block_size=BLOCK, vocab_size=VOCAB, shapes=shapes, attention=attention)
    assert isinstance(plan, PagedPlan), plan
    caches = [
        PagedCache(
            BLOCKS * BLOCK,
            block_size=BLOCK,
            window=layer.window,
            mask_rank=plan.mask_rank,
            new_pool=new_pool,
            attention=attention or gather_attention,
        )
        for layer in plan.layers
    ]
    for layer_cache, layer in zip(caches, plan.layers, strict=True):
        layer_cache.allocate(layer)
    layout = plan.layout(BLOCK, shapes)
    layout = replace(layout, split=split and plan.split, compiled=compiled and plan.compiled, tail_tokens=16)
    forward = PagedForward(model, caches, layout)
    limits = Capabilities(
        vocab_size=VOCAB,
        max_model_len=512,
        block_size=BLOCK,
        num_blocks=BLOCKS,
        max_rows=8,
        prefix_reuse=True,
        path=ModelPath(path="paged", reason=""),
        fingerprint="",
    )
    return TextRunner(forward, sampler or Sampler(VOCAB), limits)  # type: ignore[arg-type]


def prompt(length: int, seed: int = 0) -> list[int]:
    return np.random.default_rng(seed).integers(0, VOCAB, length).tolist()


def texts_of(folder: Path, **options: object) -> list[list[int]]:
    """Three sequences through joins, chunks and a shared batch."""
    sampler = GreedySampler()
    driver = Driver(runner_of(folder, sampler=sampler, **options), sampler)  # type: ignore[arg-type]
    texts = [driver.start(prompt(length, seed=length)) for length in (5, 2 * WINDOW, 33)]
    driver.prefill(texts[0])
    driver.prefill(texts[1], chunks=[7])
    driver.step((texts[0], 1), (texts[1], 1), (texts[2], 13))
    driver.prefill(texts[2])
    driver.decode(texts, 16)
    return [text.output_ids for text in texts]


@pytest.mark.parametrize("family", ["qwen3", "gemma2", "gemma3_text", "gpt_oss"])
@pytest.mark.parametrize("masked", [False, True])
def test_padding_to_buckets_changes_no_token(family: str, masked: bool, model_folder: FOLDER) -> None:
    folder = model_folder(family)
    padded = Shapes(row_buckets=(1, 4, 8), tokens=16, keys=32, planned=masked)
    assert texts_of(folder, shapes=padded) == texts_of(folder)


@pytest.mark.parametrize("family", ["qwen3", "gemma3_text", "gpt_oss"])
def test_tokens_as_rows_of_the_kernel_changes_no_token(family: str, model_folder: FOLDER) -> None:
    folder = model_folder(family)
    padded = Shapes(row_buckets=(1, 4, 8), tokens=16, keys=32)
    assert texts_of(folder, shapes=padded, attention=gather_attention) == texts_of(folder)


@pytest.mark.parametrize("family", ["qwen3", "gemma3_text"])
def test_a_family_whose_head_does_not_split_gets_the_same_tokens(family: str, model_folder: FOLDER) -> None:
    folder = model_folder(family)
    assert texts_of(folder, split=False) == texts_of(folder)


def test_a_pool_that_grows_keeps_what_it_holds(model_folder: FOLDER) -> None:
    folder = model_folder("qwen3")
    growing = partial(ScatterPool, grow_from=BLOCK)
    assert texts_of(folder, new_pool=growing) == texts_of(folder)


def test_a_step_tried_again_gives_the_same_tokens(model_folder: FOLDER) -> None:
    folder = model_folder("gemma3_text")
    sampler = GreedySampler()
    driver = Driver(runner_of(folder, sampler=sampler), sampler)
    texts = [driver.start(prompt(length, seed=length)) for length in (9, 2 * WINDOW)]
    for text in texts:
        driver.prefill(text)
    for _ in range(8):
        rows = tuple(driver.row(text, 1) for text in texts)
        first = driver.runner.execute(StepPlan(rows))
        alone = [driver.runner.execute(StepPlan((row,))) for row in rows]
        again = driver.runner.execute(StepPlan(rows))
        assert first == again
        assert {key: value for result in alone for key, value in result.sampled.items()} == first.sampled
        sampler.seen.clear()
        driver.step(*((text, 1) for text in texts))


POISON = 7


@pytest.fixture
def poisoned(model_folder: FOLDER, tmp_path: Path) -> Path:
    """A model in which one token's embedding is NaN."""
    source = model_folder("qwen3")
    weights = mx.load(str(source / "model.safetensors"))
    weights["model.embed_tokens.weight"][POISON] = float("nan")
    mx.save_safetensors(str(tmp_path / "model.safetensors"), weights)
    (tmp_path / "config.json").write_text((source / "config.json").read_text())
    return tmp_path


def greedy_row(seq_id: int, token_ids: list[int], start: int, blocks: list[int]) -> Row:
    return Row(seq_id, token_ids, start, blocks, RowSampling(NEUTRAL_GREEDY, 0, 0, token_ids, []))


NEUTRAL_GREEDY = type(NEUTRAL)(
    **{name: getattr(NEUTRAL, name) for name in NEUTRAL.__struct_fields__} | {"temperature": 0.0}
)


def test_a_row_with_broken_numbers_fails_alone_and_leaves_nothing_in_its_blocks(
    model_folder: FOLDER, poisoned: Path
) -> None:
    good = [token for token in prompt(40) if token != POISON][:12]
    healthy = runner_of(model_folder("qwen3"))
    plan = StepPlan((greedy_row(1, good, 0, [1, 2]),))
    expected = healthy.execute(plan).sampled[1]
    follow = StepPlan((greedy_row(1, [expected.token_id], 12, [1, 2]), greedy_row(3, good[:1], 0, [5])))
    expected_next = healthy.execute(follow).sampled

    # The probe would refuse such a model: build the runner on the healthy one's plan.
    model = load(poisoned).model
    caches = [PagedCache(BLOCKS * BLOCK, block_size=BLOCK) for _ in make_prompt_cache(model)]
    forward = PagedForward(model, caches, Layout(block_size=BLOCK, split=True))
    runner = TextRunner(forward, Sampler(VOCAB), healthy.capabilities)
    broken = greedy_row(2, [POISON] * 16, 0, [1, 2])
    assert set(runner.execute(StepPlan((broken,))).failed) == {2}
    # Its blocks go to others: one that fills part of them, one beside it.
    assert runner.execute(plan).sampled == {1: expected}
    assert runner.execute(follow).sampled == expected_next
    both = StepPlan((greedy_row(4, [POISON], 16, [3, 4, 6]), *follow.rows))
    result = runner.execute(both)
    assert set(result.failed) == {4}
    assert result.sampled == expected_next


def test_prompt_logprobs_are_those_of_the_model_whatever_the_chunks(model_folder: FOLDER) -> None:
    folder = model_folder("gemma2")
    ids = prompt(19)
    model = load(folder).model
    logits = model(mx.array([ids]), cache=make_prompt_cache(model))[0].astype(mx.float32)
    expected = np.array(logits - mx.logsumexp(logits, axis=-1, keepdims=True))
    runner = runner_of(folder)
    found = []
    for start, end in ((0, 7), (7, 8), (8, 19)):
        following = ids[end] if end < len(ids) else None
        row = Row(1, ids[start:end], start, [1, 2, 3], None, 3, following)
        found += runner.execute(StepPlan((row,))).prompt_logprobs[1]
    assert [entry.token_id for entry in found] == ids[1:]
    for i, entry in enumerate(found):
        assert entry.logprob == pytest.approx(expected[i, ids[i + 1]], abs=1e-4)
        assert [token for token, _ in entry.top] == np.argsort(-expected[i])[:3].tolist()


def test_an_empty_step_is_nothing(model_folder: FOLDER) -> None:
    result = runner_of(model_folder("qwen3")).execute(StepPlan(()))
    assert not result.sampled
    assert not result.failed
