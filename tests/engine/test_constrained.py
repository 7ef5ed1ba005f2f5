"""Rows that wait for what they may say: beside others, voided, preempted, failing, while others compile."""

from __future__ import annotations

import gc
import json
import logging
import re
import threading
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.contracts.engine_client import letters
from tests.fakes.clock import HandClock
from tests.fakes.driver import Driver, make_request
from tests.fakes.letters import VOCAB, letters_folder
from tests.fakes.runner import FakeRunner, alone
from tests.limits import LIMIT_S

from vllm_mlx.config import CacheConfig, EngineConfig
from vllm_mlx.core.constraints import ThinkingRules
from vllm_mlx.core.errors import InvalidRequest
from vllm_mlx.engine.loop import EngineLoop
from vllm_mlx.engine.wire import Abort, EngineRequest, TokenOutput
from vllm_mlx.runners.base import PendingStep, StepPlan, do_nothing
from vllm_mlx.structured import filling
from vllm_mlx.structured.compiling import Grammars, grammars_of
from vllm_mlx.structured.gate import Gate

WORD = "start: /[a-z]{5}/"
LIST = 'start: "[" (/[0-9]/ ("," /[0-9]/)*)? "]"'
STUCK = 'start: "ab" X\nX: /c/ & /d/'
RULES = ThinkingRules(in_thought=True, open_ids=(94,), close_ids=(95,), budget=3, forced_ids=(1, 95))


@cache
def grammars() -> Grammars:
    return grammars_of(letters_folder(), VOCAB)


def driver(runner: FakeRunner | None = None, **options: int) -> Driver:
    return Driver(runner, grammars=grammars(), **options)


def by_itself(request: EngineRequest) -> list[tuple[list[int], str | None]]:
    """What each choice says where nothing else is served and no step overlaps."""
    d = driver(FakeRunner(overlap=False))
    d.submit(request)
    d.run()
    return [
        (d.ids(request.request_id, c), d.finish(request.request_id, c)) for c in range(request.sampling.n)
    ]


requests = st.fixed_dictionaries(
    {
        "prompt_ids": st.lists(st.integers(1, 2), min_size=1, max_size=9),
        "seed": st.integers(0, 3),
        "priority": st.integers(0, 2),
        "n": st.sampled_from([1, 1, 2]),
        "max_tokens": st.integers(1, 12),
        "eos_ids": st.sampled_from([(), (60, 70, 80)]),
        "min_tokens": st.sampled_from([0, 0, 1]),
        "grammar": st.sampled_from([None, None, WORD, LIST]),
        "thinking": st.sampled_from([None, None, RULES]),
    }
)


@pytest.mark.requirement(58, 63)
@settings(max_examples=40, deadline=None)
@given(
    many=st.lists(requests, min_size=1, max_size=8),
    model=st.fixed_dictionaries(
        {
            "num_blocks": st.integers(8, 30),
            "redraws": st.sampled_from([None, 2]),
            "overlap": st.booleans(),
        }
    ),
    budget=st.integers(2, 20),
)
def test_any_mix_of_free_and_bound_rows_says_what_each_says_alone(
    many: list[dict[str, Any]], model: dict[str, Any], budget: int
) -> None:
    d = driver(FakeRunner(keep_plans=False, **model), max_num_batched_tokens=budget)
    for i, kept in enumerate(many):
        d.submit(make_request(f"{i}", **kept))
        d.step()
    d.run()
    for request_id, request in d.requests.items():
        for choice, expected in enumerate(by_itself(request)):
            assert (d.ids(request_id, choice), d.finish(request_id, choice)) == expected
    d.assert_all_blocks_accounted()


@pytest.mark.stepwise
def test_a_bound_row_that_is_preempted_goes_on_in_its_grammar() -> None:
    for overlap in (False, True):
        d = driver(FakeRunner(overlap=overlap), max_num_seqs=1)
        request = d.submit(make_request("r", grammar=WORD, max_tokens=9, priority=1))
        while len(d.ids()) < 2:
            d.step()
        d.submit(make_request("urgent", [5], max_tokens=3))
        d.run()
        assert d.scheduler.stats().preemptions == 1
        assert by_itself(request) == [(d.ids(), "stop")]
        assert re.fullmatch("[a-z]{5}", letters(d.ids()))


def gates() -> list[Gate]:
    """All that there are."""
    return [one for one in gc.get_objects() if isinstance(one, Gate)]


def test_a_request_that_is_over_holds_no_grammar_until_someone_collects_it() -> None:
    d = driver()
    gc.collect()
    gc.disable()
    try:
        d.submit(make_request("whole", grammar=WORD, max_tokens=9, n=2))
        d.submit(make_request("cut", grammar=WORD, max_tokens=2))
        d.submit(make_request("stuck", grammar=STUCK, max_tokens=9))
        d.submit(make_request("aborted", grammar=WORD, max_tokens=9))
        while not gates():
            d.step()
        d.abort("aborted")
        d.run()
        assert not gates()
    finally:
        gc.enable()


