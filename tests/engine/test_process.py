"""The engine in a child process keeps the contract of its port, and outlives its child."""

from __future__ import annotations

import asyncio
import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from tests.contracts.engine_client import CONTRACT, ENDLESS, Check, assert_as_alone, collect, endless, serving
from tests.fakes.child_runner import describe
from tests.fakes.clock import HandClock
from tests.fakes.driver import make_request
from tests.fakes.runner import FakeRunner
from tests.limits import LIMIT_S

from vllm_mlx.config import CacheConfig, EngineConfig, ModelConfig
from vllm_mlx.core.errors import InvalidRequest, ModelLoadError, Overloaded, Unavailable
from vllm_mlx.engine.client import EngineClient
from vllm_mlx.engine.frames import Launch
from vllm_mlx.engine.process import Backoff, ProcessEngine

RUNNER_OPTIONS = {f.name for f in fields(FakeRunner)}


class InChild:
    """A contract harness over `ProcessEngine`; only the clock of its children is the real one."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.clock = HandClock()
        self.folders: list[Path] = []

    def client(self, *, load_error: Exception | None = None, **options: Any) -> ProcessEngine:
        mine = {name: options.pop(name) for name in RUNNER_OPTIONS & options.keys()}
        backoff = options.pop("backoff", None)
        folder = Path(tempfile.mkdtemp(dir=self._root))
        self.folders.append(folder)
        describe(folder, load_error=load_error, kill_self=options.pop("kill_self", False), **mine)
        launch = Launch(
            folder=str(folder),
            model=ModelConfig(),
            engine=EngineConfig(**options),
            cache=CacheConfig(),
            runner_factory="tests.fakes.child_runner:fake_runner",
            grammars_ahead=False,  # a second less for each of a hundred children
        )
        return ProcessEngine(launch, backoff=backoff, clock=self.clock)

    def advance(self, seconds: float) -> None:
        """Nothing to do: real time passes by itself."""


@pytest.fixture
def harness(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[InChild]:
    """A harness whose engines must leave neither descriptors nor files behind."""
    sockets = tmp_path / "s"
    sockets.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(sockets))
    before = set(os.listdir("/dev/fd"))
    yield InChild(tmp_path)
    assert list(sockets.iterdir()) == []
    assert len(os.listdir("/dev/fd")) <= len(before)


def run(check: Any, limit_s: float = LIMIT_S) -> None:
    async def bounded() -> None:
        await asyncio.wait_for(check, timeout=limit_s)

    asyncio.run(bounded())


@pytest.mark.requirement(58, 85)
@pytest.mark.parametrize("check", CONTRACT, ids=lambda check: check.__name__)
def test_the_contract(check: Check, harness: InChild) -> None:
    run(check(harness))


def quick() -> Backoff:
    return Backoff(first_s=0.05)  # each engine its own: a wait grows with every use


async def back(client: EngineClient) -> None:
    """Return once the engine serves again."""
    await until(lambda: client.alive)


async def until(happened: Callable[[], bool]) -> None:
    for _ in range(3000):
        if happened():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not happen")


def pid_of(client: EngineClient) -> int:
    pid = client.health().pid
    assert pid is not None
    return pid


def test_a_child_that_is_killed_amid_streams_is_told_to_all_and_started_again(harness: InChild) -> None:
    async def check() -> None:
        async with serving(harness, backoff=quick()) as client:
            streams = [client.submit(endless(f"{i}")) for i in range(16)]
            for stream in streams:
                await anext(stream)
            killed = pid_of(client)
            os.kill(killed, signal.SIGKILL)
            for stream in streams:
                with pytest.raises(Unavailable, match="starting again"):
                    _ = [o async for o in stream]
            assert (client.health().state, client.alive) == ("restarting", False)
            assert "SIGKILL" in client.health().detail
            with pytest.raises(Unavailable) as refused:
                client.submit(make_request())
            assert refused.value.retry_after_s is not None
            await back(client)
            health = client.health()
            assert (health.state, health.restarts, health.detail) == ("ready", 1, "")
            assert health.pid not in (None, killed)
            request = make_request("0", [5, 6])
            assert_as_alone(request, await collect(client, request))
            assert client.stats().finished_requests == 1

    run(check())


def test_what_is_sent_while_the_child_dies_is_told_and_holds_nothing_up(harness: InChild) -> None:
    async def check() -> None:
        async with serving(harness, backoff=quick()) as client:
            await collect(client, make_request("warm", max_tokens=1))
            os.kill(pid_of(client), signal.SIGKILL)
            # Without a look at the line's end: some are sent before the system ends it, some after.
            streams = [client.submit(endless(f"{i}")) for i in range(3000)]
            for stream in streams:
                with pytest.raises(Unavailable, match="starting again"):
                    _ = [o async for o in stream]
            await back(client)

    run(check())


def test_a_child_that_is_stopped_by_its_runner_is_started_again(harness: InChild) -> None:
    async def check() -> None:
        async with serving(harness, backoff=quick(), die_on=96) as client:
            for restarts in (1, 2):
                with pytest.raises(Unavailable):
                    await collect(client, make_request("kills", [96]))
                assert "exit code 1" in client.health().detail
                await back(client)
                assert client.health().restarts == restarts

    run(check())


def test_a_child_that_dies_while_it_loads_is_a_model_that_cannot_be_loaded(harness: InChild) -> None:
    async def check() -> None:
        client = harness.client(kill_self=True)
        with pytest.raises(ModelLoadError, match="SIGKILL, as the system does when memory runs out"):
            await client.start()
        assert client.health().state == "stopped"
        await client.aclose()

    run(check())


def test_an_engine_can_be_closed_while_it_waits_for_its_next_start(harness: InChild) -> None:
    async def check() -> None:
        async with serving(harness, backoff=Backoff(first_s=1000)) as client:
            os.kill(pid_of(client), signal.SIGKILL)
            await until(lambda: not client.alive)
        assert client.health().state == "stopped"

    run(check())


def test_an_engine_can_be_closed_while_it_loads(harness: InChild) -> None:
    async def check() -> None:
        client = harness.client()
        starting = asyncio.ensure_future(client.start())
        await asyncio.sleep(0)
        await client.aclose()
        with pytest.raises(Unavailable):
            await starting

    run(check())


def test_it_starts_only_once(harness: InChild) -> None:
    async def check() -> None:
        async with serving(harness) as client:
            with pytest.raises(Unavailable):
                await client.start()

    run(check())


def test_two_engines_serve_side_by_side_and_one_dies_alone(harness: InChild) -> None:
    async def check() -> None:
        async with serving(harness) as one, serving(harness, backoff=Backoff(first_s=1000)) as other:
            stream = one.submit(endless())
            await anext(stream)
            assert pid_of(one) != pid_of(other)
            os.kill(pid_of(other), signal.SIGKILL)
            with pytest.raises(Unavailable):
                await collect(other, endless())
            await anext(stream)
            request = make_request("r", [4, 5, 6])
            assert_as_alone(request, await collect(one, request))
            assert one.alive
            assert not other.alive
            await stream.aclose()

    run(check())


def test_a_request_that_cannot_be_written_is_refused_alone(harness: InChild) -> None:
    async def check() -> None:
        async with serving(harness) as client:
            stream = client.submit(endless())
            for bad in (
                make_request("half", stop=("\ud800",)),
                make_request("huge", seed=2**80),
                make_request("odd", [1, "two"]),  # type: ignore[list-item]
            ):
                with pytest.raises(InvalidRequest):
                    client.submit(bad)
            request = make_request("r", [4, 5, 6])
            assert_as_alone(request, await collect(client, request))
            assert await anext(stream)
            await stream.aclose()

    run(check())


def test_signals_for_the_group_do_not_end_the_child(harness: InChild) -> None:
    async def check() -> None:
        async with serving(harness) as client:
            assert os.getsid(pid_of(client)) == pid_of(client)
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                os.kill(pid_of(client), number)
            request = make_request("r", [4, 5, 6])
            assert_as_alone(request, await collect(client, request))
            assert client.health().restarts == 0

    run(check())


def test_one_step_is_one_message_whoever_it_serves(harness: InChild) -> None:
    async def check() -> None:
        async with serving(harness) as client:
            streams = [client.submit(endless(f"{i}")) for i in range(8)]
            for stream in streams:
                await anext(stream)  # now all of them run
            await until(lambda: client.stats().largest_batch == 8)
            for stream in streams:
                await stream.aclose()

    run(check())


LIMIT = 0.2  # on a clock that is turned by hand, but a part of it passes between two looks
HANGS = 96


@pytest.mark.requirement(85)
def test_a_child_that_hangs_is_ended_told_to_all_and_started_again(harness: InChild) -> None:
    async def check() -> None:
        async with serving(harness, backoff=quick(), hang_on=HANGS, engine_timeout=LIMIT) as client:
            stream = client.submit(endless())
            await anext(stream)
            hung = pid_of(client)
            waits = asyncio.ensure_future(collect(client, make_request("hangs", [HANGS])))
            # Nothing is told of a step that hangs, so it is only the clock that says when it began.
            await until(lambda: harness.clock.advance(LIMIT / 100) or not client.alive)
            assert client.health().state == "restarting"
            assert "said nothing for 0.2 s although it had work" in client.health().detail
            with pytest.raises(Unavailable, match="starting again"):
                await waits
            with pytest.raises(Unavailable, match="starting again"):
                _ = [o async for o in stream]
            await back(client)
            assert (client.health().restarts, pid_of(client) != hung) == (1, True)
            request = make_request("r", [4, 5, 6])
            assert_as_alone(request, await collect(client, request))

    run(check())


def test_a_child_without_work_may_be_silent_for_ever(harness: InChild) -> None:
    async def check() -> None:
        async with serving(harness, engine_timeout=LIMIT) as client:
            request = make_request("r", [4, 5, 6])
            for _ in range(3):
                assert_as_alone(request, await collect(client, request))
                harness.clock.advance(1000)
                await asyncio.sleep(LIMIT / 5)  # several looks, none of which may find it at fault
            assert client.health().restarts == 0

    run(check())


@pytest.mark.parametrize("bound", [{"engine_timeout": 0.0}, {"engine_timeout": 1e9}])
def test_a_step_may_take_as_long_as_the_operator_says(bound: dict[str, float], harness: InChild) -> None:
    async def check() -> None:
        async with serving(harness, hang_on=HANGS, **bound) as client:
            waits = asyncio.ensure_future(collect(client, make_request("hangs", [HANGS])))
            await asyncio.sleep(0)
            harness.clock.advance(10**6)
            await asyncio.sleep(0)
            assert client.alive
            os.kill(pid_of(client), signal.SIGKILL)
            with pytest.raises(Unavailable):
                await waits

    run(check())


@pytest.mark.requirement(85)
@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("fingerprint", {"fingerprint": "other"}),
        ("vocab_size", {"vocab_size": 91}),
        ("max_model_len", {"max_model_len": 512}),
        ("kv_capacity_tokens", {"num_blocks": 12}),
    ],
)
def test_a_model_that_changed_under_the_front_is_not_served(
    name: str, changed: dict[str, Any], harness: InChild, caplog: pytest.LogCaptureFixture
) -> None:
    async def check() -> None:
        async with serving(harness, backoff=quick()) as client:
            describe(harness.folders[0], **{"num_blocks": 1000, "max_model_len": ENDLESS, **changed})
            os.kill(pid_of(client), signal.SIGKILL)
            await until(lambda: client.health().state == "stopped")
            health = client.health()
            assert f"the model's files have changed ({name} differs)" in health.detail
            assert not client.alive
            with pytest.raises(Unavailable, match="have changed") as refused:
                client.submit(make_request())
            assert refused.value.retry_after_s is None
            assert health.detail in caplog.text
            assert (health.pid, client.health().restarts) == (None, 1)

    run(check())


def test_the_wait_grows_to_its_limit_and_is_short_again_after_a_healthy_while() -> None:
    backoff = Backoff(first_s=1, longest_s=5, healthy_s=60)
    assert [backoff.after(lasted) for lasted in (0, 0, 59, 0, 0)] == [1, 2, 4, 5, 5]
    assert [backoff.after(lasted) for lasted in (61, 0)] == [1, 2]


# Within the library's limits, and more work than anyone waits for.
_RULES = "".join(f'a{i}: a{i + 1} a{i + 1} | "x"\n' for i in range(20_000))
ENDLESS_GRAMMAR = f'start: a0\n{_RULES}a20000: "z"'


def test_a_child_that_is_killed_while_it_compiles_a_grammar_is_told_and_started_again(
    harness: InChild,
) -> None:
    async def check() -> None:
        async with serving(harness, backoff=quick()) as client:
            compiles = client.submit(make_request("compiles", grammar=ENDLESS_GRAMMAR))
            beside = client.submit(endless())
            for _ in range(50):
                await anext(beside)
            os.kill(pid_of(client), signal.SIGKILL)
            for stream in (compiles, beside):
                with pytest.raises(Unavailable, match="starting again"):
                    _ = [o async for o in stream]
            await back(client)
            request = make_request("word", grammar="start: /[a-z]{3}/", max_tokens=9)
            assert len(await collect(client, request)) == 4

    run(check())


@pytest.mark.slow
@pytest.mark.requirement(63, 80)
def test_a_hopeless_grammar_is_given_up_while_its_neighbours_go_on(harness: InChild) -> None:
    async def check() -> None:
        async with serving(harness) as client:
            hopeless = asyncio.ensure_future(collect(client, make_request("r", grammar=ENDLESS_GRAMMAR)))
            beside = make_request("beside", [4, 5], max_tokens=100)
            rounds = 0
            while not hopeless.done():
                assert_as_alone(beside, await collect(client, beside))
                rounds += 1
            # Were it to hold the engine up, it would be over with the first one.
            assert rounds > 2
            if (ended := hopeless.exception()) is None:
                (output,) = hopeless.result()
                assert output.error is not None
                assert output.error[0] == "invalid_grammar"
            else:  # other programs left it less than its eight seconds of a core in thirty
                assert isinstance(ended, Overloaded)

    run(check(), 3 * LIMIT_S)
