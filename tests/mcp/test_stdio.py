"""Servers that are processes: real ones, and every way we know to misbehave."""

from __future__ import annotations

import asyncio
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.mcp.conftest import FAKES, LIMIT_S, managing, rogue, sdk_server, settled, stdio, until

from vllm_mlx.core.errors import DeadlineExceeded, InvalidRequest, Unavailable
from vllm_mlx.mcp.config import McpServer
from vllm_mlx.mcp.policy import Approval
from vllm_mlx.mcp.stdio import stdio_streams

pytestmark = [pytest.mark.anyio, pytest.mark.requirement(64)]


async def test_tools_of_the_sdks_own_server_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OURS_ALONE", "secret")
    marker = tmp_path / "marker"
    async with managing(sdk_server(env={"GIVEN": "yes"}, max_result_bytes=1000)) as manager:
        await settled(manager)
        tools = {tool.name: tool.tool for tool in manager.tools()}
        assert (tools["fake__add"].description, tools["fake__add"].read_only) == ("Add two numbers.", True)
        assert not tools["fake__fail"].read_only
        added = await manager.execute("fake__add", {"a": 2, "b": 3}, caller="route")
        assert (added.text, added.is_error, added.structured) == ("5", False, {"result": "5"})
        with pytest.raises(InvalidRequest, match="a: 'two' is not of type 'integer'"):
            await manager.execute("fake__add", {"a": "two", "b": 3}, caller="route")
        failed = await manager.execute("fake__fail", {}, caller="route")
        assert (failed.is_error, "fail" in failed.text) == (True, True)
        assert (
            await manager.execute("fake__picture", {}, caller="route")
        ).text == "[image, image/png, 8 bytes]"
        long = await manager.execute("fake__repeat", {"text": "é", "times": 5000}, caller="route")
        assert (long.truncated, len(long.text.encode()) <= 1000) == (True, True)
        seen = (await manager.execute("fake__environment", {}, caller="route")).text.split()
        assert "given=yes" in seen
        assert "OURS_ALONE" not in seen
        assert not {name for name in seen if name.startswith(("VLLM", "PYTEST", "PYTHONPATH"))}
        waiting = asyncio.create_task(manager.execute("fake__wait", {"marker": str(marker)}, caller="route"))
        await until(lambda: marker.exists())
        waiting.cancel()
        await until(lambda: "cancelled" in marker.read_text())
        await manager.execute("fake__grow", {}, caller="route")
        await until(lambda: "fake__new" in {tool.name for tool in manager.tools()})


async def test_only_allowed_tools_exist() -> None:
    async with managing(replace(rogue("fine"), allowed_tools=frozenset({"other"}))) as manager:
        await settled(manager)
        assert manager.tools() == []


async def test_tools_that_the_file_names_and_the_server_has_not_are_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    named = replace(
        rogue("bad-tools"),
        allowed_tools=frozenset({"echo", "ecoh", "z" * 300}),
        approval=Approval("listed", frozenset({"echo", "bad_tools__echo"})),
    )
    async with managing(named) as manager:
        await settled(manager)
        (health,) = manager.servers()
        assert health.missing_tools == ("bad_tools__echo", "ecoh", "z" * 300)
        assert [tool.name for tool in manager.tools()] == ["bad_tools__echo"]
    told = [record.getMessage() for record in caplog.records if "has no tool" in record.getMessage()]
    assert told[1] == "MCP server bad_tools has no tool 'ecoh', which its entry allows or approves"
    assert len(told) == 3


async def test_a_server_killed_in_mid_call_is_told_and_comes_back() -> None:
    pauses: list[float] = []

    async def pause(seconds: float) -> None:
        pauses.append(seconds)

    async with managing(rogue("dies"), pause=pause) as manager:
        await settled(manager)
        with pytest.raises(Unavailable, match="broke in the call: its program ended with exit code 3"):
            await manager.execute("dies__echo", {"text": "x"}, caller="route")
        await until(lambda: manager.servers()[0].restarts == 1)
        await settled(manager)
        assert pauses[0] == 1


async def test_a_call_that_is_never_answered_ends_in_time_and_the_connection_lives() -> None:
    async with managing(rogue("deaf", timeout_s=1.5)) as manager:
        await settled(manager)
        with pytest.raises(DeadlineExceeded, match=r"no result within 1\.5 s"):
            await manager.execute("deaf__echo", {"text": "x"}, caller="route")
        assert manager.servers()[0].state == "ready"


