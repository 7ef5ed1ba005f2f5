"""What the scheduler puts into steps, and what it makes of them."""

from __future__ import annotations

import pytest
from tests.fakes.driver import Driver, make_request
from tests.fakes.runner import FakeRunner, alone

from vllm_mlx.core.errors import ContextOverflow, InvalidRequest, Overloaded, Unavailable
from vllm_mlx.engine.policy import PATIENCE
from vllm_mlx.runners.base import StepPlan


def tokens_of(plan: StepPlan | None) -> list[int]:
    assert plan is not None
    return [len(row.token_ids) for row in plan.rows]


def prompt(length: int, first: int = 1) -> list[int]:
    return [(first + i * 7) % 90 for i in range(length)]


# ---- steps ----


@pytest.mark.requirement(58)
def test_requests_that_arrive_later_join_the_running_batch() -> None:
    d = Driver()
    d.submit(make_request("a", prompt(5), max_tokens=6))
    d.step()
    d.submit(make_request("b", prompt(6, 2), max_tokens=6))
    assert tokens_of(d.step()) == [1, 6]
    assert tokens_of(d.step()) == [1, 1]
    d.run()
    for request_id in ("a", "b"):
        d.assert_as_alone(request_id)
    assert d.scheduler.stats().largest_batch == 2


@pytest.mark.stepwise
def test_a_long_prefill_never_holds_up_who_decodes() -> None:
    d = Driver(FakeRunner(num_blocks=200), max_num_batched_tokens=8, prefill_step_size=5)
    d.submit(make_request("talks", max_tokens=40))
    d.step()
    d.submit(make_request("reads", prompt(60, 3)))
    d.submit(make_request("reads too", prompt(60, 4)))
    for step in range(10):
        plan = d.step()
        assert tokens_of(plan) == [1, 5]  # two more would fit, but a chunk is not cut to fill a step
        assert len(d.ids("talks")) == step + 2
    d.run()
    for request_id in d.requests:
        d.assert_as_alone(request_id)


@pytest.mark.stepwise
def test_no_more_prompts_are_read_in_a_step_than_the_setting_allows() -> None:
    d = Driver(FakeRunner(num_blocks=200), max_num_batched_tokens=100, prefill_batch_size=2)
    for i in range(5):
        d.submit(make_request(f"{i}", prompt(9, i)))
    assert [sum(tokens > 1 for tokens in tokens_of(d.step())) for _ in range(3)] == [2, 2, 1]
    d.run()
    for request_id in d.requests:
        d.assert_as_alone(request_id)


def chunks_of(step_tokens: int, *lengths: int, steps: int = 1, **settings: int) -> list[list[int]]:
    """The chunks of the first steps, of prompts that come together."""
    d = Driver(FakeRunner(num_blocks=400), max_num_batched_tokens=step_tokens, **settings)
    for i, length in enumerate(lengths):
        d.submit(make_request(f"{i}", prompt(length, 13 * i), max_tokens=1))
    found = [sorted(tokens_of(d.step())) for _ in range(steps)]
    d.run()
    for request_id in d.requests:
        d.assert_as_alone(request_id)
    return found


@pytest.mark.stepwise
def test_a_chunk_that_would_be_cut_to_fill_a_step_waits_for_the_next() -> None:
    assert chunks_of(50, 20, 21, 22, steps=2) == [[20, 21], [22]]
    # Nor is one of a long prompt, whose chunks are bounded; the shorter one first.
    assert chunks_of(50, 30, 90, prefill_step_size=32, steps=4) == [[30], [32], [32], [26]]
    # What fills the step to the last token is not cut.
    assert chunks_of(50, 20, 30) == [[20, 30]]


@pytest.mark.stepwise
def test_the_first_chunk_of_a_step_is_cut_rather_than_left_out() -> None:
    assert chunks_of(50, 70, steps=2) == [[50], [20]]
    assert chunks_of(50, 70, 80, steps=3) == [[50], [20], [50]]


