"""Serving until told to stop: the socket, the web server, and an orderly end."""

from __future__ import annotations

import asyncio
import errno
import logging
import math
import os
import resource
import signal
import socket
import sys
from contextlib import suppress
from types import FrameType

import uvicorn

from vllm_mlx.config import AccessConfig, ServerConfig
from vllm_mlx.core.errors import AppError
from vllm_mlx.core.heap import keep_what_is_there
from vllm_mlx.server.access.stack import exposure
from vllm_mlx.server.app import create_app
from vllm_mlx.server.connection import PatientConnection
from vllm_mlx.service.port import ModelService
from vllm_mlx.service.tool_loop import ToolLoop

_MAX_FILES = 65_536
_GRACE_S = 10
"""After the drain, what connections get to send their last bytes."""
_KEEP_ALIVE_S = 65
"""An idle connection outlives the pools of usual clients and proxies, so that they close first."""

_ABOUT_UPGRADES = ("Unsupported upgrade request", "No supported WebSocket library")


def _is_news(record: logging.LogRecord) -> bool:
    """Whether to log what uvicorn says.

    A client may offer another protocol and go on in HTTP when nobody takes it up: Java's does in every first
    request. uvicorn warns each time, and advises to install what this server would not use.
    """
    return not record.getMessage().startswith(_ABOUT_UPGRADES)


def serve(
    service: ModelService,
    config: ServerConfig,
    access: AccessConfig | None = None,
    tool_loop: ToolLoop | None = None,
) -> int:
    """Serve until SIGTERM or SIGINT; a second one ends the process at once.

    The first signal closes the door: no new connection is taken, running requests get
    `config.shutdown_timeout` seconds, and what is left then ends with an error.

    Returns:
        The exit code: 0 after an orderly end, 1 if the address cannot be bound or the model not loaded.
    """
    try:
        listener = bind(config.host, config.port)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
        hint = "; --port names another" if error.errno == errno.EADDRINUSE else ""
        sys.stderr.write(f"vllm-mlx: error: cannot listen on {config.host}:{config.port}: {reason}{hint}\n")
        return 1
    allow_many_connections()
    access = access or AccessConfig()
    exposed = exposure(config, access)
    if exposed:
        sys.stderr.write(f"vllm-mlx: warning: {exposed}\n")
    _say(f"Loading {service.models()[0].id}; requests may come already: {url_of(listener)}")
    server = DrainingServer(service, config, access, tool_loop)
    server.run(sockets=[listener])
    return server.exit_code


def bind(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 picks a free one.

    Raises:
        OSError: the address is taken, or not this machine's.
    """
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    return socket.create_server(address[:2], family=family, backlog=2048)


def allow_many_connections() -> None:
    """Raise this process's limit of open files: each connection is one, and macOS begins with 256."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MAX_FILES if hard == resource.RLIM_INFINITY else min(_MAX_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def url_of(listener: socket.socket) -> str:
    """Where a client on this machine reaches the socket."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _say(line: str) -> None:
    with suppress(OSError):  # whoever started the server may have stopped listening to it
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()


class DrainingServer(uvicorn.Server):
    """uvicorn, with the service started on its loop, and drained while its connections end."""

    def __init__(
        self,
        service: ModelService,
        config: ServerConfig,
        access: AccessConfig | None = None,
        tool_loop: ToolLoop | None = None,
    ) -> None:
        super().__init__(
            uvicorn.Config(
                create_app(service, config, access or AccessConfig(), tool_loop),
                # Not what else is installed: only this parser bounds a request's head, and only it is tested.
                http=PatientConnection,
                lifespan="off",
                ws="none",
                log_config=None,
                # What it says at the info level we say ourselves, in words for who started the server.
                log_level="warning" if config.log_level == "info" else config.log_level,
                # Its lines hold queries and addresses; ours (server/access/log.py) do not.
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_keep_alive=_KEEP_ALIVE_S,
                timeout_graceful_shutdown=math.ceil(config.shutdown_timeout) + _GRACE_S,
            )
        )
        logging.getLogger("uvicorn.error").addFilter(_is_news)
        self._service = service
        self._tool_loop = tool_loop
        self._shutdown_timeout_s = config.shutdown_timeout
        self._loading: asyncio.Task[None] | None = None
        self.exit_code = 0

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Open the door while the model loads: health can be asked, and early requests wait."""
        await self._service.start()
        if self._tool_loop is not None:
            await self._tool_loop.tools.start()
        self._loading = asyncio.create_task(self._watch_load())
        await super().startup(sockets)

    async def _watch_load(self) -> None:
        """A server whose model cannot be loaded is of no use: end it, and say why."""
        try:
            await self._service.loaded()
            keep_what_is_there()
            _say(f"Ready to serve {self._service.models()[0].id}; Ctrl-C ends it.")
        except AppError as error:
            if not self.should_exit:
                sys.stderr.write(f"vllm-mlx: error: {error.message}\n")
                self.exit_code, self.should_exit = 1, True

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """First signal: stop in order. Second: what the signal does by itself, whatever still hangs."""
        if self.should_exit:
            if self._tool_loop is not None:
                self._tool_loop.tools.kill()
            signal.signal(sig, signal.SIG_DFL)
            signal.raise_signal(sig)
        self.should_exit = True
        if self.server_state.connections:
            limit = f"up to {self._shutdown_timeout_s:g} s"
            _say(f"Stopping: what runs gets {limit} to finish; the same signal again ends it at once.")

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close the door, and drain the service while the open connections end."""
        drain = asyncio.create_task(self._drain())
        await super().shutdown(sockets)
        await drain

    async def _drain(self) -> None:
        left_s = self._shutdown_timeout_s
        try:
            if self._tool_loop is not None:
                left_s = await self._tool_loop.drain(left_s)
            await self._service.drain(left_s)
        finally:
            # Whatever became of the model, no process of a tool may stay behind.
            if self._tool_loop is not None:
                await self._tool_loop.tools.aclose()