def test_a_row_that_can_say_nothing_any_more_ends_alone() -> None:
    d = driver()
    free = d.submit(make_request("free", max_tokens=9))
    d.submit(make_request("stuck", [7, 7], grammar=STUCK, max_tokens=9, n=2))
    d.run()
    error = d.error("stuck")
    assert error is not None
    assert error[0] == "invalid_grammar"
    assert (d.ids("free"), d.finish("free")) == alone(free, VOCAB)
    d.assert_all_blocks_accounted()


def test_who_waits_for_a_grammar_holds_no_one_up_and_is_held_up_by_its_own_time_limit() -> None:
    compiler = Held()
    d = Driver(grammars=Grammars(lambda: compiler), max_num_seqs=1)  # type: ignore[arg-type,return-value]
    d.submit(make_request("waits", grammar=WORD, timeout_s=5.0))
    free = d.submit(make_request("free", max_tokens=9))
    while d.finish("free") is None:
        d.step()
    assert (d.ids("free"), d.finish("free")) == alone(free, VOCAB)
    assert d.outputs["waits"] == []
    d.clock.advance(6.0)
    d.step()
    error = d.error("waits")
    assert error is not None
    assert error[0] == "deadline_exceeded"
    compiler.go.set()
    d.assert_all_blocks_accounted()


class Held:
    """A compiler that is never done before it is told so."""

    spelling = None

    def __init__(self) -> None:
        self.go = threading.Event()

    def compile(self, text: str) -> object:
        assert self.go.wait(60)
        return object()


@pytest.mark.stepwise
def test_free_rows_never_wait_and_neither_does_a_thought_with_budget_left() -> None:
    d = driver(FakeRunner(overlap=True))
    d.submit(make_request("free", max_tokens=9))
    rules = ThinkingRules(in_thought=True, close_ids=(95,), budget=5)
    d.submit(make_request("thinks", [4, 4], seed=3, max_tokens=9, thinking=rules))
    d.run()
    waits = [plan.waits for plan in d.runner.plans]
    # Five tokens are thought, the sixth is forced; whether another must be is known one step later.
    assert waits[:5] == [False] * 5
    assert waits[5]
    assert not any(waits[8:])


def test_after_a_failed_step_bound_rows_are_tried_one_by_one_too(caplog: pytest.LogCaptureFixture) -> None:
    for late in (False, True):
        loop = EngineLoop(
            FakeRunner(raise_on=93, fails_late=late), EngineConfig(), CacheConfig(), HandClock(), grammars()
        )
        good = make_request("good", [1, 2], grammar=WORD, max_tokens=9)
        free = make_request("free", [3, 2], max_tokens=9)
        bad = make_request("bad", [3, 93], grammar=WORD)
        outputs: list[TokenOutput] = []
        with caplog.at_level(logging.CRITICAL):
            outputs += loop.iterate([good, free])
            outputs += loop.iterate([bad])
            while loop.has_work:
                outputs += loop.iterate([])
        loop.close()
        assert [o.error and o.error[0] for o in outputs if o.request_id == "bad"] == ["internal_error"]
        said = [i for o in outputs if o.request_id == "good" for i in o.token_ids]
        assert by_itself(good) == [(said, "stop")]
        assert [i for o in outputs if o.request_id == "free" for i in o.token_ids] == alone(free, VOCAB)[0]


class Hasty(FakeRunner):
    """Submits a step upon unread tokens only once somebody asked for the tokens of the step before."""

    before: Asked | None = None
    num_asked = 0

    def submit(self, plan: StepPlan, starting: Callable[[], None] = do_nothing) -> Any:
        starting()
        if self.before is not None and plan.waits and any(row.unread for row in plan.rows):
            assert self.before.asked.wait(LIMIT_S)
            self.num_asked += 1
        self.before = Asked(super().submit(plan))
        return self.before


class Asked:
    """A step that notes who asks for its tokens."""

    def __init__(self, step: PendingStep) -> None:
        self.asked = threading.Event()
        self.sample, self.read = step.sample, step.read
        self._step = step

    def peek(self) -> dict[int, int]:
        self.asked.set()
        return self._step.peek()


@pytest.mark.stepwise
@pytest.mark.requirement(63)
def test_the_tokens_of_a_step_are_asked_for_while_the_next_one_is_submitted() -> None:
    runner = Hasty(overlap=True)
    d = driver(runner)
    request = d.submit(make_request("bound", grammar=WORD, max_tokens=9))
    free = d.submit(make_request("free", max_tokens=9))
    d.run()
    assert runner.num_asked >= 4  # all letters but the first
    assert by_itself(request) == [(d.ids("bound"), "stop")]
    assert (d.ids("free"), d.finish("free")) == alone(free, VOCAB)