@pytest.mark.stepwise
@pytest.mark.requirement(58)
def test_a_long_prompt_is_read_however_many_short_ones_fill_the_steps() -> None:
    d = Driver(FakeRunner(num_blocks=400), max_num_batched_tokens=30, prefill_step_size=20)
    d.submit(make_request("long", prompt(100), max_tokens=1))
    for i in range(100):
        # Beside it a whole chunk of the long one does not fit.
        d.submit(make_request(f"{i}", [i % 90] * 11, max_tokens=1))
        d.step()
        if d.finish("long"):
            break
    assert d.finish("long") == "length"
    assert 2 * PATIENCE < i <= 5 * (PATIENCE + 1)
    d.run()


@pytest.mark.stepwise
def test_what_the_settings_leave_open_is_what_the_device_takes_well() -> None:
    for settings, expected in (
        ({}, [[30], [30], [30], [10]]),
        ({"prefill_step_size": 40}, [[40], [40], [20]]),
        ({"max_num_batched_tokens": 16}, [[16]] * 6 + [[4]]),
        ({"max_num_batched_tokens": 1000, "prefill_step_size": 1000}, [[100]]),
    ):
        d = Driver(FakeRunner(num_blocks=400, step_tokens=70, chunk_tokens=30), **settings)
        d.submit(make_request("r", prompt(100), max_tokens=1))
        found = []
        while d.scheduler.has_work:
            found.append(tokens_of(d.step()))
        assert found == expected
    d = Driver(FakeRunner(num_blocks=400, step_tokens=70, chunk_tokens=30))
    for i in range(3):
        d.submit(make_request(f"{i}", prompt(30, 31 * i), max_tokens=1))
    assert [tokens_of(d.step()) for _ in range(2)] == [[30, 30], [30]]


def test_prefill_goes_on_however_many_decode() -> None:
    d = Driver(max_num_batched_tokens=4, max_num_seqs=100)
    for i in range(10):
        d.submit(make_request(f"{i}", prompt(9, i), max_tokens=30))
    d.run()
    for request_id in d.requests:
        d.assert_as_alone(request_id)


def test_only_the_chunk_that_ends_the_known_tokens_samples() -> None:
    d = Driver(prefill_step_size=4)
    d.submit(make_request("r", prompt(10), max_tokens=2))
    samples = [plan.rows[0].sampling is not None for plan in (d.step(), d.step(), d.step(), d.step())]
    assert samples == [False, False, True, True]


def test_no_more_sequences_run_than_the_model_and_the_settings_allow() -> None:
    for runner, limit in ((FakeRunner(max_rows=3), 3), (FakeRunner(), 2)):
        d = Driver(runner, max_num_seqs=min(limit, 3) if limit == 2 else 256)
        for i in range(6):
            d.submit(make_request(f"{i}"))
        assert len(d.step().rows) == limit
        d.run()


def test_a_model_that_runs_one_at_a_time_ends_one_before_the_next() -> None:
    d = Driver(FakeRunner(max_rows=1, prefix_reuse=False))
    d.submit(make_request("a", n=2))
    d.step()
    d.submit(make_request("urgent", priority=-5))
    d.run()
    order = [row.seq_id for plan in d.runner.plans for row in plan.rows]
    assert list(dict.fromkeys(order)) == [0, 2, 1]
    assert order == sorted(order, key=[0, 2, 1].index)
    assert d.scheduler.stats().preemptions == 0
    for request_id in d.requests:
        d.assert_as_alone(request_id)


def test_nothing_is_planned_when_nothing_is_asked() -> None:
    assert Driver().step() is None


# ---- order ----


