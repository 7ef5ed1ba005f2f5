"""One child process as the front sees it: its start, its socket, its end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec
import zmq

from vllm_mlx.core.errors import ModelLoadError
from vllm_mlx.engine.frames import Launch, encode_launch, has_message, new_pair

_LONGEST_ADDRESS: Final = 100
"""Bytes in the path of a Unix socket: macOS takes 103."""


class Child:
    """A running child and the socket to it. Lives on one asyncio loop.

    Args:
        launch: everything but the address.
        on_message: gets each message's bytes, in order.

    Attributes:
        pid: of the process.
        gone: done, with a description of how it ended, once the process is gone.

    Raises:
        ModelLoadError: the system does not let us start it.
    """

    def __init__(self, launch: Launch, on_message: Callable[[bytes], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._on_message = on_message
        self.gone: asyncio.Future[str] = self._loop.create_future()
        self._folder = _short_private_folder()
        self._context = zmq.Context()
        self._socket = new_pair(self._context, linger_ms=0)
        # We hold one end of the line, the child the other: each learns of the other's end, however it came.
        self._lifeline, theirs = socket.socketpair()
        try:
            address = f"ipc://{self._folder}/s"
            self._socket.bind(address)
            with theirs:
                self._process = _start(theirs)
        except (OSError, zmq.ZMQError) as error:
            self._lifeline.close()
            self._close_socket()
            raise ModelLoadError(f"the engine's process cannot be started: {error.strerror}") from error
        with contextlib.suppress(OSError):  # a child that has ended already is told of by the line's end
            self._lifeline.sendall(encode_launch(msgspec.structs.replace(launch, address=address)))
        self.pid = self._process.pid
        self._descriptor = self._socket.fileno()
        self._loop.add_reader(self._descriptor, self._read_messages)
        self._loop.call_soon(self._read_messages)  # arms the descriptor, which is edge triggered
        self._loop.add_reader(self._lifeline, self._on_end)

    def send(self, data: bytes) -> None:
        """Send a message; to a child that is gone nothing is sent, and `gone` tells."""
        if self._socket.closed:
            return
        with contextlib.suppress(zmq.Again):
            self._socket.send(data, zmq.NOBLOCK)
        # zmq signals a socket's descriptor only after a look at its events that found nothing; sending takes
        # in what came meanwhile and so may have used the signal up.
        if has_message(self._socket):
            self._loop.call_soon(self._read_messages)

    def joined(self) -> None:
        """The child has found the socket: no one else shall, and no path is left to clean up."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def kill(self) -> None:
        """End the process at once."""
        self._process.kill()

    async def close(self, grace_s: float) -> None:
        """Wait until the process has ended, for `grace_s` seconds by itself, and free everything."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(self.gone), grace_s)
        self._process.kill()
        await asyncio.shield(self.gone)

    def _read_messages(self) -> None:
        while not self._socket.closed:
            try:
                data = self._socket.recv(zmq.NOBLOCK)
            except zmq.Again:
                return
            self._on_message(data)

    def _on_end(self) -> None:
        """The line has ended: hear the last words, then let the process go."""
        self._loop.remove_reader(self._lifeline)
        self._loop.remove_reader(self._descriptor)
        self._read_messages()
        self._process.kill()  # it may have closed the line by mistake; without the line we cannot watch it
        self._lifeline.close()
        self._close_socket()
        self._waiting = self._loop.create_task(self._reap())

    async def _reap(self) -> None:
        code = await asyncio.to_thread(self._process.wait)
        if not self.gone.done():
            self.gone.set_result(_ending(code))

    def _close_socket(self) -> None:
        self._context.destroy()
        shutil.rmtree(self._folder, ignore_errors=True)


def _start(standard_input: socket.socket) -> subprocess.Popen[bytes]:
    """Start the process.

    To be called on the thread of the asyncio loop: Linux ends the child with the thread that started it.
    """
    return subprocess.Popen(
        # -P: a file in the folder where the server was started must not pass for one of our modules.
        [sys.executable, "-P", "-m", "vllm_mlx.engine.child"],
        stdin=standard_input.fileno(),
        stdout=sys.__stderr__,  # what a library prints must not get between the front's own lines
        # The child finds every module where this process found it.
        env=os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        # Away from the terminal's Ctrl-C, which is for the front.
        start_new_session=True,
    )


def _short_private_folder() -> Path:
    """A folder that no other user can look into, with a path that fits a socket's address."""
    folder = Path(tempfile.mkdtemp(prefix="vmx"))
    if len(os.fsencode(folder)) + len("/s") <= _LONGEST_ADDRESS:
        return folder
    folder.rmdir()
    return Path(tempfile.mkdtemp(prefix="vmx", dir="/tmp"))


def _ending(code: int) -> str:
    """How a process ended, in words."""
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = str(-code)
    hint = ", as the system does when memory runs out" if name == "SIGKILL" else ""
    return f"was ended by signal {name}{hint}"
