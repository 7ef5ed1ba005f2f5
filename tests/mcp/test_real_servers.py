"""Servers that others wrote: two from npm and one from PyPI, installed into a folder of the test's own."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import venv
from pathlib import Path

import pytest
from tests.mcp.conftest import LIMIT_S, managing, until

from vllm_mlx.core.errors import InvalidRequest
from vllm_mlx.mcp.config import McpServer

pytestmark = [pytest.mark.anyio, pytest.mark.slow, pytest.mark.requirement(64)]

EVERYTHING = "@modelcontextprotocol/server-everything@2026.8.31"
FILESYSTEM = "@modelcontextprotocol/server-filesystem@2026.8.31"
TIME = "mcp-server-time==2026.10.19"
INSTALL_LIMIT_S = 600


@pytest.fixture(scope="module")
def npm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the commands of the npm servers."""
    command = shutil.which("npm")
    if command is None:
        pytest.skip("npm is not installed")
    folder = tmp_path_factory.mktemp("npm")
    words = [command, "install", "--no-audit", "--no-fund", "--prefix", str(folder), EVERYTHING, FILESYSTEM]
    install(*words)
    return folder / "node_modules" / ".bin"


@pytest.fixture(scope="module")
def pypi(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the commands of the PyPI server."""
    folder = tmp_path_factory.mktemp("pypi")
    venv.create(folder, with_pip=True)
    install(str(folder / "bin" / "python"), "-m", "pip", "install", "-q", TIME)
    return folder / "bin"


def install(*words: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True, timeout=INSTALL_LIMIT_S, check=False)
    if done.returncode:
        pytest.skip(f"cannot be installed here: {done.stderr[-300:]}")


def stdio(*command: str) -> McpServer:
    return McpServer(
        name="it",
        prefix="it",
        transport="stdio",
        command=command,
        connect_timeout_s=LIMIT_S,
        timeout_s=LIMIT_S,
    )


async def test_the_server_with_everything_over_stdio(npm: Path) -> None:
    async with managing(stdio(str(npm / "mcp-server-everything"))) as manager:
        await until(lambda: len(manager.tools()) > 5)
        assert manager.servers()[0].refused_tools == ()

        async def text(tool: str, **arguments: object) -> str:
            return (await manager.execute(f"it__{tool}", arguments, caller="route")).text

        assert await text("echo", message="hi") == "Echo: hi"
        assert "is 3" in await text("get-sum", a=1, b=2)
        assert "[image, image/png, " in await text("get-tiny-image")
        assert "[resource " in await text("get-resource-links", count=2)
        assert "temperature" in await text("get-structured-content", location="New York")
        assert "PYTEST_CURRENT_TEST" in os.environ
        assert "PYTEST_CURRENT_TEST" not in await text("get-env")
        with pytest.raises(InvalidRequest, match="message"):
            await text("echo")
        long = asyncio.create_task(text("trigger-long-running-operation", duration=600, steps=600))
        await asyncio.sleep(0)
        long.cancel()
        await asyncio.gather(long, return_exceptions=True)
        assert await text("echo", message="still here") == "Echo: still here"


@pytest.mark.parametrize(
    ("word", "transport", "path"), [("streamableHttp", "http", "/mcp"), ("sse", "sse", "/sse")]
)
async def test_the_server_with_everything_over_http(npm: Path, word: str, transport: str, path: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [str(npm / "mcp-server-everything"), word]
    process = await asyncio.create_subprocess_exec(
        *command, env={**os.environ, "PORT": str(port)}, stderr=subprocess.DEVNULL
    )
    server = McpServer(
        name="it",
        prefix="it",
        transport=transport,  # type: ignore[arg-type]
        url=f"http://127.0.0.1:{port}{path}",
    )
    try:
        async with managing(server) as manager:  # it tries until the server is up
            await until(lambda: len(manager.tools()) > 5)
            done = await manager.execute("it__echo", {"message": "hi"}, caller="route")
            assert done.text == "Echo: hi"
    finally:
        process.kill()
        await process.wait()


@pytest.mark.requirement(80)
async def test_the_server_of_files_stays_in_its_folder(npm: Path, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("inside")
    async with managing(stdio(str(npm / "mcp-server-filesystem"), str(tmp_path))) as manager:
        await until(lambda: len(manager.tools()) > 5)
        read_only = {tool.tool.name: tool.tool.read_only for tool in manager.tools()}
        assert (read_only["read_text_file"], read_only["write_file"]) == (True, False)

        async def read(path: str) -> tuple[str, bool]:
            done = await manager.execute("it__read_text_file", {"path": path}, caller="route")
            return done.text, done.is_error

        assert await read(str(tmp_path / "a.txt")) == ("inside", False)
        text, is_error = await read("/etc/passwd")
        assert (is_error, "root:" in text) == (True, False)


async def test_the_server_of_time(pypi: Path) -> None:
    async with managing(stdio(str(pypi / "mcp-server-time"))) as manager:
        await until(lambda: bool(manager.tools()))
        now = await manager.execute("it__get_current_time", {"timezone": "Europe/Zurich"}, caller="route")
        assert ("Europe/Zurich" in now.text, now.is_error) == (True, False)
        wrong = await manager.execute("it__get_current_time", {"timezone": "nowhere"}, caller="route")
        assert wrong.is_error
