"""The engine in this process keeps the contract of its port, and its thread to itself."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import fields
from typing import Any

import pytest
from tests.contracts.engine_client import CONTRACT, Check, collect, endless, serving
from tests.fakes.clock import HandClock
from tests.fakes.driver import make_request
from tests.fakes.letters import letters_folder
from tests.fakes.runner import FakeRunner
from tests.limits import LIMIT_S

from vllm_mlx.config import CacheConfig, EngineConfig
from vllm_mlx.core.errors import Unavailable
from vllm_mlx.engine.engine import InProcessEngine

RUNNER_OPTIONS = {f.name for f in fields(FakeRunner)}


class InProcess:
    """A contract harness over `InProcessEngine`; remembers the runners and the threads that used them."""

    def __init__(self) -> None:
        self.clock = HandClock()
        self.runners: list[FakeRunner] = []
        self.threads: set[int] = set()

    def client(self, *, load_error: Exception | None = None, **options: Any) -> InProcessEngine:
        mine = {name: options.pop(name) for name in RUNNER_OPTIONS & options.keys()}

        def load() -> FakeRunner:
            self.threads.add(threading.get_ident())
            if load_error is not None:
                raise load_error
            self.runners.append(FakeRunner(**mine))
            return self.runners[-1]

        return InProcessEngine(
            load, EngineConfig(**options), CacheConfig(), self.clock, folder=letters_folder()
        )

    def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)


def run(check: Any) -> None:
    async def bounded() -> None:
        await asyncio.wait_for(check, timeout=LIMIT_S)

    before = threading.active_count()
    asyncio.run(bounded())
    for thread in threading.enumerate():
        if thread.name in ("grammar", "join"):  # foreign code cannot be stopped; the other is about to end
            thread.join(LIMIT_S)
    assert threading.active_count() <= before


@pytest.mark.requirement(58, 85)
@pytest.mark.parametrize("check", CONTRACT, ids=lambda check: check.__name__)
def test_the_contract(check: Check) -> None:
    run(check(InProcess()))


def test_the_model_is_loaded_used_and_closed_off_the_callers_thread() -> None:
    async def check() -> None:
        harness = InProcess()
        async with serving(harness) as client:
            await collect(client, make_request())
        assert threading.get_ident() not in harness.threads
        assert harness.runners[0].closed
        assert sorted(harness.runners[0].forgotten) == [0]

    run(check())


def test_the_runner_is_closed_when_it_died() -> None:
    async def check() -> None:
        harness = InProcess()
        async with serving(harness, die_on=96) as client:
            with pytest.raises(Unavailable):
                await collect(client, make_request("r", [96]))
        assert harness.runners[0].closed

    run(check())


def test_one_step_wakes_the_asyncio_loop_once_whoever_it_serves() -> None:
    async def check() -> None:
        harness = InProcess()
        wakes = 0
        async with serving(harness) as client:
            loop = asyncio.get_running_loop()
            call = loop.call_soon_threadsafe

            def counted(*args: Any, **kwargs: Any) -> Any:
                nonlocal wakes
                wakes += 1
                return call(*args, **kwargs)

            loop.call_soon_threadsafe = counted  # type: ignore[method-assign]
            requests = [make_request(f"{i}", [i, 2], max_tokens=20) for i in range(8)]
            await asyncio.gather(*(collect(client, r) for r in requests))
            assert wakes <= client.stats().steps
            loop.call_soon_threadsafe = call  # type: ignore[method-assign]

    run(check())


def test_it_starts_only_once() -> None:
    async def check() -> None:
        async with serving(InProcess()) as client:
            with pytest.raises(Unavailable):
                await client.start()

    run(check())


def test_many_streams_that_come_and_go_leave_nothing_behind() -> None:
    async def check() -> None:
        async with serving(InProcess(), max_num_seqs=16) as client:

            async def one(i: int) -> None:
                stream = client.submit(endless(f"{i}", priority=i % 3))
                for _ in range(i % 4):
                    await anext(stream)
                await stream.aclose()

            await asyncio.gather(*(one(i) for i in range(200)))
            await collect(client, make_request("last", priority=9))
            stats = client.stats()
            assert (stats.running, stats.waiting, stats.cache.active_blocks) == (0, 0, 0)

    run(check())
