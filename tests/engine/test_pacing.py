"""What steps cost is learnt from the steps, and bounds what the next one takes."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fakes.clock import HandClock
from tests.fakes.driver import make_request
from tests.fakes.runner import FakeRunner, FakeStep

from vllm_mlx.config import CacheConfig, EngineConfig
from vllm_mlx.engine.costs import CostModel, Fit, Load
from vllm_mlx.engine.loop import EngineLoop
from vllm_mlx.engine.pacing import Pacer
from vllm_mlx.engine.policy import PATIENCE
from vllm_mlx.runners.base import Row, StepPlan, do_nothing

BLOCK = 16


def step_s(load: Load) -> float:
    """A machine: 5 ms and a little a row to decode; 2 ms a chunk, 0.1 ms a token, more with history."""
    decode_s = 0.005 + 0.0001 * load.decoding
    return decode_s + 0.002 * load.chunks + 1e-4 * load.tokens + 1e-8 * load.keys


class SlowRunner(FakeRunner):
    """Takes the machine's time on a hand-turned clock, while it submits or while it is waited for."""

    def __init__(self, clock: HandClock, *, on_device: bool, **options: int) -> None:
        super().__init__(**options)
        self.clock = clock
        self._host_bound = not on_device

    def submit(self, plan: StepPlan, starting: Callable[[], None] = do_nothing) -> FakeStep:
        if self._host_bound:
            self.clock.advance(step_s(Load.of(plan)))
        return super().submit(plan, starting)

    def land(self, step: FakeStep) -> None:
        if not self._host_bound:
            self.clock.advance(step_s(Load.of(step.plan)))
        super().land(step)


def plan_of(decoding: int, chunk: int = 0, start: int = 0) -> StepPlan:
    rows = [Row(i, (1,), 9, (1,)) for i in range(decoding)]
    return StepPlan((*rows, Row(99, (1,) * chunk, start, (2,))) if chunk else tuple(rows))


def taught(max_itl_ms: float | None) -> Pacer:
    pacer = Pacer(max_itl_ms, BLOCK)
    for decoding, chunk, start in [(4, 0, 0)] * 6 + [(4, n, s) for n in (64, 128, 256) for s in (0, 900)] * 8:
        plan = plan_of(decoding, chunk, start)
        pacer.observe(plan, step_s(Load.of(plan)))
    return pacer


# ---- the model of costs ----


@pytest.mark.parametrize("start", [0, 500, 4000])
def test_the_cost_of_a_chunk_is_learnt_from_noisy_steps(start: int) -> None:
    chance, costs = random.Random(3), CostModel()
    for _ in range(200):
        load = Load(8, 1, chance.choice([32, 64, 128, 256, 512]), 0)
        load = Load(8, 1, load.tokens, load.tokens * chance.choice([0, 500, 2000, 4000]))
        costs.observe(Load(8), step_s(Load(8)) * chance.uniform(0.9, 1.1))
        costs.observe(load, step_s(load) * chance.uniform(0.9, 1.1))
    for tokens in (64, 256):
        chunk = Load(0, 1, tokens, tokens * (start + tokens / 2))
        expected = step_s(chunk) - 0.005
        assert costs.chunk_s(start, tokens) == pytest.approx(expected, rel=0.25)
    assert costs.decode_s(8, 0) == pytest.approx(0.0058, rel=0.1)


def test_the_first_step_of_a_shape_and_single_pauses_teach_little() -> None:
    costs = CostModel()
    costs.observe(Load(4), 3.0)
    costs.observe(Load(4, 1, 64, 2000), 5.0)
    assert costs.decode_s(4, 0) is None
    assert costs.chunk_s(0, 64) is None
    for _ in range(20):
        costs.observe(Load(4), 0.01)
        costs.observe(Load(4, 1, 64, 2000), 0.02)
    costs.observe(Load(4), 3.0)
    costs.observe(Load(4, 1, 64, 2000), 5.0)
    assert costs.decode_s(4, 0) < 0.015
    assert costs.chunk_s(0, 64) < 0.015


