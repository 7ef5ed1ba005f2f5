"""How texts end, what of them is named, and which log-probabilities come with them."""

from __future__ import annotations

import pytest
from tests.fakes.driver import Driver, make_request
from tests.fakes.runner import alone, token_logprob


def prompt(length: int) -> list[int]:
    return [1 + i * 7 % 90 for i in range(length)]


# ---- ends ----


def long_request(**more: object) -> tuple[list[int], dict[str, object]]:
    """What a request says in 30 tokens, so that a test can pick one of them to end the text."""
    kept = {"seed": 5, "max_tokens": 30, **more}
    return alone(make_request(**kept), 97)[0], kept


@pytest.mark.parametrize("how", ["eos", "stop_token_ids"])
def test_an_end_id_ends_the_text_and_is_its_last_token(how: str) -> None:
    said, kept = long_request()
    end = said[6]
    kept |= {"eos_ids": (end,)} if how == "eos" else {"stop_token_ids": (end,)}
    d = Driver()
    d.submit(make_request(**kept))
    d.run()
    assert (d.ids(), d.finish()) == (said[: said.index(end) + 1], "stop")


def test_without_end_ids_the_text_runs_to_its_limit() -> None:
    d = Driver()
    d.submit(make_request(max_tokens=9))
    d.run()
    assert (len(d.ids()), d.finish()) == (9, "length")


def test_the_context_ends_the_text_too() -> None:
    d = Driver(max_model_len=12)
    d.submit(make_request(max_tokens=50))
    d.run()
    assert (len(d.ids()), d.finish()) == (12 - 3, "length")


def test_end_ids_are_banned_before_min_tokens() -> None:
    said, kept = long_request()
    eos, stop = said[2], next(i for i in said if i != said[2])
    d = Driver()
    d.submit(make_request(**kept | {"eos_ids": (eos,), "stop_token_ids": (stop, 500), "min_tokens": 8}))
    d.run()
    assert len(d.ids()) > 8
    assert not {eos, stop} & set(d.ids()[:8])
    d.assert_as_alone("r")
    banned = [plan.rows[0].sampling.banned_ids for plan in d.runner.plans]
    assert banned[:9] == [(eos, stop)] * 8 + [()]


def stopping(request_id: str = "r", **more: object) -> object:
    return make_request(request_id, prompt(6), max_tokens=30, stop=("x",), **more)


def blocks_found(d: Driver, said: list[int]) -> int:
    """How many tokens of prompt and answer a later request finds in the cache."""
    d.submit(make_request("probe", [*prompt(6), *said, 1], max_tokens=1))
    d.run()
    return d.outputs["probe"][0].cached_tokens


def test_with_stop_strings_only_confirmed_tokens_are_named_and_counted() -> None:
    d = Driver()
    d.submit(stopping())
    for _ in range(12):
        d.step()
    said = d.ids()
    d.confirm(3)
    d.abort("r", choice=0)
    assert d.scheduler.stats().generated_tokens == 3
    assert d.scheduler.stats().finished_requests == 1
    assert blocks_found(d, said) == 8


@pytest.mark.parametrize(("confirmed", "found"), [(0, 4), (2, 8), (11, 16), (1000, 16)])
def test_any_confirmed_count_is_taken_within_what_was_computed(confirmed: int, found: int) -> None:
    d = Driver()
    d.submit(stopping())
    for _ in range(12):
        d.step()
    said = d.ids()
    d.confirm(confirmed)
    d.abort("r", choice=0)
    assert blocks_found(d, said) == found


@pytest.mark.stepwise
@pytest.mark.parametrize(("confirmed", "found"), [(0, 4), (7, 12)])
def test_while_stop_strings_may_still_end_the_text_only_what_is_confirmed_is_shared(
    confirmed: int, found: int
) -> None:
    d = Driver()
    d.submit(stopping())
    for _ in range(12):
        d.step()
    d.confirm(confirmed)
    assert d.scheduler.stats().generated_tokens == confirmed
    d.submit(make_request("probe", [*prompt(6), *d.ids(), 1], max_tokens=1))
    d.step()
    assert d.outputs["probe"][0].cached_tokens == found


