"""A server as a child process that speaks over its standard input and output, bounded in all it may send."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from asyncio.subprocess import Process, SubprocessStreamProtocol
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.shared.message import SessionMessage
from mcp.types import JSONRPCError, JSONRPCNotification, JSONRPCResponse, jsonrpc_message_adapter

from vllm_mlx.core.errors import Unavailable
from vllm_mlx.mcp.config import McpServer
from vllm_mlx.mcp.processes import group_ended, group_started, signal_group
from vllm_mlx.mcp.redaction import hide

log = logging.getLogger(__name__)

MAX_MESSAGE_BYTES = 16 * 1024 * 1024
MAX_UNREADABLE_LINES = 100
"""Some servers greet on their output; more than a greeting is another protocol."""

_GRACE_S = 1.0
_POLL_S = 0.01
_LISTENED_TO = "notifications/tools/list_changed"
"""Other notifications are nobody's; a flood of them must cost next to nothing."""
_BETWEEN_QUESTIONS_S = 0.001
"""What a server sends unasked is taken at this pace."""
_MAX_SHOWN_LINE = 300
_MAX_LINE_BYTES = 64 * 1024
_MAX_SHOWN_PATH = 80

_Started = tuple[asyncio.SubprocessTransport, SubprocessStreamProtocol]
Streams = tuple[MemoryObjectReceiveStream[SessionMessage | Exception], MemoryObjectSendStream[SessionMessage]]


@asynccontextmanager
async def stdio_streams(
    server: McpServer, environment: Mapping[str, str], on_end: Callable[[str], None]
) -> AsyncIterator[Streams]:
    """Start the server's process, and end it and all its children with the block.

    The SDK's own transport would keep a line of any length, and log each one that it cannot read.

    Args:
        environment: all that the process sees.
        on_end: told in a few words why nothing more will come.

    Raises:
        Unavailable: the process cannot be started.
    """
    transport, protocol = await _started(server, environment)
    process = Process(transport, protocol, asyncio.get_running_loop())
    group_started(process.pid)
    incoming, read_stream = anyio.create_memory_object_stream[SessionMessage | Exception](0)
    write_stream, outgoing = anyio.create_memory_object_stream[SessionMessage](0)
    last_error: list[str] = []
    tasks = [
        asyncio.create_task(_read(process, incoming, on_end)),
        asyncio.create_task(_write(process, outgoing, incoming)),
        asyncio.create_task(_log_errors(process, server, last_error)),
    ]
    try:
        yield read_stream, write_stream
    finally:
        try:
            await _end(process)
            if last_error and (process.returncode or 0) > 0:
                # Nobody could find out otherwise why a program fails that was started so out of sight.
                shown = _shown(last_error[0], server.secrets())
                log.info("MCP server %s wrote before it ended: %s", server.name, shown)
        finally:
            # What left the process group may hold the pipes open: nobody waits for it.
            transport.close()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for stream in (incoming, read_stream, write_stream, outgoing):
                stream.close()


async def _started(server: McpServer, environment: Mapping[str, str]) -> _Started:
    loop = asyncio.get_running_loop()
    # What `asyncio.create_subprocess_exec` does; but it keeps the transport, which must be closed at the end.
    starting = asyncio.ensure_future(
        loop.subprocess_exec(
            lambda: SubprocessStreamProtocol(limit=MAX_MESSAGE_BYTES, loop=loop),
            *server.command,
            cwd=server.cwd,
            env=dict(environment),
            start_new_session=True,
        )
    )
    try:
        return await asyncio.shield(starting)
    except (OSError, ValueError) as error:
        raise Unavailable(_not_started(server, error)) from None
    except asyncio.CancelledError:
        # Cancelled itself, it would end the program alone, and not what that has started already.
        starting.add_done_callback(_end_unused)
        await asyncio.wait([starting])
        if _has_started(starting):
            await _ended(Process(*starting.result(), loop))
        raise


def _has_started(starting: asyncio.Future[_Started]) -> bool:
    return not starting.cancelled() and starting.exception() is None


def _end_unused(starting: asyncio.Future[_Started]) -> None:
    if _has_started(starting):
        transport, _ = starting.result()
        signal_group(transport.get_pid(), signal.SIGKILL)
        transport.close()


def _not_started(server: McpServer, error: OSError | ValueError) -> str:
    reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else "bad command"
    # The system says "no such file" of the folder too, and names it.
    if server.cwd is not None and isinstance(error, OSError) and error.filename == server.cwd:
        return f"the folder {_named(server, server.cwd)} of its program cannot be entered: {reason}"
    return f"its program {_named(server, server.command[0])} cannot be started: {reason}"