def test_smaller_priorities_go_first_and_equal_ones_in_order_of_arrival() -> None:
    d = Driver(max_num_seqs=1)
    for request_id, priority in (("c", 1), ("d", 1), ("a", -1), ("b", 0)):
        d.submit(make_request(request_id, priority=priority, max_tokens=1))
    d.run()
    assert list(d.outputs) == ["a", "b", "c", "d"]


@pytest.mark.stepwise
def test_an_urgent_request_takes_the_slot_of_one_that_is_less_urgent() -> None:
    d = Driver(max_num_seqs=1)
    d.submit(make_request("slow", max_tokens=8, priority=1))
    d.step()
    d.submit(make_request("equal", priority=1))
    d.submit(make_request("urgent", [4, 5], max_tokens=2, priority=0))
    d.step()
    d.step()
    assert d.finish("urgent") == "length"
    assert not d.outputs["equal"]
    d.run()
    assert d.scheduler.stats().preemptions == 1
    for request_id in d.requests:
        d.assert_as_alone(request_id)


def test_an_urgent_request_takes_blocks_only_if_that_makes_it_fit() -> None:
    runner = FakeRunner(num_blocks=9)
    d = Driver(runner, enable_prefix_cache=False)
    d.submit(make_request("first", prompt(16), priority=0, max_tokens=3))
    d.submit(make_request("idle", prompt(4, 2), priority=9, max_tokens=3))
    d.step()
    d.submit(make_request("urgent", prompt(20, 3), priority=0))
    d.step()
    assert d.scheduler.stats().preemptions == 0
    d.run()
    for request_id in d.requests:
        d.assert_as_alone(request_id)


def test_a_small_request_does_not_pass_a_large_one_that_waits_for_blocks() -> None:
    d = Driver(FakeRunner(num_blocks=9), enable_prefix_cache=False)
    d.submit(make_request("runs", prompt(16), max_tokens=5))
    d.step()
    d.submit(make_request("large", prompt(20, 2)))
    d.submit(make_request("small", [1]))
    d.step()
    assert not d.outputs["small"]
    d.run()
    for request_id in d.requests:
        d.assert_as_alone(request_id)


# ---- running out of blocks ----


def test_a_preempted_sequence_goes_on_where_it_was() -> None:
    d = Driver(FakeRunner(num_blocks=8))
    for i in range(3):
        d.submit(make_request(f"{i}", prompt(4, i), max_tokens=16))
    d.run()
    assert d.scheduler.stats().preemptions > 0
    for request_id in d.requests:
        d.assert_as_alone(request_id)
    d.assert_all_blocks_accounted()


@pytest.mark.stepwise
def test_the_latest_of_the_least_urgent_gives_way() -> None:
    d = Driver(FakeRunner(num_blocks=5), enable_prefix_cache=False)
    for request_id, priority in (("low", 1), ("latest low", 1), ("urgent", 0)):
        d.submit(make_request(request_id, prompt(4, priority), priority=priority, max_tokens=8))
    d.step()
    assert {i: len(d.ids(i)) for i in d.requests} == {"urgent": 1, "low": 1, "latest low": 1}
    d.step()
    d.step()
    assert {i: len(d.ids(i)) for i in d.requests} == {"urgent": 3, "low": 3, "latest low": 1}
    d.run()
    for request_id in d.requests:
        d.assert_as_alone(request_id)


def test_a_text_that_outgrows_the_pool_ends_with_an_error_and_its_neighbours_do_not() -> None:
    d = Driver(FakeRunner(num_blocks=5))
    d.submit(make_request("neighbour", [1], max_tokens=3))
    d.submit(make_request("large", prompt(12), max_tokens=50))
    d.run()
    assert d.error("large")[0] == "context_length_exceeded"
    assert len(d.ids("large")) == 16 - 12 + 1
    d.assert_as_alone("neighbour")
    d.assert_all_blocks_accounted()


