"""One iteration of the engine: commands, one step, outputs; and what it tells the runner when."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import pytest
from tests.fakes.clock import HandClock
from tests.fakes.driver import make_request
from tests.fakes.runner import FakeRunner, FakeStep, alone

from vllm_mlx.config import CacheConfig, EngineConfig
from vllm_mlx.engine.loop import EngineLoop
from vllm_mlx.engine.wire import Abort, EngineRequest, TokenOutput
from vllm_mlx.runners.base import RunnerDied, StepPlan, do_nothing

BAD = 96


class Watched(FakeRunner):
    """Keeps the order of what it was told: the sequences of each step, and those to forget as negatives."""

    def __init__(self, **options: int) -> None:
        super().__init__(**options)
        self.journal: list[list[int]] = []

    def submit(self, plan: StepPlan, starting: Callable[[], None] = do_nothing) -> FakeStep:
        self.journal.append([row.seq_id for row in plan.rows])
        return super().submit(plan, starting)

    def forget(self, seq_ids: Sequence[int]) -> None:
        self.journal.append([-1 - seq_id for seq_id in seq_ids])
        super().forget(seq_ids)


def make_loop(runner: FakeRunner, **options: int) -> EngineLoop:
    return EngineLoop(runner, EngineConfig(**options), CacheConfig(), HandClock())


def run(loop: EngineLoop, requests: list[EngineRequest]) -> list[TokenOutput]:
    outputs = loop.iterate(requests)
    while loop.has_work:
        outputs += loop.iterate([])
    return outputs


def iterations(loop: EngineLoop, requests: list[EngineRequest]) -> list[list[TokenOutput]]:
    told = [loop.iterate(requests)]
    while loop.has_work:
        told.append(loop.iterate([]))
    return told


def ids_of(outputs: list[TokenOutput], request: EngineRequest) -> list[int]:
    return [i for o in outputs if o.request_id == request.request_id for i in o.token_ids]


@pytest.mark.stepwise
def test_the_runner_forgets_whoever_left_before_it_runs_the_next_step() -> None:
    runner = Watched(num_blocks=8)
    loop = make_loop(runner)
    requests = [make_request(f"{i}", [i + 1, 2, 3, 4], max_tokens=16) for i in range(3)]
    outputs = run(loop, requests)
    assert loop.stats().preemptions > 0
    for request in requests:
        assert ids_of(outputs, request) == alone(request, runner.vocab_size)[0]
    known: set[int] = set()
    for entry in runner.journal:
        if entry[0] < 0:
            known -= {-1 - i for i in entry}
        else:
            assert known <= set(entry)
            known |= set(entry)
    assert known == set()


def test_after_a_failed_step_the_rows_are_tried_one_by_one(caplog: pytest.LogCaptureFixture) -> None:
    runner = Watched(raise_on=BAD)
    good = [make_request(f"{i}", [i, 2, 3], max_tokens=2) for i in range(2)]
    bad = make_request("bad", [BAD, 1, 2])
    with caplog.at_level(logging.ERROR):
        outputs = run(make_loop(runner), [good[0], bad, good[1]])
    assert runner.journal[:4] == [[0, 1, 2], [0], [1], [2]]
    assert "step of 3 rows failed" in caplog.text
    (told,) = [o for o in outputs if o.request_id == "bad"]
    assert told.error == ("internal_error", "the model could not compute this request")
    for request in good:
        assert ids_of(outputs, request) == alone(request, runner.vocab_size)[0]


@pytest.mark.parametrize("late", [False, True])
def test_a_row_that_breaks_steps_ends_alone_however_many_are_in_flight(late: bool) -> None:
    runner = FakeRunner(raise_on=BAD, fails_late=late, num_blocks=30)
    loop = make_loop(runner, prefill_step_size=3)
    good = [make_request(f"{i}", [i, *range(2 + i)], max_tokens=12, n=1 + i % 2) for i in range(6)]
    bad = [make_request(f"bad{i}", [*range(3 * i), BAD, 1], n=2) for i in range(3)]
    outputs: list[TokenOutput] = []
    for i, request in enumerate(good):
        outputs += loop.iterate([request, *bad[i : i + 1]])
    outputs += run(loop, [])
    for request in good:
        for choice in range(request.sampling.n):
            said = [o for o in outputs if (o.request_id, o.choice) == (request.request_id, choice)]
            expected = alone(request, runner.vocab_size, choice)
            assert ([i for o in said for i in o.token_ids], said[-1].finish) == expected
    for request in bad:
        (told,) = [o for o in outputs if o.request_id == request.request_id]
        assert told.error == ("internal_error", "the model could not compute this request")
    assert loop.stats().cache.active_blocks == 0


def test_the_next_step_is_submitted_before_the_last_one_is_read() -> None:
    runner = FakeRunner(overlap=True)
    loop = make_loop(runner)
    request = make_request("r", max_tokens=3)
    told = [[i for o in outputs for i in o.token_ids] for outputs in iterations(loop, [request])]
    expected, _ = alone(request, runner.vocab_size)
    assert told == [[], expected[:1], expected[1:2], expected[2:]]
    assert [row.unread for plan in runner.plans for row in plan.rows] == [False, True, True]


def test_what_was_submitted_upon_a_token_that_was_redrawn_is_computed_again() -> None:
    runner = FakeRunner(overlap=True, redraws=1)
    loop = make_loop(runner)
    request = make_request("r", max_tokens=6)
    assert ids_of(run(loop, [request]), request) == alone(request, runner.vocab_size)[0]
    assert loop.stats().cache.active_blocks == 0


def test_a_text_that_ended_makes_the_step_in_flight_void_and_its_neighbours_go_on() -> None:
    runner = FakeRunner(overlap=True)
    loop = make_loop(runner)
    long = make_request("long", max_tokens=9)
    end = alone(long, runner.vocab_size)[0][2]
    short = make_request("short", max_tokens=9, eos_ids=(end,))
    outputs = run(loop, [short, long])
    assert (ids_of(outputs, short), ids_of(outputs, long)) == (
        alone(short, runner.vocab_size)[0],
        alone(long, runner.vocab_size)[0],
    )
    of_short = runner.plans[0].rows[0].seq_id
    assert sum(row.seq_id == of_short for plan in runner.plans for row in plan.rows) == 4
    assert loop.stats().generated_tokens == 3 + 9


def test_a_runner_that_died_ends_the_loop() -> None:
    for late in (False, True):
        with pytest.raises(RunnerDied):
            run(make_loop(FakeRunner(die_on=BAD, fails_late=late)), [make_request("r", [BAD])])


@pytest.mark.stepwise
def test_commands_are_obeyed_in_order_before_the_step() -> None:
    runner = FakeRunner()
    loop = make_loop(runner)
    again = make_request("r", [4, 5])
    outputs = loop.iterate([make_request("r"), Abort("r"), again])
    assert [tuple(row.token_ids) for row in runner.plans[0].rows] == [(4, 5)]
    assert ids_of(outputs, again) == alone(again, runner.vocab_size)[0][:1]


@pytest.mark.stepwise
def test_a_refused_request_is_told_why_and_hurts_no_one() -> None:
    loop = make_loop(FakeRunner(), max_num_seqs=1, max_queue=0)
    outputs = loop.iterate([make_request("a"), make_request("b"), make_request("c", [])])
    told = {o.request_id: o for o in outputs}
    assert (told["b"].error[0], told["c"].error[0]) == ("overloaded", "invalid_request")
    assert told["b"].retry_after_s > 0
    assert told["a"].token_ids


def test_an_iteration_without_work_runs_no_step() -> None:
    runner = FakeRunner()
    assert make_loop(runner).iterate([]) == []
    assert runner.plans == []
