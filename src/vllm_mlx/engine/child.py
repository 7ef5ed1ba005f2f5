"""The child process of an engine: `python -m vllm_mlx.engine.child`, started by the front with a launch."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import signal
import sys
import threading
from contextlib import closing
from importlib import import_module
from pathlib import Path
from typing import Final, cast

import zmq

from vllm_mlx.core.heap import keep_what_is_there
from vllm_mlx.engine.frames import (
    Close,
    Hello,
    Launch,
    Loaded,
    LoadFailed,
    ToFront,
    decode_command,
    decode_launch,
    encode,
    has_message,
    new_pair,
)
from vllm_mlx.engine.loop import EngineLoop
from vllm_mlx.engine.serving import load_error, serve
from vllm_mlx.engine.wire import Command
from vllm_mlx.runners.base import Runner
from vllm_mlx.structured.compiling import grammars_of, read_ahead

log = logging.getLogger(__name__)

_LAST_WORDS_MS: Final = 2000
"""How long the end waits for the front to take what was said."""
_PR_SET_PDEATHSIG: Final = 1  # <linux/prctl.h>
_STANDARD_INPUT: Final = 0


class FrontLink:
    """The child's end of the socket. One thread uses it, the one that computes.

    So no second thread takes Python's lock away from the steps: commands are fetched between two of them.
    """

    def __init__(self, address: str) -> None:
        self._context = zmq.Context()
        self._socket = new_pair(self._context, linger_ms=_LAST_WORDS_MS)
        self._socket.connect(address)

    def tell(self, frame: ToFront) -> None:
        """Send, without waiting for the front."""
        self._socket.send(encode(frame), zmq.NOBLOCK)

    def take(self, *, wait_s: float | None) -> list[Command | None]:
        """The commands that wait, None for the one to close.

        Raises:
            BadFrame: whoever is at the other end is not our front.
        """
        commands: list[Command | None] = []
        if wait_s is None:
            commands.append(_command(self._socket.recv()))
        elif wait_s:
            self._socket.poll(max(1, round(1000 * wait_s)))
        while has_message(self._socket):
            commands.append(_command(self._socket.recv()))
        return commands

    def close(self) -> None:
        """Say what is left to say, and hang up."""
        self._context.destroy()


def main() -> int:
    """Load a model and serve the front that started this process; returns the exit code."""
    # A Ctrl-C or a `systemctl stop` reaches the front too, which lets requests finish before it ends us.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    lifeline = _take_standard_input()
    launch = decode_launch(_read_line(lifeline))
    _end_with_the_front(lifeline)
    _log_like_the_front(launch)
    with closing(FrontLink(launch.address)) as link:
        link.tell(Hello())
        try:
            tokenizer = read_ahead(Path(launch.folder)) if launch.grammars_ahead else None
            runner = _load(launch)
        except Exception as error:
            log.debug("loading failed", exc_info=error)
            told = load_error(error)
            if told is not error:
                log.exception("the model could not be loaded")
            link.tell(LoadFailed(told.code, told.message))
            return 1
        try:
            with closing(runner):
                grammars = grammars_of(Path(launch.folder), runner.capabilities.vocab_size, tokenizer)
                if launch.grammars_ahead:
                    grammars.prepare()
                engine = EngineLoop(runner, launch.engine, launch.cache, grammars=grammars)
                keep_what_is_there()
                link.tell(Loaded(engine.info))
                serve(engine, link, link.tell)
        except Exception:
            log.exception("the engine ends")
            return 1
    return 0


def _load(launch: Launch) -> Runner:
    module, _, attribute = launch.runner_factory.partition(":")
    factory = getattr(import_module(module), attribute)
    return cast(Runner, factory(Path(launch.folder), launch.model, launch.engine, launch.cache))


def _command(data: bytes) -> Command | None:
    command = decode_command(data)
    return None if isinstance(command, Close) else command


def _take_standard_input() -> int:
    """Standard input, moved out of the way: it is the line to the front, and no library's business."""
    lifeline = os.dup(_STANDARD_INPUT)  # not inherited by a child of this child
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, _STANDARD_INPUT)
    os.close(nothing)
    return lifeline


def _read_line(lifeline: int) -> bytes:
    line = b""
    while not line.endswith(b"\n"):
        part = os.read(lifeline, 65536)
        if not part:
            break
        line += part
    return line


def _end_with_the_front(lifeline: int) -> None:
    """End this process, at once and whatever it is doing, when the front is gone.

    The front never writes again, so the line can only end; it does so however the front died. Linux sees
    to it by itself as well, even while a long call holds Python's lock.
    """

    def watch() -> None:
        with contextlib.suppress(OSError):
            os.read(lifeline, 1)
        os._exit(1)

    threading.Thread(target=watch, name="lifeline", daemon=True).start()
    if sys.platform.startswith("linux"):
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _log_like_the_front(launch: Launch) -> None:
    logging.basicConfig(
        level=launch.log_level,
        format=f"%(asctime)s %(levelname)s [engine {os.getpid()}] %(name)s: %(message)s",
    )


if __name__ == "__main__":
    sys.exit(main())