@pytest.mark.parametrize(("before", "after", "found"), [(0, 30, 4), (5, 0, 8), (12, 18, 16)])
def test_where_the_engine_ends_a_text_with_stop_strings_only_what_was_confirmed_is_named(
    before: int, after: int, found: int
) -> None:
    d = Driver()
    d.submit(stopping())
    while len(d.ids()) < 15:
        d.step()
    d.confirm(before)
    d.run()
    said = d.ids()
    d.assert_all_blocks_accounted()
    d.confirm(after)  # the front may have found a stop string before the end, and counts up to it
    assert (len(said), d.scheduler.stats().generated_tokens) == (30, before + after)
    assert blocks_found(d, said) == found


def test_a_text_that_was_preempted_keeps_what_was_confirmed() -> None:
    d = Driver(max_num_seqs=1)
    d.submit(stopping(priority=1))
    while len(d.ids()) < 8:
        d.step()
    d.submit(make_request("urgent", [5], max_tokens=3))
    while d.scheduler.stats().preemptions == 0:
        d.step()
    d.confirm(7)
    d.run()
    assert blocks_found(d, d.ids()) == 12
    d.assert_as_alone("r")


# ---- log-probabilities ----


def test_logprobs_come_with_their_tokens_where_asked() -> None:
    d = Driver()
    d.submit(make_request("asks", logprobs=0))
    d.submit(make_request("does not"))
    d.run()
    text = d.requests["asks"].prompt_ids
    for output in d.outputs["asks"]:
        (entry,) = output.logprobs
        assert (entry.token_id, entry.logprob) == (
            output.token_ids[0],
            token_logprob(text, output.token_ids[0]),
        )
        text = [*text, *output.token_ids]
    assert all(output.logprobs == [] for output in d.outputs["does not"])


@pytest.mark.parametrize("length", [1, 2, 8, 11])
@pytest.mark.parametrize("chunk", [1, 3, 64])
def test_prompt_logprobs_are_joined_over_chunks_and_come_once(length: int, chunk: int) -> None:
    d = Driver(prefill_step_size=chunk)
    d.submit(make_request("before", prompt(length)))
    d.run()
    d.submit(make_request("r", prompt(length), n=2, prompt_logprobs=0))
    d.run()
    first, *others = [o for o in d.outputs["r"] if o.choice == 0]
    expected = [None] + [token_logprob(prompt(length)[:i], prompt(length)[i]) for i in range(1, length)]
    assert [e.logprob for e in first.prompt_logprobs] == expected
    assert [e.token_id for e in first.prompt_logprobs] == prompt(length)
    assert all(o.prompt_logprobs is None for o in [*others, *(o for o in d.outputs["r"] if o.choice == 1)])
    assert first.cached_tokens == 0
    d.assert_as_alone("r")


def test_prompt_logprobs_survive_a_preemption_during_prefill() -> None:
    d = Driver(prefill_step_size=2, max_num_seqs=1)
    d.submit(make_request("r", prompt(9), prompt_logprobs=0, priority=1))
    d.step()
    d.step()
    d.submit(make_request("urgent", [5], max_tokens=1))
    d.run()
    assert d.scheduler.stats().preemptions == 1
    entries = d.outputs["r"][0].prompt_logprobs
    assert [e.token_id for e in entries] == prompt(9)
    d.assert_as_alone("r")


# ---- no output at all ----


@pytest.mark.parametrize("enable_prefix_cache", [True, False])
@pytest.mark.parametrize("length", [1, 4, 9])
def test_a_request_for_no_tokens_only_reads_its_prompt(length: int, enable_prefix_cache: bool) -> None:
    d = Driver(prefill_step_size=4, enable_prefix_cache=enable_prefix_cache)
    d.submit(make_request("r", prompt(length), n=2, max_tokens=0, prompt_logprobs=0))
    d.run()
    assert [(o.choice, o.token_ids, o.finish) for o in d.outputs["r"]] == [
        (0, [], "length"),
        (1, [], "length"),
    ]
    entries = d.outputs["r"][0].prompt_logprobs
    assert entries is not None
    assert [entry.token_id for entry in entries] == prompt(length)
    assert all(row.sampling is None for plan in d.runner.plans for row in plan.rows)
    assert d.scheduler.stats().generated_tokens == 0
    d.assert_all_blocks_accounted()


def test_a_request_for_no_tokens_may_fill_the_whole_context() -> None:
    d = Driver(max_model_len=8)
    d.submit(make_request("r", prompt(8), max_tokens=0))
    d.run()
    assert d.finish() == "length"