def _named(server: McpServer, path: str) -> str:
    """A path as an operator may see it; of a long one, the end tells more."""
    clean = hide(path, server.secrets(), len(path))
    return repr(clean if len(clean) <= _MAX_SHOWN_PATH else ".../" + os.path.basename(clean))


async def _read(
    process: Process,
    incoming: MemoryObjectSendStream[SessionMessage | Exception],
    on_end: Callable[[str], None],
) -> None:
    assert process.stdout is not None
    unreadable = 0
    with incoming, suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
        while True:
            try:
                line = await process.stdout.readuntil()
            except asyncio.LimitOverrunError:
                on_end(f"it sent a message of more than {MAX_MESSAGE_BYTES} bytes")
                return
            except (asyncio.IncompleteReadError, ConnectionError):
                on_end(await _exit_words(process))
                return
            try:
                message = jsonrpc_message_adapter.validate_json(line, by_name=False)
            except (ValueError, RecursionError):
                unreadable += bool(line.strip())
                if unreadable > MAX_UNREADABLE_LINES:
                    on_end("it writes what is no MCP message")
                    return
                # A flood of lines that are there already must leave the loop to others.
                await asyncio.sleep(0)
                continue
            if isinstance(message, JSONRPCNotification) and message.method != _LISTENED_TO:
                await asyncio.sleep(0)
                continue
            await incoming.send(SessionMessage(message))
            if not isinstance(message, JSONRPCResponse | JSONRPCError):
                await asyncio.sleep(_BETWEEN_QUESTIONS_S)


async def _write(
    process: Process,
    outgoing: MemoryObjectReceiveStream[SessionMessage],
    incoming: MemoryObjectSendStream[SessionMessage | Exception],
) -> None:
    assert process.stdin is not None
    try:
        async for message in outgoing:
            text = message.message.model_dump_json(by_alias=True, exclude_unset=True)
            process.stdin.write(text.encode() + b"\n")
            await process.stdin.drain()
    except (ConnectionError, RuntimeError):
        # It closed its input and may still run: whoever waits for an answer must not wait for ever.
        incoming.close()


async def _log_errors(process: Process, server: McpServer, last: list[str]) -> None:
    """Read its stderr, or it would stand still once the pipe is full; the last line is kept in `last`."""
    assert process.stderr is not None
    secrets, begun, too_long = server.secrets(), b"", False
    while piece := await process.stderr.read(64 * 1024):
        if too_long:  # its beginning is told, which is all that is shown; its rest may begin in a secret
            _, newline, piece = piece.partition(b"\n")
            too_long = not newline
        # A secret may come in two pieces, and is known by its whole alone: what is no line yet waits.
        whole, _, begun = (begun + piece).rpartition(b"\n")
        if len(begun) > _MAX_LINE_BYTES:
            whole, begun, too_long = whole + b"\n" + begun, b"", True
        _keep_lines(whole, server.name, secrets, last)
        if begun.strip():
            last[:] = [begun.decode("utf-8", "replace")]
    _keep_lines(begun, server.name, secrets, last)


def _keep_lines(raw: bytes, name: str, secrets: Sequence[str], last: list[str]) -> None:
    lines = [line for line in raw.decode("utf-8", "replace").splitlines() if line.strip()]
    last += lines[-1:]
    del last[:-1]
    if log.isEnabledFor(logging.DEBUG):
        for line in lines:
            log.debug("MCP server %s: %s", name, _shown(line, secrets))


def _shown(line: str, secrets: Sequence[str]) -> str:
    """A line as the log may have it. Escaped last: secrets are known as they are."""
    return hide(line, secrets, _MAX_SHOWN_LINE).encode("unicode_escape").decode()


async def _exit_words(process: Process) -> str:
    if not await _ended(process):
        return "it closed its output"
    code = process.returncode or 0
    return "its program ended " + (f"with exit code {code}" if code >= 0 else f"by signal {-code}")


async def _end(process: Process) -> None:
    """As MCP has it: close its input, wait, ask it to end, wait, end it; then whatever it started."""
    assert process.stdin is not None
    process.stdin.close()
    try:
        if not await _ended(process):
            signal_group(process.pid, signal.SIGTERM)
            await _ended(process)
    finally:
        signal_group(process.pid, signal.SIGKILL)
        group_ended(process.pid)
    await _ended(process)


async def _ended(process: Process) -> bool:
    """Wait a moment for its end. `process.wait()` would wait for its pipes as well, which others may hold."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_GRACE_S):
            while process.returncode is None:  # noqa: ASYNC110  (asyncio has no event for this alone)
                await asyncio.sleep(_POLL_S)
    return process.returncode is not None