def test_the_runner_hears_of_everyone_who_left_before_their_blocks_are_written_again() -> None:
    d = Driver(FakeRunner(num_blocks=8))
    for i in range(3):
        d.submit(make_request(f"{i}", prompt(4, i), max_tokens=16))
    d.run()
    d.runner.forget(d.scheduler.take_forgotten())
    assert set(d.runner.forgotten) == {0, 1, 2}
    assert len(d.runner.forgotten) == 3 + d.scheduler.stats().preemptions


# ---- prefixes ----


def test_a_prompt_seen_before_is_computed_from_where_it_differs() -> None:
    d = Driver()
    d.submit(make_request("a", prompt(10)))
    d.run()
    d.submit(make_request("b", [*prompt(9), 5]))
    assert tokens_of(d.step()) == [2]
    d.run()
    assert {o.cached_tokens for o in d.outputs["a"]} == {0}
    assert {o.cached_tokens for o in d.outputs["b"]} == {8}
    stats = d.scheduler.stats().cache
    assert (stats.query_tokens, stats.hit_tokens) == (20, 8)
    d.assert_as_alone("b")


def test_the_answer_is_found_again_as_part_of_the_next_prompt() -> None:
    d = Driver()
    d.submit(make_request("a", prompt(6), max_tokens=7))
    d.run()
    d.submit(make_request("b", [*prompt(6), *d.ids("a"), 8]))
    d.run()
    assert d.outputs["b"][0].cached_tokens == 12
    d.assert_as_alone("b")


def test_requests_of_one_prompt_that_arrive_together_compute_it_once() -> None:
    d = Driver(prefill_step_size=4)
    for i in range(5):
        d.submit(make_request(f"{i}", [*prompt(16), 90 + i], max_tokens=3))
    d.run()
    for request_id in d.requests:
        d.assert_as_alone(request_id)
    assert [d.outputs[f"{i}"][0].cached_tokens for i in range(5)] == [0, 16, 16, 16, 16]


@pytest.mark.stepwise
def test_who_waits_for_anothers_prompt_computes_it_when_that_one_leaves() -> None:
    d = Driver(prefill_step_size=4)
    d.submit(make_request("a", [*prompt(16), 1]))
    d.submit(make_request("b", [*prompt(16), 2]))
    assert len(d.step().rows) == 1
    d.abort("a")
    d.run()
    d.assert_as_alone("b")
    assert d.outputs["b"][0].cached_tokens == 4


@pytest.mark.requirement(58)
@pytest.mark.stepwise
def test_choices_share_the_blocks_of_their_prompt() -> None:
    d = Driver()
    d.submit(make_request("r", prompt(10), n=4, max_tokens=6))
    assert tokens_of(d.step()) == [10]
    assert sorted(tokens_of(d.step())) == [1, 2, 2, 2]
    stats = d.scheduler.stats().cache
    assert stats.active_blocks == 2 + 4
    assert stats.hit_tokens == 3 * 8
    d.run()
    d.assert_as_alone("r")
    assert {o.cached_tokens for o in d.outputs["r"]} == {0}
    assert len({tuple(d.ids("r", choice)) for choice in range(4)}) == 4
    assert d.scheduler.stats().prompt_tokens == 10


def test_choices_go_on_when_the_first_is_aborted_before_the_prompt_is_computed() -> None:
    d = Driver(prefill_step_size=4)
    d.submit(make_request("r", prompt(10), n=3))
    d.step()
    d.abort("r", choice=0)
    d.run()
    for choice in (1, 2):
        assert (d.ids("r", choice), d.finish("r", choice)) == alone(d.requests["r"], 97, choice)
    assert d.ids("r", 0) == []


def test_without_a_prefix_cache_choices_and_requests_share_nothing() -> None:
    d = Driver(enable_prefix_cache=False)
    d.submit(make_request("r", prompt(10), n=3))
    assert tokens_of(d.step()) == [10, 10, 10]
    d.run()
    d.assert_as_alone("r")
    stats = d.scheduler.stats().cache
    assert (stats.cached_blocks, stats.query_tokens, stats.free_blocks) == (0, 0, stats.total_blocks)


