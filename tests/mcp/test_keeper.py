"""A server's life, with connections that are played and pauses that are ended by hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tests.fakes.clock import HandClock
from tests.mcp.conftest import LIMIT_S, managing, rogue, settled, until

from vllm_mlx.core.errors import InvalidRequest, NotFound, Overloaded, Unavailable
from vllm_mlx.mcp.config import McpServer
from vllm_mlx.mcp.manager import MAX_CALLS_AT_ONCE, McpManager
from vllm_mlx.mcp.tools import Listing, Tool, ToolOutcome

pytestmark = [pytest.mark.anyio, pytest.mark.requirement(64)]


def listing(*names: str) -> Listing:
    return Listing(tuple(Tool(name=n, description="", parameters={"type": "object"}) for n in names))


class Played:
    """A connection; `hold` keeps its calls waiting."""

    def __init__(self) -> None:
        self.lost = asyncio.Event()
        self.changed = asyncio.Event()
        self.hold = asyncio.Event()
        self.hold.set()
        self.reason = ""
        self.listing = listing("a")

    async def relist(self) -> None:
        self.changed.clear()
        self.listing = listing("a", "b")

    async def call(self, tool: str, arguments: dict[str, Any], timeout_s: float) -> ToolOutcome:
        await self.hold.wait()
        return ToolOutcome(text=f"{tool} within {timeout_s:g}")

    def end(self, reason: str) -> None:
        self.reason = reason
        self.lost.set()


class World:
    """Connections in the order they are opened; an exception among them is what opening brings.

    `hang` keeps new ones from opening for ever, `gate` until it is set.
    """

    def __init__(self, *connections: Played | BaseException) -> None:
        self._connections = iter(connections)
        self.clock = HandClock()
        self.pauses: asyncio.Queue[float] = asyncio.Queue()
        self._over = asyncio.Semaphore(0)
        self.closed = 0
        self.hang = False
        self.gate = asyncio.Event()
        self.gate.set()

    @asynccontextmanager
    async def connect(self, server: McpServer) -> AsyncIterator[Any]:
        if self.hang:
            await asyncio.Event().wait()
        await self.gate.wait()
        connection = next(self._connections)
        if isinstance(connection, BaseException):
            raise connection
        try:
            yield connection
        finally:
            self.closed += 1

    async def pause(self, seconds: float) -> None:
        self.pauses.put_nowait(seconds)
        await self._over.acquire()

    async def next_pause(self) -> float:
        """The pause that has begun; it is over then."""
        seconds = await asyncio.wait_for(self.pauses.get(), LIMIT_S)
        self._over.release()
        return seconds

    def managing(self, *servers: McpServer) -> Any:
        return managing(*servers, clock=self.clock, pause=self.pause, connect=self.connect)


SERVER = McpServer(name="My Box", prefix="My_Box", transport="stdio", timeout_s=9)


async def test_the_pause_doubles_until_a_connection_holds() -> None:
    steady, gone = Played(), Unavailable("its program cannot be started")
    world = World(*[gone] * 8, steady, gone, gone)
    async with world.managing(SERVER) as manager:
        assert [await world.next_pause() for _ in range(8)] == [1, 2, 4, 8, 16, 32, 60, 60]
        await settled(manager)
        world.clock.advance(3600)
        steady.end("it was killed")
        assert [await world.next_pause() for _ in range(2)] == [1, 2]


async def test_each_try_is_counted_and_told_until_the_pause_has_stopped_to_grow(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "vllm_mlx.mcp")
    gone = Unavailable("its program 'xyz' cannot be started: No such file or directory")
    world = World(*[gone] * 10, Unavailable("it sulks"))
    async with world.managing(SERVER) as manager:
        for tries in range(11):
            await until(lambda tries=tries: world.pauses.qsize() == 1)  # type: ignore[misc]
            assert manager.servers()[0].restarts == tries
            world.hang = tries == 10
            await world.next_pause()
    failures = [record for record in caplog.records if "failed" in record.getMessage()]
    assert [record.getMessage().rpartition("; ")[2] for record in failures] == [
        f"next try in {seconds} s" for seconds in (1, 2, 4, 8, 16, 32, 60, 60)
    ]
    assert [record.levelname for record in failures] == ["WARNING", *["INFO"] * 6, "WARNING"]


async def test_a_server_that_is_tried_again_says_what_it_failed_of() -> None:
    world = World(Unavailable("it sulks"))
    async with world.managing(SERVER) as manager:
        await settled(manager, "failed")
        world.hang = True
        await world.next_pause()
        await settled(manager, "connecting")
        with pytest.raises(Unavailable, match=r"My Box is connecting again after it failed: it sulks\."):
            await manager.execute("My_Box__a", {}, caller="route")


async def test_a_transport_that_cancels_its_keeper_does_not_end_it() -> None:
    world = World(asyncio.CancelledError(), Played())
    async with world.managing(SERVER) as manager:
        assert await world.next_pause() == 1
        await settled(manager)


async def test_whoever_else_cancels_the_keeper_ends_it() -> None:
    """As the event loop does when it ends: a keeper that went on would keep it for ever."""
    world = World(Played(), Played())
    async with world.managing(SERVER) as manager:
        await settled(manager)
        keeping = [task for task in asyncio.all_tasks() if task.get_name() == "mcp-My_Box"]
        keeping[0].cancel()
        await asyncio.wait_for(asyncio.wait(keeping), LIMIT_S)
        assert (manager.servers()[0].state, manager.tools(), world.closed) == ("stopped", [], 1)


@pytest.mark.parametrize("hang", [False, True])
async def test_a_transport_that_turns_its_cancellation_into_a_failure_is_closed_all_the_same(
    hang: bool,
) -> None:
    @asynccontextmanager
    async def connect(_: McpServer) -> AsyncIterator[Any]:
        try:
            if hang:
                await asyncio.Event().wait()
            yield Played()
        except asyncio.CancelledError:
            raise RuntimeError("closed") from None

    manager = McpManager([SERVER], connect=connect)
    await manager.start()
    await asyncio.sleep(0)
    if not hang:
        await settled(manager)
    await asyncio.wait_for(manager.aclose(), LIMIT_S)
    assert manager.servers()[0].state == "stopped"


async def test_after_the_close_nothing_is_offered_and_a_call_is_unavailable() -> None:
    async with World(Played()).managing(SERVER) as manager:
        await settled(manager)
        await manager.aclose()
        assert (manager.tools(), manager.servers()[0].tools_count) == ([], 0)
        with pytest.raises(Unavailable, match=r"My Box is stopped\."):
            await manager.execute("My_Box__a", {}, caller="route")


async def test_a_tool_of_a_server_with_a_long_name_is_run_by_the_name_it_is_offered_under() -> None:
    for chars in (48, 54, 58, 64):
        server = McpServer(name="s", prefix="p" * chars, transport="stdio")
        async with World(Played()).managing(server) as manager:
            await settled(manager)
            (offered,) = manager.select(["s"])
            assert manager.select([offered.name]) == [offered]
            assert (await manager.execute(offered.name, {}, caller="route")).text == "a within 60"


async def test_the_log_counts_tools_in_words(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "vllm_mlx.mcp")
    two = Played()
    two.listing = listing("a", "b")
    other = McpServer(name="other", prefix="other", transport="stdio")
    async with World(Played(), two).managing(SERVER, other) as manager:
        await settled(manager)
    told = [record.getMessage().rpartition(" is ")[2] for record in caplog.records]
    assert told == ["ready with 1 tool", "ready with 2 tools"]


async def test_health_says_what_goes_on_and_why() -> None:
    first, second = Played(), Played()
    world = World(RuntimeError("a secret trace"), first, second)
    manager = McpManager([SERVER], clock=world.clock, pause=world.pause, connect=world.connect)
    assert [h.state for h in manager.servers()] == ["connecting"]
    await manager.start()
    await settled(manager, "failed")
    (health,) = manager.servers()
    assert (health.error, health.tools_count) == ("it cannot be reached (RuntimeError)", 0)
    await world.next_pause()
    await settled(manager)
    (health,) = manager.servers()
    assert (health.error, health.tools_count, health.restarts) == (None, 1, 1)
    first.end("it was killed")
    await world.next_pause()
    await settled(manager)
    assert manager.servers()[0].restarts == 2
    await manager.aclose()
    assert [h.state for h in manager.servers()] == ["stopped"]
    assert world.closed == 2


async def test_a_server_that_is_not_ready_is_unavailable_and_its_tools_are_not_listed() -> None:
    world = World(Unavailable("it sulks"))
    async with world.managing(SERVER) as manager:
        await settled(manager, "failed")
        assert manager.tools() == []
        with pytest.raises(Unavailable, match=r"My Box has failed: it sulks\.") as failure:
            await manager.execute("My_Box__a", {}, caller="route")
        assert failure.value.code == "mcp_server_unavailable"
        assert failure.value.retry_after_s is not None
        assert failure.value.param is None
        for wanted in (["My Box"], ["My_Box__a"], None):
            with pytest.raises(Unavailable) as failure:
                manager.select(wanted)
            assert failure.value.param == "mcp_tools"


async def test_a_request_waits_for_a_server_that_is_tried_for_the_first_time() -> None:
    world = World(Played())
    world.gate.clear()
    async with world.managing(SERVER) as manager:
        for wanted in (None, ["My Box"], ["My_Box__a"]):
            with pytest.raises(Unavailable, match="The MCP server My Box is connecting"):
                manager.select(wanted)
        waits = [asyncio.create_task(manager.settle(wanted)) for wanted in (None, ["My_Box"], ["My_Box__a"])]
        await manager.settle(["nobody", "nobody__a"])
        assert not any(wait.done() for wait in waits)
        world.gate.set()
        await asyncio.gather(*waits)
        assert [tool.name for tool in manager.select(None)] == ["My_Box__a"]


async def test_a_request_waits_neither_for_a_hung_server_nor_for_a_second_try(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("vllm_mlx.mcp.manager.FIRST_TRY_S", 0.05)
    world = World()
    world.gate.clear()
    other = McpServer(name="other", prefix="other", transport="stdio")
    off = McpServer(name="off", prefix="off", transport="stdio", disabled=True)
    async with world.managing(SERVER, other, off) as manager:
        await manager.settle(None)
        with pytest.raises(
            Unavailable, match=r"No MCP server is ready: My Box is connecting; other is connecting\."
        ) as failure:
            manager.select(None)
        assert failure.value.retry_after_s is not None
    monkeypatch.setattr("vllm_mlx.mcp.manager.FIRST_TRY_S", LIMIT_S)
    world = World(Unavailable("it sulks"))
    async with world.managing(SERVER, off) as manager:
        await manager.settle(None)
        world.hang = True
        await world.next_pause()
        await settled(manager, "connecting", "disabled")
        await asyncio.wait_for(manager.settle(None), LIMIT_S / 2)
        with pytest.raises(Unavailable, match="My Box is connecting again after it failed: it sulks"):
            manager.select(None)


async def test_servers_that_are_ready_serve_beside_others_that_are_not() -> None:
    other = McpServer(name="other", prefix="other", transport="stdio")
    async with World(Played(), Unavailable("it sulks")).managing(SERVER, other) as manager:
        await manager.settle(None)
        assert [tool.name for tool in manager.select(None)] == ["My_Box__a"]


@pytest.mark.requirement(80)
async def test_a_check_of_arguments_that_takes_too_long_is_given_up_and_holds_up_no_other_call(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("vllm_mlx.mcp.manager.CHECK_S", 0.05)
    box = Played()
    # Items that are not alike are held against each other: the square of their number.
    alike = {"type": "object", "properties": {"a": {"type": "array", "uniqueItems": True}}}
    box.listing = Listing((Tool(name="a", description="", parameters=alike),))
    world = World(box)
    async with world.managing(SERVER) as manager:
        await settled(manager)
        many = {"a": [{"x": i} for i in range(30_000)]}
        slow = [asyncio.create_task(manager.execute("My_Box__a", many, caller="route")) for _ in range(3)]
        outcome = await manager.execute("My_Box__a", {"a": [1, 2]}, caller="route")
        assert outcome.text == "a within 9"
        for task in slow:
            with pytest.raises(InvalidRequest, match="too long to hold against them"):
                await task


async def test_new_tools_are_seen_without_a_new_connection() -> None:
    connection = Played()
    world = World(connection)
    async with world.managing(SERVER) as manager:
        await settled(manager)
        connection.changed.set()
        assert await world.next_pause() == 1
        assert [tool.name for tool in manager.tools()] == ["My_Box__a", "My_Box__b"]
        assert manager.servers()[0].restarts == 0


async def test_calls_reach_the_tool_and_unknown_names_are_not_found() -> None:
    world = World(Played())
    async with world.managing(SERVER) as manager:
        await settled(manager)
        assert (await manager.execute("My_Box__a", {}, caller="route")).text == "a within 9"
        assert (await manager.execute("My_Box__a", {}, caller="route", timeout_s=2)).text == "a within 2"
        for name, code in (
            ("My_Box__z", "mcp_tool_not_found"),
            ("other__a", "mcp_server_not_found"),
            ("a", "mcp_server_not_found"),
            ("x" * 10_000, "mcp_server_not_found"),
        ):
            with pytest.raises(NotFound) as failure:
                await manager.execute(name, {}, caller="route")
            assert failure.value.code == code
            assert len(failure.value.message) < 300
            assert ("'My_Box__a'" if code == "mcp_tool_not_found" else "'My_Box'") in failure.value.message


async def test_a_request_chooses_by_server_or_tool() -> None:
    other = McpServer(name="other", prefix="other", transport="stdio", disabled=True)
    world = World(Played())
    async with world.managing(SERVER, other) as manager:
        await settled(manager, "ready", "disabled")
        for wanted in (None, ["My Box"], ["My_Box"], ["My_Box__a", "My Box"]):
            assert [tool.name for tool in manager.select(wanted)] == ["My_Box__a"]
        for unknown in ("nobody", "My_Box__z"):
            with pytest.raises(InvalidRequest) as failure:
                manager.select([unknown])
            assert failure.value.param == "mcp_tools"
        for name in ("other", "other__a"):  # to try again later would help nobody
            with pytest.raises(InvalidRequest, match="other is disabled in the configuration") as refused:
                manager.select([name])
            assert (refused.value.param, refused.value.code) == ("mcp_tools", "mcp_server_disabled")
        with pytest.raises(NotFound, match="other is disabled in the configuration"):
            await manager.execute("other__a", {}, caller="route")


async def test_a_slow_server_does_not_pile_up_calls() -> None:
    connection = Played()
    connection.hold.clear()
    async with World(connection).managing(SERVER) as manager:
        await settled(manager)
        calls = [
            asyncio.create_task(manager.execute("My_Box__a", {}, caller="x"))
            for _ in range(MAX_CALLS_AT_ONCE)
        ]
        await asyncio.sleep(0)
        with pytest.raises(Overloaded):
            await manager.execute("My_Box__a", {}, caller="route")
        connection.hold.set()
        assert {outcome.text for outcome in await asyncio.gather(*calls)} == {"a within 9"}
        assert manager.status() == {
            "servers": {"My Box": {"state": "ready", "tools": 1, "restarts": 0, "running": 0, "error": None}}
        }


async def test_a_server_that_is_switched_off_is_never_started() -> None:
    world = World()
    async with world.managing(
        McpServer(name="off", prefix="off", transport="stdio", disabled=True)
    ) as manager:
        assert [h.state for h in manager.servers()] == ["disabled"]
    assert [h.state for h in manager.servers()] == ["disabled"]


async def test_one_hanging_server_does_not_hold_up_another() -> None:
    async with managing(rogue("mute"), rogue("fine")) as manager:
        await settled(manager, "ready", "connecting")
        await until(lambda: manager.servers()[1].state == "ready")
        assert manager.servers()[0].state == "connecting"
        assert [tool.name for tool in manager.tools()] == ["fine__echo"]