async def test_a_call_ends_in_time_though_the_server_reads_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # So long the SDK would wait to tell the server that nobody waits for the call.
    monkeypatch.setattr("mcp.shared.jsonrpc_dispatcher._ABANDON_WRITE_TIMEOUT", 10 * LIMIT_S)
    script = tmp_path / "reads_no_more.py"
    script.write_text(
        "import json, runpy, sys\n"
        f"rogue = runpy.run_path({str(FAKES / 'mcp_rogue.py')!r})\n"
        "for line in sys.stdin:\n"
        "    request = json.loads(line)\n"
        "    if 'id' in request:\n"
        "        rogue['answer']('fine', request)\n"
        "    if request['method'] == 'tools/list':\n"
        "        break\n"
        "import signal\n"
        "signal.pause()\n"
    )
    async with asyncio.timeout(LIMIT_S), managing(stdio("s", str(script), timeout_s=0.2)) as manager:
        await settled(manager)
        for text in ("x" * 1_000_000, "x"):
            with pytest.raises(DeadlineExceeded):
                await manager.execute("s__echo", {"text": text}, caller="route")
    assert not [task for task in asyncio.all_tasks() if "call_tool" in repr(task)]


@pytest.mark.requirement(80)
@pytest.mark.parametrize(
    ("way", "told"),
    [
        ("exits", "its program ended with exit code 4"),
        ("babbles", "it writes what is no MCP message"),
        ("endless-line", "it sent a message of more than"),
        ("refuses", "it refused: go away"),
    ],
)
async def test_a_hopeless_server_fails_with_a_reason(way: str, told: str) -> None:
    async with managing(rogue(way), pause=for_ever) as manager:
        await settled(manager, "failed")
        assert told in (manager.servers()[0].error or "")


async def test_what_a_program_complained_of_before_it_failed_is_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "vllm_mlx.mcp")
    async with managing(rogue("complains", env={"KEY": "open-sesame"}), pause=for_ever) as manager:
        await settled(manager, "failed")
    [told] = [record.getMessage() for record in caplog.records if "before it ended" in record.getMessage()]
    assert told == "MCP server complains wrote before it ended: KeyError: ***"