def test_a_machine_that_became_slower_is_believed_after_a_while() -> None:
    costs = CostModel()
    for seconds, steps in ((0.01, 20), (0.2, 60)):
        for _ in range(steps):
            costs.observe(Load(4), seconds)
            costs.observe(Load(4, 1, 64, 2000), 3 * seconds)
    assert costs.decode_s(4, 0) == pytest.approx(0.2, rel=0.05)
    assert costs.chunk_s(0, 64) == pytest.approx(0.4, rel=0.1)


def test_rows_with_long_texts_have_a_cost_of_their_own() -> None:
    costs = CostModel()
    for _ in range(9):
        costs.observe(Load(16, longest=100), 0.01)
        costs.observe(Load(17, longest=8000), 0.4)
    assert costs.decode_s(16, 110) == pytest.approx(0.01)
    assert costs.decode_s(16, 300) == pytest.approx(0.01)
    assert costs.decode_s(17, 8100) == pytest.approx(0.4)


def test_a_clock_that_stands_still_teaches_nothing() -> None:
    costs = CostModel()
    for _ in range(5):
        costs.observe(Load(4), 0.0)
    assert costs.decode_s(4, 0) is None


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(*[st.floats(0, 100)] * 3, st.floats(0, 1e3)), min_size=1, max_size=30))
def test_no_weight_of_a_fit_is_negative_whatever_it_saw(samples: list[tuple[float, ...]]) -> None:
    fit = Fit((0.3, 1e-4, 0.03), 0.95)
    for *features, y in samples:
        fit.add(features, y)
    for unit in ((1, 0, 0), (0, 1, 0), (0, 0, 1)):
        weight = fit.predict(unit)
        assert weight >= 0
        assert math.isfinite(weight)


# ---- what a step may take ----


def test_nothing_is_bounded_while_no_one_decodes() -> None:
    assert taught(10.0).step(0, 0).take(0, 4096, whole=False) == 4096


def test_zero_sets_no_bound() -> None:
    assert taught(0).step(4, 10).take(0, 4096, whole=False) == 4096


@pytest.mark.parametrize("limit_ms", [15.0, 20.0, 30.0])
def test_a_chunk_is_as_large_as_the_bound_allows(limit_ms: float) -> None:
    tokens = taught(limit_ms).step(4, 10).take(200, 512, whole=False)
    assert tokens % BLOCK == 0
    load = Load(4, 1, tokens, tokens * (200 + tokens / 2))
    assert 0.4 * limit_ms / 1000 < step_s(load) <= limit_ms / 1000


def test_a_deeper_chunk_is_no_larger() -> None:
    taken = [taught(25.0).step(4, 10).take(start, 512, whole=False) for start in (0, 2000, 8000, 30000)]
    assert taken == sorted(taken, reverse=True)


def test_a_bound_that_cannot_be_kept_still_lets_one_block_through() -> None:
    pace = taught(0.001).step(4, 10)
    assert [pace.take(0, 512, whole=False), pace.take(0, 512, whole=False)] == [BLOCK, 0]
    assert taught(0.001).step(4, 10).take(0, 7, whole=True) == 7


def test_chunks_of_one_step_share_its_time() -> None:
    pace = taught(30.0).step(4, 10)
    taken = [pace.take(0, 64, whole=False) for _ in range(8)]
    assert taken[0] == 64
    load = Load(4, sum(t > 0 for t in taken), sum(taken), 0)
    assert step_s(load) <= 0.03


def test_without_a_setting_the_bound_is_a_multiple_of_a_step_that_only_decodes() -> None:
    tokens = taught(None).step(4, 10).take(0, 512, whole=False)
    assert 1.3 * 0.0054 < step_s(Load(4, 1, tokens, 0)) < 2.5 * 0.0054


