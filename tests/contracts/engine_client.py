"""What every `EngineClient` must do, whatever process its engine lives in.

Each function takes a factory of clients over the fake runner; `CONTRACT` lists them all.
"""

from __future__ import annotations

import asyncio
import gc
import json
import re
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from typing import Any, Protocol

import pytest

from tests.fakes.driver import make_request
from tests.fakes.runner import alone
from vllm_mlx.core.constraints import ThinkingRules
from vllm_mlx.core.errors import InvalidRequest, ModelLoadError, Overloaded, Unavailable
from vllm_mlx.engine.client import EngineClient, EngineInfo
from vllm_mlx.engine.wire import EngineRequest, TokenOutput

VOCAB = 97
ENDLESS = 100_000


class Harness(Protocol):
    """Makes clients; options are those of `FakeRunner` and of `EngineConfig`."""

    def client(self, *, load_error: Exception | None = None, **options: Any) -> EngineClient: ...

    def advance(self, seconds: float) -> None:
        """Let so much time pass for the engines made here."""
        ...


Check = Callable[[Harness], Awaitable[None]]
CONTRACT: list[Check] = []


def clause(check: Check) -> Check:
    CONTRACT.append(check)
    return check


def serving(harness: Harness, **options: Any) -> AbstractAsyncContextManager[EngineClient]:
    @asynccontextmanager
    async def run() -> Any:
        client = harness.client(**{"num_blocks": 1000, "max_model_len": ENDLESS, **options})
        await client.start()
        try:
            yield client
        finally:
            await client.aclose()

    return run()