@pytest.mark.requirement(80)
async def test_a_secret_that_a_program_writes_is_in_no_log_in_whatever_pieces(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", "vllm_mlx.mcp")
    script = tmp_path / "leaks.py"
    script.write_text(
        "import os, sys\n"
        "key = os.environ['KEY']\n"
        "lines = ('a ' + key, repr(key), ' ' * 290 + key)\n"
        "for text in (*(line + '\\n' for line in lines), 'b ' + key[:12], key[12:]):\n"
        "    sys.stderr.write(text)\n"
        "    sys.stderr.flush()\n"
    )
    async with managing(
        stdio("leaks", str(script), env={"KEY": "open\\sesame-open"}), pause=for_ever
    ) as manager:
        await settled(manager, "failed")
        await until(lambda: any(record.getMessage().endswith("leaks: b ***") for record in caplog.records))
    told = [record.getMessage() for record in caplog.records]
    assert not [line for line in told if "sesame" in line or "open" in line]
    assert "MCP server leaks: a ***" in told


async def test_a_server_that_never_answers_the_handshake_fails_in_time() -> None:
    async with managing(rogue("mute", connect_timeout_s=0.2), pause=for_ever) as manager:
        await settled(manager, "failed")
        assert manager.servers()[0].error == "it did not answer within 0.2 s"


@pytest.mark.parametrize(
    ("command", "cwd", "told"),
    [
        ("/no/such/program", None, "its program '/no/such/program' cannot be started"),
        ("/no" * 50 + "/program", None, "its program '.../program' cannot be started"),
        (sys.executable, "/no/such/folder", "the folder '/no/such/folder' of its program cannot be entered"),
    ],
)
async def test_a_program_that_is_not_there_is_named(command: str, cwd: str | None, told: str) -> None:
    missing = McpServer(name="x", prefix="x", transport="stdio", command=(command,), cwd=cwd)
    async with managing(missing, pause=for_ever) as manager:
        await settled(manager, "failed")
        assert manager.servers()[0].error == f"{told}: No such file or directory"


@pytest.mark.requirement(80)
@pytest.mark.parametrize("way", ["greets", "chatters", "bad-tools"])
async def test_noise_and_bad_neighbours_do_not_hurt_a_good_tool(way: str) -> None:
    async with managing(rogue(way)) as manager:
        await settled(manager)
        name = next(tool.name for tool in manager.tools() if tool.tool.name == "echo")
        assert (await manager.execute(name, {"text": "hi"}, caller="route")).text == "hi"


async def test_tools_that_cannot_be_used_are_left_out_and_named() -> None:
    async with managing(rogue("bad-tools")) as manager:
        await settled(manager)
        (health,) = manager.servers()
        assert [tool.name for tool in health.refused_tools] == [
            "?",
            "no_schema",
            "schema_is_text",
            "bad_type",
            "remote",
            "huge",
            "long",
            "",
            "?",
        ]
        assert [tool.tool.name for tool in manager.tools()] == ["odd output", "odd.output", "n" * 100, "echo"]
        assert len({tool.name for tool in manager.tools()}) == 4


async def test_an_answer_that_is_no_tool_result_is_an_error_of_the_tool() -> None:
    async with managing(rogue("bad-result"), rogue("big-result")) as manager:
        await settled(manager)
        bad = await manager.execute("bad_result__echo", {"text": "x"}, caller="route")
        assert (bad.is_error, bad.text) == (True, "The server's answer is no tool result.")
        big = await manager.execute("big_result__echo", {"text": "x"}, caller="route")
        assert (big.truncated, len(big.text)) == (True, 64 * 1024)


async def test_a_server_without_tools_is_ready() -> None:
    async with managing(rogue("no-tools")) as manager:
        await settled(manager)
        assert manager.servers()[0].tools_count == 0


@pytest.mark.requirement(80)
async def test_no_process_is_left_behind(tmp_path: Path) -> None:
    """Neither one that ignores its end, nor what a server has started itself."""
    script = tmp_path / "parent.py"
    script.write_text(
        "import os, subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        f"open({str(tmp_path / 'pids')!r}, 'w').write(f'{{os.getpid()}} {{child.pid}}')\n"
        f"os.execv(sys.executable, [sys.executable, {str(FAKES / 'mcp_rogue.py')!r}, 'fine'])\n"
    )
    async with managing(stdio("parent", str(script))) as manager:
        await settled(manager)
    pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    await until(lambda: not any(running(pid) for pid in pids))


@pytest.mark.requirement(80)
async def test_no_process_is_left_behind_by_who_has_no_time_to_close(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    code = f"sleep 600 & echo $$ $!. > {pids}; exec {sys.executable} {FAKES / 'mcp_rogue.py'} fine"
    server = McpServer(name="x", prefix="x", transport="stdio", command=("/bin/sh", "-c", code))
    async with managing(server) as manager:
        await settled(manager)
        manager.kill()
        await until(lambda: not any(running(int(pid)) for pid in pids.read_text().rstrip(".\n").split()))


@pytest.mark.requirement(80)
async def test_no_process_is_left_behind_by_a_start_that_is_cancelled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop, pids = asyncio.get_running_loop(), tmp_path / "pids"
    connect_read_pipe = loop.connect_read_pipe

    async def slowly(*arguments: Any) -> Any:
        """The program runs already, and has a child, while its pipes are still made ready."""
        await until(lambda: pids.exists() and pids.read_text().endswith(".\n"))
        starting.cancel()
        return await connect_read_pipe(*arguments)

    monkeypatch.setattr(loop, "connect_read_pipe", slowly)
    server = McpServer(
        name="x",
        prefix="x",
        transport="stdio",
        command=("/bin/sh", "-c", f"sleep 600 & echo $$ $!. > {pids}; wait"),
    )

    async def start() -> None:
        async with stdio_streams(server, dict(os.environ), lambda _: None):
            raise AssertionError("it was cancelled before")

    starting = asyncio.create_task(start())
    await asyncio.wait([starting])
    assert starting.cancelled()
    leader, child = (int(pid) for pid in pids.read_text().rstrip(".\n").split())
    await until(lambda: not running(leader) and not running(child))


@pytest.mark.slow
async def test_a_server_that_ignores_its_end_is_killed() -> None:
    async with managing(rogue("stubborn")) as manager:
        await settled(manager)


async def for_ever(_: float) -> None:
    await asyncio.Event().wait()


def running(pid: int) -> bool:
    """Whether a process exists and is no zombie: an orphan's remains wait for init."""
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z" if Path("/proc").exists() else True
    except (ProcessLookupError, FileNotFoundError):
        return False