def test_prompts_of_different_salts_share_nothing() -> None:
    d = Driver()
    for salt in ("", "x", "y"):
        d.submit(make_request(f"r{salt}", prompt(10), cache_salt=salt))
        d.run()
    assert d.scheduler.stats().cache.hit_tokens == 0


# ---- faults, limits ----


def test_a_bad_row_ends_its_request_alone() -> None:
    d = Driver(FakeRunner(fail_on=96))
    d.submit(make_request("bad", [1, 96, 2], n=2))
    d.submit(make_request("good", [1, 2, 3], max_tokens=3, seed=2))
    d.run()
    assert d.error("bad") == ("internal_error", "the fake row is bad")
    d.assert_as_alone("good")
    assert (d.scheduler.stats().failed_requests, d.scheduler.stats().finished_requests) == (1, 1)
    d.assert_all_blocks_accounted()


def test_deadlines_end_who_runs_and_who_waits() -> None:
    d = Driver(max_num_seqs=1)
    d.submit(make_request("runs", max_tokens=1000, timeout_s=5.0))
    d.submit(make_request("waits", timeout_s=3.0))
    d.submit(make_request("has time", timeout_s=50.0))
    d.step()
    d.clock.advance(4.0)
    d.step()
    assert (d.error("waits")[0], d.error("runs")) == ("deadline_exceeded", None)
    d.clock.advance(1.0)
    d.step()
    assert d.error("runs")[0] == "deadline_exceeded"
    d.run()
    d.assert_as_alone("has time")


def test_a_full_queue_refuses_and_frees_up_again() -> None:
    d = Driver(max_num_seqs=2, max_queue=1)
    for i in range(3):
        d.submit(make_request(f"{i}"))
    with pytest.raises(Overloaded) as caught:
        d.submit(make_request("one more"))
    assert caught.value.retry_after_s > 0
    d.step()
    with pytest.raises(Overloaded):
        d.submit(make_request("still too many"))
    d.abort("2")
    d.submit(make_request("fits"))
    d.run()
    d.assert_as_alone("fits")


def test_an_abort_frees_everything_at_once() -> None:
    d = Driver(max_num_seqs=2)
    for i in range(4):
        d.submit(make_request(f"{i}", prompt(9, i), n=3))
    d.step()
    for i in range(4):
        d.abort(f"{i}")
    assert d.step() is None
    assert not d.scheduler.has_work
    d.assert_all_blocks_accounted()
    d.abort("unknown")
    d.abort("0", choice=99)


@pytest.mark.parametrize("ids", [[], [97], [-1], [1, 10**30]])
def test_prompts_that_are_no_tokens_are_refused(ids: list[int]) -> None:
    with pytest.raises(InvalidRequest):
        Driver().submit(make_request("r", ids))


def test_prompts_that_leave_no_room_are_refused_with_the_numbers() -> None:
    with pytest.raises(ContextOverflow, match=r"30 tokens; at most 29"):
        Driver(max_model_len=30).submit(make_request("r", prompt(30)))
    with pytest.raises(ContextOverflow, match=r"9 tokens; at most 8"):
        Driver(FakeRunner(num_blocks=3)).submit(make_request("r", prompt(9)))


def test_an_id_can_be_used_again_only_when_its_request_is_over() -> None:
    d = Driver()
    d.submit(make_request("r"))
    with pytest.raises(InvalidRequest):
        d.submit(make_request("r"))
    d.run()
    d.submit(make_request("r"))


def test_draining_finishes_what_runs_and_takes_nothing_new() -> None:
    d = Driver()
    d.submit(make_request("r"))
    d.scheduler.drain()
    with pytest.raises(Unavailable):
        d.submit(make_request("late"))
    d.run()
    d.assert_as_alone("r")