def endless(request_id: str = "endless", **more: Any) -> EngineRequest:
    """A request that is still running when the test looks."""
    return make_request(request_id, max_tokens=ENDLESS // 2, **more)


async def collect(client: EngineClient, request: EngineRequest) -> list[TokenOutput]:
    return [output async for output in client.submit(request)]


def assert_as_alone(request: EngineRequest, outputs: list[TokenOutput]) -> None:
    for choice in range(request.sampling.n):
        mine = [o for o in outputs if o.choice == choice]
        said = [i for o in mine for i in o.token_ids]
        assert (said, mine[-1].finish) == alone(request, VOCAB, choice)


async def assert_idle(client: EngineClient) -> None:
    """Soon (a request put behind everything else has ended) nothing else is left in the engine."""
    await collect(client, make_request("probe", max_tokens=1, priority=1000))
    stats = client.stats()
    assert (stats.running, stats.waiting, stats.cache.active_blocks) == (0, 0, 0)


@clause
async def it_says_what_the_model_can_do(harness: Harness) -> None:
    client = harness.client(num_blocks=11, block_size=4, max_rows=5, max_model_len=30)
    assert not client.alive
    info = await client.start()
    assert isinstance(info, EngineInfo)
    assert (info.vocab_size, info.max_model_len, info.max_num_seqs) == (VOCAB, 30, 5)
    assert (info.kv_capacity_tokens, info.path.reason) == (40, "fake")
    assert client.alive
    await client.aclose()
    assert not client.alive


@clause
async def overlapping_requests_each_get_their_own_text(harness: Harness) -> None:
    async with serving(harness) as client:
        requests = [make_request(f"{i}", [i, 2, 3], seed=i, n=1 + i % 3, max_tokens=9) for i in range(20)]
        for request, outputs in zip(
            requests, await asyncio.gather(*(collect(client, r) for r in requests)), strict=True
        ):
            assert_as_alone(request, outputs)
        assert client.stats().largest_batch > 1
        assert client.stats().finished_requests == 20


@clause
async def closing_a_stream_early_aborts_its_request(harness: Harness) -> None:
    async with serving(harness) as client:
        async with aclosing(client.submit(endless())) as stream:
            await anext(stream)
        await assert_idle(client)
        assert [o async for o in stream] == []


@clause
async def dropping_a_stream_aborts_its_request(harness: Harness) -> None:
    async with serving(harness) as client:
        stream = client.submit(endless())
        await anext(stream)
        del stream
        gc.collect()
        await asyncio.sleep(0)
        await assert_idle(client)


@clause
async def cancelling_the_reader_aborts_its_request(harness: Harness) -> None:
    async with serving(harness, max_num_seqs=1) as client:
        stream = client.submit(endless())
        await anext(stream)
        unread = client.submit(make_request("waits"))
        reader = asyncio.ensure_future(anext(unread))
        await asyncio.sleep(0)
        reader.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reader
        await stream.aclose()
        await assert_idle(client)
        assert client.stats().finished_requests == 1
        assert [o async for o in unread] == []


@clause
async def an_abort_ends_the_stream_and_its_id_is_free_at_once(harness: Harness) -> None:
    async with serving(harness) as client:
        stream = client.submit(endless("r"))
        await anext(stream)
        client.abort("r")
        again = make_request("r", [7, 7, 7])
        assert_as_alone(again, await collect(client, again))
        assert [o async for o in stream] == []
        client.abort("r")
        client.abort("unknown", choice=3)
        await assert_idle(client)


@clause
async def aborting_a_choice_leaves_the_others(harness: Harness) -> None:
    async with serving(harness) as client:
        request = make_request("r", n=3, max_tokens=40, stop=("x",))
        stream = client.submit(request)
        outputs = [await anext(stream)]
        client.abort("r", choice=1)
        outputs += [o async for o in stream]
        assert {o.choice for o in outputs} == {0, 2}
        for choice in (0, 2):
            said = [i for o in outputs if o.choice == choice for i in o.token_ids]
            assert said == alone(request, VOCAB, choice)[0]


@clause
async def of_a_text_with_stop_strings_what_was_confirmed_is_counted_and_kept(harness: Harness) -> None:
    async with serving(harness) as client:
        request = endless("r", prompt_ids=[1, 2, 3, 4], n=2, stop=("x",))
        stream = client.submit(request)
        outputs = [await anext(stream) for _ in range(30)]
        client.confirm("r", 0, 4)
        client.abort("r")
        client.confirm("r", 1, 5)  # the engine has ended both
        await assert_idle(client)
        assert client.stats().generated_tokens == 4 + 5 + 1  # and the probe's
        for choice, found in ((0, 8), (1, 4)):
            said = [i for o in outputs if o.choice == choice for i in o.token_ids]
            probe, *_ = await collect(client, make_request("p", [1, 2, 3, 4, *said], max_tokens=1))
            assert probe.cached_tokens == found


@clause
async def aborting_every_choice_ends_the_stream(harness: Harness) -> None:
    async with serving(harness) as client:
        stream = client.submit(endless(n=2))
        await anext(stream)
        client.abort("endless", choice=0)
        client.abort("endless", choice=1)
        assert [o async for o in stream] == []
        await assert_idle(client)


@clause
async def a_full_queue_is_said_before_any_output(harness: Harness) -> None:
    async with serving(harness, max_num_seqs=1, max_queue=1) as client:
        running = client.submit(endless())
        await anext(running)
        waiting = client.submit(endless("waits"))
        with pytest.raises(Overloaded) as caught:
            await collect(client, make_request("too many"))
        assert caught.value.retry_after_s > 0
        await running.aclose()
        assert (await anext(waiting)).token_ids
        await waiting.aclose()
        await assert_idle(client)


@clause
async def an_id_in_flight_cannot_be_used_twice(harness: Harness) -> None:
    async with serving(harness) as client:
        first = client.submit(endless("r"))
        with pytest.raises(InvalidRequest):
            await collect(client, make_request("r"))
        assert (await anext(first)).token_ids
        await first.aclose()


@clause
async def a_prompt_that_does_not_fit_is_told_in_an_output(harness: Harness) -> None:
    async with serving(harness, max_model_len=8) as client:
        (output,) = await collect(client, make_request("r", [1] * 8))
        assert output.error is not None
        assert output.error[0] == "context_length_exceeded"
        assert client.alive


@clause
async def a_row_that_fails_ends_its_request_alone(harness: Harness) -> None:
    for how in ("fail_on", "raise_on"):
        async with serving(harness, **{how: 96}) as client:
            good = [make_request(f"{i}", [i, 2, 3], seed=i + 2, max_tokens=3) for i in range(4)]
            bad = make_request("bad", [1, 96], n=2)
            *results, failed = await asyncio.gather(*(collect(client, r) for r in [*good, bad]))
            assert failed[-1].error is not None
            assert failed[-1].error[0] == "internal_error"
            for request, outputs in zip(good, results, strict=True):
                assert_as_alone(request, outputs)
            assert client.alive
            await assert_idle(client)


@clause
async def when_the_runner_dies_everyone_is_told(harness: Harness) -> None:
    async with serving(harness, die_on=96) as client:
        running = client.submit(endless("runs"))
        await anext(running)
        for stream in (client.submit(make_request("kills", [96])), running):
            with pytest.raises(Unavailable):
                _ = [o async for o in stream]
        assert not client.alive
        with pytest.raises(Unavailable):
            await collect(client, make_request("late"))


@clause
async def a_model_that_cannot_be_loaded_is_said_by_start(harness: Harness) -> None:
    for cause in (ModelLoadError("no such folder"), ValueError("secret/path")):
        client = harness.client(load_error=cause)
        with pytest.raises(ModelLoadError) as caught:
            await client.start()
        assert "secret" not in caught.value.message
        assert not client.alive
        await client.aclose()


@clause
async def closing_the_engine_ends_what_is_in_flight(harness: Harness) -> None:
    async with serving(harness, max_num_seqs=1) as client:
        streams = [client.submit(endless("runs")), client.submit(endless("waits"))]
        await anext(streams[0])
        await client.aclose()
        for stream in streams:
            with pytest.raises(Unavailable):
                _ = [o async for o in stream]
        await client.aclose()
        with pytest.raises(Unavailable):
            client.submit(make_request())


@clause
async def the_end_does_not_queue_behind_what_was_not_read(harness: Harness) -> None:
    async with serving(harness) as client:
        unread, reading = client.submit(endless("unread")), client.submit(endless("reading"))
        for _ in range(9):
            await anext(reading)
        await client.aclose()
        with pytest.raises(Unavailable):
            await anext(unread)


@clause
async def closing_an_engine_that_was_never_started_is_harmless(harness: Harness) -> None:
    await harness.client().aclose()


@clause
async def deadlines_end_requests(harness: Harness) -> None:
    async with serving(harness, max_num_seqs=1) as client:
        streams = [client.submit(endless(i, timeout_s=0.5)) for i in ("runs", "waits")]
        first = await anext(streams[0])
        harness.advance(1.0)
        for stream, read in zip(streams, ([first], []), strict=True):
            last = [*read, *[o async for o in stream]][-1]
            assert last.error is not None
            assert last.error[0] == "deadline_exceeded"
        await assert_idle(client)


THINK, UNTHINK = 94, 95


def letters(token_ids: list[int]) -> str:
    """What they spell in the vocabulary that `save_letters` writes."""
    return "".join(chr(32 + token_id) for token_id in token_ids)


def said_by(outputs: list[TokenOutput], choice: int = 0) -> list[int]:
    return [i for o in outputs if o.choice == choice for i in o.token_ids]


@clause
async def a_grammar_is_kept_by_every_choice_and_ends_the_text(harness: Harness) -> None:
    async with serving(harness) as client:
        free = [make_request(f"{i}", [i, 2, 3], seed=i, max_tokens=15) for i in range(5)]
        bound = make_request(
            "bound", n=3, max_tokens=50, temperature=1.0, grammar='start: "<" /[a-z]{4}/ ("," /[0-9]/)* ">"'
        )
        *others, outputs = await asyncio.gather(*(collect(client, r) for r in [*free, bound]))
        for choice in range(3):
            said = letters(said_by(outputs, choice))
            assert re.fullmatch("<[a-z]{4}(,[0-9])*>", said), said
            *_, last, end = [o for o in outputs if o.choice == choice]
            assert (len(last.token_ids), last.finish, end.token_ids, end.finish) == (1, None, [], "stop")
        for request, told in zip(free, others, strict=True):
            assert_as_alone(request, told)
        await assert_idle(client)


@clause
async def a_grammar_may_end_at_an_end_id_and_only_where_it_is_complete(harness: Harness) -> None:
    async with serving(harness) as client:
        for seed in range(5):
            request = make_request(
                "r", seed=seed, max_tokens=80, eos_ids=(93,), grammar="start: /([a-c]{3})+/"
            )
            outputs = await collect(client, request)
            *said, last = said_by(outputs)
            assert (len(said) % 3, last, outputs[-1].finish) == (0, 93, "stop") or len(said) == 79


@clause
async def a_wrong_grammar_ends_its_request_alone(harness: Harness) -> None:
    async with serving(harness) as client:
        running = client.submit(endless())
        await anext(running)
        for wrong in (
            "garbage((",
            json.dumps({"grammars": [{"json_schema": {"$ref": "#"}}]}),
            "x" * 3_000_000,
        ):
            (output,) = await collect(client, make_request("r", grammar=wrong))
            assert output.error is not None
            assert output.error[0] == "invalid_grammar"
        assert (await anext(running)).token_ids
        await running.aclose()
        await assert_idle(client)


@clause
async def leaving_while_a_grammar_is_compiled_leaves_nothing_behind(harness: Harness) -> None:
    chain = "".join(f'A{i}: "x" A{i + 1}\n' for i in range(3000))
    async with serving(harness) as client:
        neighbour = client.submit(endless())
        for i in range(6):
            request = make_request("r", grammar=f'start: A0\n{chain}A3000: "{i}"')
            stream = client.submit(request)
            assert (await anext(neighbour)).token_ids
            await stream.aclose()
        await neighbour.aclose()
        await assert_idle(client)


@clause
async def a_spent_budget_closes_the_thought(harness: Harness) -> None:
    rules = ThinkingRules(
        in_thought=True, open_ids=(THINK,), close_ids=(UNTHINK,), budget=4, forced_ids=(5, UNTHINK, 6)
    )
    async with serving(harness) as client:
        for grammar in (None, "start: /[a-z]{3}/"):
            request = make_request("r", max_tokens=12, thinking=rules, grammar=grammar)
            outputs = await collect(client, request)
            said = said_by(outputs)
            assert said[:7] == [*alone(request, VOCAB)[0][:4], 5, UNTHINK, 6]
            assert len(said) == (12 if grammar is None else 10)
            assert grammar is None or letters(said[7:]).isalpha()


@clause
async def what_is_said_first_is_the_prompt_and_what_was_cached(harness: Harness) -> None:
    async with serving(harness) as client:
        request = make_request("a", list(range(1, 12)), prompt_logprobs=0, logprobs=0)
        first, *_ = await collect(client, request)
        assert first.prompt_logprobs is not None
        assert [e.token_id for e in first.prompt_logprobs] == request.prompt_ids
        assert len(first.logprobs) == 1
        again, *_ = await collect(client, make_request("b", list(range(1, 12))))
        assert (first.cached_tokens, again.cached_tokens) == (0, 8)