def churn(
    many: list[dict[str, Any]], runner: FakeRunner, aborts: list[int], budget: int
) -> tuple[dict[str, EngineRequest], list[TokenOutput]]:
    """Requests that arrive one at a time; those of `aborts` leave some steps later."""
    config = EngineConfig(max_num_batched_tokens=budget)
    loop = EngineLoop(runner, config, CacheConfig(), HandClock(), grammars())
    made = {f"{i}": make_request(f"{i}", **kept) for i, kept in enumerate(many)}
    outputs: list[TokenOutput] = []
    for i, request in enumerate(made.values()):
        outputs += loop.iterate([request])
        outputs += loop.iterate([Abort(f"{i - late}") for late in range(4) if i - late in aborts])
    while loop.has_work:
        outputs += loop.iterate([])
    loop.close()
    return made, outputs


@pytest.mark.requirement(58, 63)
@settings(max_examples=40, deadline=None)
@given(
    many=st.lists(requests, min_size=1, max_size=8),
    model=st.fixed_dictionaries(
        {
            "num_blocks": st.integers(8, 30),
            "redraws": st.sampled_from([None, 2]),
            "raise_on": st.sampled_from([None, 33, 60, 95]),
            "fails_late": st.booleans(),
            "overlap": st.booleans(),
        }
    ),
    aborts=st.lists(st.integers(0, 7), max_size=3),
    budget=st.integers(2, 20),
)
def test_steps_that_fail_and_requests_that_leave_change_no_row_that_stays(
    many: list[dict[str, Any]], model: dict[str, Any], aborts: list[int], budget: int
) -> None:
    """Whoever gets an answer gets the one of its own: what was found ahead of a failed step is not kept."""
    logging.disable(logging.CRITICAL)
    try:
        made, outputs = churn(many, FakeRunner(keep_plans=False, **model), aborts, budget)
    finally:
        logging.disable(logging.NOTSET)
    failed = {o.request_id for o in outputs if o.error}
    assert all(o.error[0] == "internal_error" for o in outputs if o.error)
    for i, (request_id, request) in enumerate(made.items()):
        for choice, (ids, finish) in enumerate(by_itself(request)):
            mine = [o for o in outputs if (o.request_id, o.choice) == (request_id, choice)]
            said = [token_id for o in mine for token_id in o.token_ids]
            if request_id in failed or i in aborts:
                assert said == ids[: len(said)]
            else:
                assert (said, [o.finish for o in mine if o.finish]) == (ids, [finish])


@settings(max_examples=15, deadline=None)
@given(many=st.lists(requests, min_size=1, max_size=6), budget=st.integers(4, 20))
def test_masks_that_are_late_end_their_own_rows_and_no_other(many: list[dict[str, Any]], budget: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(filling, "FILL_S", 0.0)
        made, outputs = churn(many, FakeRunner(keep_plans=False), [], budget)
    errors = {o.request_id: o.error for o in outputs if o.error}
    assert all(error[0] == "overloaded" for error in errors.values())
    for request_id, request in made.items():
        for choice, (ids, finish) in enumerate(by_itself(request)):
            mine = [o for o in outputs if (o.request_id, o.choice) == (request_id, choice)]
            said = [token_id for o in mine for token_id in o.token_ids]
            assert said == ids[: len(said)]
            if request_id not in errors:
                assert (said, [o.finish for o in mine if o.finish]) == (ids, [finish])
            else:
                assert request.grammar is not None


def test_the_loop_rests_while_all_that_is_left_waits_for_a_grammar() -> None:
    compiler = Held()
    grammars = Grammars(lambda: compiler)  # type: ignore[arg-type,return-value]
    loop = EngineLoop(FakeRunner(), EngineConfig(), CacheConfig(), HandClock(), grammars)
    assert loop.wait_s is None
    loop.iterate([make_request("waits", grammar=WORD)])
    assert loop.wait_s
    loop.iterate([make_request("free", max_tokens=2)])
    assert loop.wait_s == 0
    compiler.go.set()


def test_tags_outside_the_vocabulary_are_refused() -> None:
    d = driver()
    with pytest.raises(InvalidRequest, match="vocabulary"):
        d.submit(make_request(thinking=ThinkingRules(close_ids=(VOCAB,), in_thought=True)))


@pytest.mark.requirement(46, 63)
def test_json_of_a_schema_comes_out_of_a_model_that_says_anything() -> None:
    schema = {
        "type": "object",
        "properties": {"a": {"type": "integer", "maximum": 9, "minimum": 0}, "b": {"enum": ["x", "yy"]}},
        "required": ["a", "b"],
        "additionalProperties": False,
        "x-guidance": {"whitespace_flexible": False},
    }
    d = driver()
    for i in range(20):
        grammar = json.dumps({"grammars": [{"json_schema": schema}]})
        d.submit(make_request(f"{i}", [i + 1, 2], seed=i, grammar=grammar, max_tokens=40))
    d.run()
    for i in range(20):
        said = json.loads(letters(d.ids(f"{i}")))
        assert said["a"] in range(10)
        assert said["b"] in ("x", "yy")
