"""Whatever comes and goes, every request says what it would say alone, and every block is counted."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from tests.fakes.driver import Driver, make_request
from tests.fakes.runner import FakeRunner, alone

from vllm_mlx.engine.wire import EngineRequest

VOCAB = 31

requests = st.builds(
    dict,
    # Few different ids, so that prompts share beginnings.
    prompt_ids=st.lists(st.integers(1, 2), min_size=1, max_size=14),
    seed=st.integers(0, 3),
    eos_ids=st.sampled_from([(), (3,), (3, 4, 5, 6)]),
    priority=st.integers(0, 2),
    cache_salt=st.sampled_from(["", "", "other"]),
    n=st.sampled_from([1, 1, 2, 3]),
    max_tokens=st.integers(1, 12),
    stop=st.sampled_from([(), ("never",)]),
    stop_token_ids=st.sampled_from([(), (7,)]),
    prompt_logprobs=st.sampled_from([None, None, 0]),
)


def fits_alone(d: Driver, request: EngineRequest) -> bool:
    """Whether the longest choice never needs more than the pool."""
    longest = max(len(alone(request, VOCAB, c)[0]) for c in range(request.sampling.n))
    return len(request.prompt_ids) + longest - 1 <= d.scheduler.kv_capacity_tokens


class Traffic(RuleBasedStateMachine):
    """Joins, leaves, aborts, priorities, forks, preemption, over pools from tiny to ample."""

    @initialize(
        model=st.fixed_dictionaries(
            {
                "num_blocks": st.integers(4, 30),
                "block_size": st.sampled_from([1, 2, 4]),
                "max_rows": st.integers(1, 6),
                "prefix_reuse": st.booleans(),
                "overlap": st.booleans(),
                "redraws": st.sampled_from([None, 2, 5]),
            }
        ),
        budget=st.integers(1, 20),
        chunk=st.integers(1, 8),
    )
    def begin(self, model: dict[str, Any], budget: int, chunk: int) -> None:
        runner = FakeRunner(vocab_size=VOCAB, keep_plans=False, **model)
        self.overlap = runner.overlap
        self.d = Driver(runner, max_num_batched_tokens=budget, prefill_step_size=chunk)
        self.budget = budget
        self.aborted: dict[str, set[int]] = {}

    @rule(settings=requests)
    def join(self, settings: dict[str, object]) -> None:
        request = make_request(f"{len(self.d.requests)}", **settings)
        if len(request.prompt_ids) <= self.d.scheduler.kv_capacity_tokens:
            self.d.submit(request)
            self.aborted[request.request_id] = set()

    @rule(steps=st.integers(1, 6))
    def steps(self, steps: int) -> None:
        for _ in range(steps):
            had_work = self.d.scheduler.has_work
            plan = self.d.step()
            if plan is None:
                assert self.overlap or not self.d.scheduler.has_work
            else:
                assert had_work
                assert sum(len(row.token_ids) for row in plan.rows) <= self.budget

    @precondition(lambda self: self.aborted)
    @rule(data=st.data(), whole=st.booleans())
    def leave(self, data: st.DataObject, whole: bool) -> None:
        request_id = data.draw(st.sampled_from(sorted(self.aborted)))
        n = self.d.requests[request_id].sampling.n
        if whole:
            self.d.abort(request_id)
            self.aborted[request_id] |= set(range(n))
        else:
            choice = data.draw(st.integers(0, n - 1))
            self.d.abort(request_id, choice)
            self.aborted[request_id].add(choice)

    @precondition(lambda self: self.aborted)
    @rule(data=st.data(), num_tokens=st.integers(1, 12))
    def hear(self, data: st.DataObject, num_tokens: int) -> None:
        request_id = data.draw(st.sampled_from(sorted(self.aborted)))
        if self.d.requests[request_id].sampling.stop:
            self.d.confirm(num_tokens, request_id, data.draw(st.integers(0, 3)))

    def teardown(self) -> None:
        if not hasattr(self, "d"):
            return
        d = self.d
        d.run()
        for request_id, aborted in self.aborted.items():
            request = d.requests[request_id]
            failed = d.error(request_id)
            if failed:
                assert failed[0] == "context_length_exceeded"
                assert not fits_alone(d, request)
            for choice in range(request.sampling.n):
                ids, finish = alone(request, VOCAB, choice)
                said = d.ids(request_id, choice)
                assert said == ids[: len(said)]
                if not failed and choice not in aborted:
                    assert (said, d.finish(request_id, choice)) == (ids, finish)
        d.assert_all_blocks_accounted()


Traffic.TestCase.settings = settings(
    max_examples=120, stateful_step_count=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestTraffic = pytest.mark.requirement(58)(Traffic.TestCase)


@pytest.mark.requirement(58)
@settings(max_examples=40, deadline=None)
@given(
    many=st.lists(requests, min_size=1, max_size=12),
    num_blocks=st.integers(8, 40),
    chunk=st.integers(1, 9),
    budget=st.integers(2, 40),
)
def test_any_mix_in_a_small_pool_says_what_each_would_say_alone(
    many: list[dict[str, object]], num_blocks: int, chunk: int, budget: int
) -> None:
    runner = FakeRunner(vocab_size=VOCAB, num_blocks=num_blocks, keep_plans=False)
    d = Driver(runner, prefill_step_size=chunk, max_num_batched_tokens=budget)
    for i, kept in enumerate(many):
        d.submit(make_request(f"{i}", **kept))
        if i % 3 == 0:
            d.step()
    d.run()
    for request_id in d.requests:
        d.assert_as_alone(request_id)
    d.assert_all_blocks_accounted()


@pytest.mark.requirement(58)
def test_after_a_storm_of_a_thousand_requests_with_random_aborts_every_block_is_free_or_cached() -> None:
    chance = random.Random(7)
    d = Driver(
        FakeRunner(vocab_size=VOCAB, num_blocks=40, keep_plans=False),
        max_num_seqs=24,
        max_num_batched_tokens=96,
        prefill_step_size=16,
    )
    aborted: set[str] = set()
    for i in range(1000):
        d.submit(stormy(f"{i}", chance))
        if chance.random() < 0.3:
            leaver = f"{chance.randrange(max(0, i - 20), i + 1)}"
            d.abort(leaver)
            aborted.add(leaver)
        if i % 3 == 0:
            d.step()
    d.run()
    for request_id in d.requests.keys() - aborted:
        d.assert_as_alone(request_id)
    d.assert_all_blocks_accounted()
    stats = d.scheduler.stats()
    assert stats.preemptions > 0
    assert stats.cache.hit_tokens > 0
    assert stats.cache.evicted_blocks > 0


def stormy(request_id: str, chance: random.Random) -> EngineRequest:
    shared = [chance.randrange(2)] * chance.randrange(1, 20)
    own = [chance.randrange(VOCAB) for _ in range(chance.randrange(0, 10))]
    return make_request(
        request_id,
        shared + own,
        seed=chance.randrange(2**40),
        n=chance.choice([1, 1, 1, 3]),
        priority=chance.randrange(3),
        max_tokens=chance.randrange(1, 24),
        eos_ids=(3,),
    )