def test_without_a_setting_short_prompts_are_packed_into_a_step_that_no_one_notices() -> None:
    pace = taught(None).step(4, 10)
    taken = sum(pace.take(0, 20, whole=True) for _ in range(400))
    assert 0.05 < step_s(Load(4, taken // 20, taken, 0)) <= 0.1


def test_before_anything_is_known_a_bounded_step_takes_little_and_then_at_most_doubles() -> None:
    pacer, sizes = Pacer(1000.0, BLOCK), []
    for _ in range(12):
        sizes.append(pacer.step(4, 10).take(0, 512, whole=False))
        plan = plan_of(4, sizes[-1])
        pacer.observe(plan, step_s(Load.of(plan)))
    assert sizes[0] == 64
    assert sizes[-1] == 512
    assert all(b <= 2 * a for a, b in pairwise(sizes))


# ---- in the engine ----


def served(
    num_blocks: int, limit_ms: float | None, *, on_device: bool = False, **engine: int
) -> tuple[SlowRunner, EngineLoop]:
    clock = HandClock()
    runner = SlowRunner(
        clock, on_device=on_device, num_blocks=num_blocks, block_size=BLOCK, max_model_len=10_000
    )
    config = EngineConfig(max_itl_ms=limit_ms, **engine)
    return runner, EngineLoop(runner, config, CacheConfig(), clock)


@pytest.mark.parametrize("on_device", [False, True])
@pytest.mark.parametrize("limit_ms", [20.0, 40.0, None])
def test_gaps_stay_within_the_bound_while_a_prompt_of_8000_tokens_is_read(
    limit_ms: float | None, on_device: bool
) -> None:
    runner, loop = served(700, limit_ms, on_device=on_device)
    loop.iterate([make_request(f"{i}", [i + 1, 2], max_tokens=600) for i in range(16)])
    for _ in range(30):
        loop.iterate([])
    long = make_request("long", [3] * 8000, max_tokens=3)
    commands, gaps, before = [long], [], runner.clock()
    ended = False
    while not ended:
        outputs = loop.iterate(commands)
        commands = []
        ended = any(o.request_id == "long" for o in outputs)
        if any(o.request_id == "0" for o in outputs):
            gaps.append(runner.clock() - before)
            before = runner.clock()
    bound_s = 2.5 * step_s(Load(16)) if limit_ms is None else limit_ms / 1000
    assert max(gaps) <= 1.1 * bound_s
    assert sum(gaps) / len(gaps) > 0.4 * bound_s
    unbounded_s = step_s(Load(16, 1, 512, 512 * 7000))
    assert max(gaps) < unbounded_s


def test_a_short_prompt_passes_a_long_one_that_is_being_read() -> None:
    _, loop = served(700, 15.0)
    loop.iterate([make_request("talks", max_tokens=900)])
    loop.iterate([make_request("long", [3] * 8000, max_tokens=1)])
    for _ in range(10):
        loop.iterate([])
    told = [o.request_id for o in loop.iterate([make_request("short", [5] * 12, max_tokens=2)])]
    for _ in range(3):
        told += [o.request_id for o in loop.iterate([])]
    assert "short" in told
    assert "long" not in told


@settings(deadline=None, max_examples=30)
@given(
    longs=st.lists(st.integers(100, 400), min_size=1, max_size=3),
    shorts=st.lists(st.integers(2, 60), min_size=0, max_size=25),
    limit_ms=st.sampled_from([0.001, 8.0, 20.0, None]),
)
def test_no_prompt_waits_for_ever_however_many_shorter_ones_come(
    longs: list[int], shorts: list[int], limit_ms: float | None
) -> None:
    _, loop = served(400, limit_ms, prefill_step_size=64, max_num_batched_tokens=96)
    loop.iterate([make_request("talks", max_tokens=2000)])
    requests = [make_request(f"long{i}", [50 + i] * n, max_tokens=1) for i, n in enumerate(longs)]
    pending = [make_request(f"{i}", [i + 1] * n, max_tokens=1) for i, n in enumerate(shorts)]
    loop.iterate(requests)
    most = (PATIENCE + len(longs) + len(shorts)) * (2 + sum(longs) // BLOCK + len(longs))
    waiting = {request.request_id for request in requests}
    for _ in range(most):
        waiting -= {o.request_id for o in loop.iterate([pending.pop()] if pending else [])}
        if not waiting:
            return
    raise AssertionError(f"still unread: {waiting}")
