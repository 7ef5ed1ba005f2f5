"""The whole engine over real models: whatever happens around a request, its text is mlx-lm's own."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mlx_lm.generate import generate_step
from tests.fakes.driver import Driver, make_request
from tests.fakes.families import VOCAB

from vllm_mlx.config import CacheConfig, EngineConfig, ModelConfig
from vllm_mlx.models.loader import load
from vllm_mlx.runners.base import Capabilities, PendingStep, RowSampling, Runner, StepPlan, do_nothing
from vllm_mlx.runners.build import build_runner
from vllm_mlx.sampling import batch

# One with full attention alone, one with windows: the two ways in which blocks are read.
FAMILIES = ["qwen3", "gemma3_text"]
LONGEST = 30
SHARED = np.random.default_rng(7).integers(0, VOCAB, 21).tolist()
PROMPTS = [
    SHARED[:3],
    SHARED,
    [*SHARED, 5],
    [*SHARED[:17], 9, 9, 4],
    [*SHARED, *SHARED, 1],
    np.random.default_rng(8).integers(0, VOCAB, 40).tolist(),
]


@pytest.fixture(scope="module", params=FAMILIES)
def folder(request: pytest.FixtureRequest, model_folder: Callable[..., Path]) -> Path:
    return model_folder(request.param)


class Overlapped(Runner):
    """A runner said to compute while the host goes on, as one on a GPU does."""

    def __init__(self, runner: Runner) -> None:
        self.submitted: list[tuple[int, int]] = []
        self._runner = runner

    @property
    def capabilities(self) -> Capabilities:
        return replace(self._runner.capabilities, overlap=True)

    def submit(self, plan: StepPlan, starting: Callable[[], None] = do_nothing) -> PendingStep:
        self.submitted += [(row.seq_id, row.start) for row in plan.rows]
        return self._runner.submit(plan, starting)

    def forget(self, seq_ids: Sequence[int]) -> None:
        self._runner.forget(seq_ids)


@cache
def runner_of(folder: Path, overlap: bool) -> Runner:
    return Overlapped(runner_of(folder, False)) if overlap else build(folder)


class FromLists(batch.Sampler):
    """Remembers no text: counts what is penalised from the lists at each step."""

    def prepare(
        self,
        rows: Sequence[RowSampling],
        unread: mx.array | None = None,
        seq_ids: Sequence[int] | None = None,
        *,
        full_sort: bool = False,
    ) -> batch.Prepared:
        return super().prepare(rows, unread, full_sort=full_sort)


def build(folder: Path, new_sampler: type[batch.Sampler] = batch.Sampler) -> Runner:
    # 24 blocks of 4 tokens: less than two of the longest prompts need, so that preemption is common.
    return build_runner(
        folder,
        ModelConfig(model=str(folder)),
        EngineConfig(max_num_seqs=8, max_model_len=80),
        CacheConfig(block_size=4, max_cache_blocks=24),
        new_sampler=new_sampler,
    )


@pytest.fixture(params=[False, True], ids=["stepwise", "overlapped"])
def overlap(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@cache
def own_tokens(folder: Path, prompt: tuple[int, ...]) -> list[int]:
    """What mlx-lm's own loop says."""
    steps = generate_step(mx.array(list(prompt)), load(folder).model, max_tokens=LONGEST)
    tokens = [int(token) for token, _ in steps]
    assert len(set(tokens)) >= 8, "a text this dull proves nothing"
    return tokens


arrival = st.fixed_dictionaries(
    {
        "prompt": st.integers(0, len(PROMPTS) - 1),
        "n": st.sampled_from([1, 1, 1, 3]),
        "max_tokens": st.integers(1, LONGEST),
        "priority": st.integers(0, 2),
        "steps_before": st.integers(0, 6),
        "abort_after": st.one_of(st.none(), st.none(), st.integers(0, 25)),
    }
)


@pytest.mark.requirement(58, 59, 60)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    arrivals=st.lists(arrival, min_size=2, max_size=7),
    chunk=st.sampled_from([1, 3, 7, 64]),
    budget=st.sampled_from([4, 9, 64]),
)
def test_joins_leaves_forks_preemption_and_chunks_change_no_text(
    folder: Path, overlap: bool, arrivals: list[dict[str, int]], chunk: int, budget: int
) -> None:
    driver = Driver(
        runner_of(folder, overlap),
        max_num_seqs=4,
        prefill_step_size=chunk,
        max_num_batched_tokens=budget,
    )
    aborts: dict[str, int] = {}
    for i, each in enumerate(arrivals):
        for _ in range(each["steps_before"]):
            step(driver, aborts)
        request = make_request(
            f"r{i}",
            PROMPTS[each["prompt"]],
            max_tokens=each["max_tokens"],
            n=each["n"],
            priority=each["priority"],
            temperature=0.0,
        )
        driver.submit(request)
        if each["abort_after"] is not None:
            aborts[request.request_id] = each["abort_after"]
    for _ in range(3000):
        if not driver.scheduler.has_work:
            break
        step(driver, aborts)
    for i, each in enumerate(arrivals):
        expected = own_tokens(folder, tuple(PROMPTS[each["prompt"]]))[: each["max_tokens"]]
        for choice in range(each["n"]):
            said = driver.ids(f"r{i}", choice)
            assert said == (expected[: len(said)] if each["abort_after"] is not None else expected)
    driver.assert_all_blocks_accounted()


def step(driver: Driver, aborts: dict[str, int]) -> None:
    for request_id, left in list(aborts.items()):
        if left == 0:
            driver.abort(request_id)
            del aborts[request_id]
        else:
            aborts[request_id] = left - 1
    driver.step()


@pytest.mark.requirement(58)
def test_a_seed_gives_one_text_in_any_company_and_choices_differ(folder: Path, overlap: bool) -> None:
    def said(*companions: dict[str, object]) -> list[list[int]]:
        driver = Driver(runner_of(folder, overlap), max_num_seqs=8, prefill_step_size=5)
        hot = {"temperature": 1.0, "top_p": 0.95, "max_tokens": 12}
        driver.submit(make_request("hot", PROMPTS[1], seed=42, n=3, **hot))
        for i, extra in enumerate(companions):
            driver.step()
            driver.submit(make_request(f"other{i}", PROMPTS[i % len(PROMPTS)], seed=i, **extra))
        driver.run()
        return [driver.ids("hot", choice) for choice in range(3)]

    alone = said()
    assert len({tuple(text) for text in alone}) == 3
    assert alone == said(
        {"temperature": 1.5, "max_tokens": 20},
        {"temperature": 0.0, "max_tokens": 3},
        {"temperature": 0.7, "top_k": 5, "repetition_penalty": 1.3, "max_tokens": 20},
    )


@pytest.mark.requirement(58)
def test_a_greedy_text_does_not_change_beside_hot_neighbours(folder: Path, overlap: bool) -> None:
    driver = Driver(runner_of(folder, overlap), max_num_seqs=8)
    for i in range(4):
        driver.submit(make_request(f"hot{i}", PROMPTS[i], seed=i, temperature=1.5, top_p=0.9, max_tokens=20))
        driver.step()
    driver.submit(make_request("cold", PROMPTS[2], temperature=0.0, max_tokens=20))
    driver.run()
    assert driver.ids("cold") == own_tokens(folder, tuple(PROMPTS[2]))[:20]


@pytest.mark.requirement(58)
def test_texts_that_were_preempted_and_resumed_are_right(folder: Path, overlap: bool) -> None:
    driver = Driver(runner_of(folder, overlap), max_num_seqs=4)
    for i in (5, 4, 3, 2):
        driver.submit(make_request(f"r{i}", PROMPTS[i], temperature=0.0, max_tokens=LONGEST))
    driver.run()
    assert driver.scheduler.stats().preemptions > 0
    for i in (5, 4, 3, 2):
        assert driver.ids(f"r{i}") == own_tokens(folder, tuple(PROMPTS[i]))


SETTINGS: list[dict[str, object]] = [
    {"temperature": 0.0},
    {"temperature": 0.9, "top_p": 0.9},
    {"temperature": 30.0, "top_p": 0.99},  # keeps more than the candidates: drawn again when it is read
    {"temperature": 30.0, "top_p": 0.99, "repetition_penalty": 1.4, "frequency_penalty": 0.5},
    {"temperature": 1.0, "repetition_penalty": 1.4, "min_tokens": 6, "n": 2},
    {"temperature": 0.0, "presence_penalty": 1.5, "frequency_penalty": 0.7},
    {"temperature": 1.0, "top_k": 5, "logprobs": 2, "logit_bias": {3: 5.0}, "frequency_penalty": 1.0},
]


@pytest.mark.requirement(58)
def test_neither_overlap_nor_a_remembered_text_changes_any_mix_of_settings(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch, "CANDIDATES", 8)  # so that some tokens are drawn again when they are read
    overlapped = Overlapped(runner_of(folder, False))

    def said(runner: Runner) -> list[object]:
        driver = Driver(runner, max_num_seqs=6, prefill_step_size=9)
        for i in range(14):
            settings = {**SETTINGS[i % len(SETTINGS)], "max_tokens": 5 + 3 * i}
            driver.submit(make_request(f"r{i}", PROMPTS[i % 5], seed=i, eos_ids=(i, 100 + i), **settings))
            driver.step()
        driver.run()
        driver.assert_all_blocks_accounted()
        assert driver.scheduler.stats().preemptions > 0
        outputs = sorted((o for i in range(14) for o in driver.outputs[f"r{i}"]), key=lambda o: o.choice)
        return [(o.request_id, o.choice, o.token_ids, o.logprobs, o.finish) for o in outputs]

    expected = said(build(folder, FromLists))
    assert said(runner_of(folder, False)) == expected
    assert said(overlapped) == expected
    rested_on_a_token_drawn_again = len(overlapped.submitted) - len(set(overlapped.submitted))
    assert rested_on_a_token_drawn_again > 10
