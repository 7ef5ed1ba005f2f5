"""Has grammars checked in processes that may end of it, as this one never does.

A process is started with the first grammar and kept for the next. Frames go both ways: a length of four bytes
and that much MessagePack.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Mapping
from typing import IO, Final

import msgspec

from vllm_mlx.core.errors import AppError, InternalError, InvalidRequest, Overloaded

log = logging.getLogger(__name__)

_PROGRAM: Final = "vllm_mlx.structured.check"
WALL_S: Final = 60.0
"""For a check, which is bounded in processor time besides: what is over says that the cores are busy."""
LARGE_CHARS: Final = 100_000
"""A longer grammar takes a core for up to a second, and is checked where cores have nothing else to do."""

_LARGE_NICENESS: Final = 5
_GRACE_S: Final = 5.0
_LENGTH: Final = struct.Struct(">I")

_TOO_LONG = "the grammar takes too long to compile"
_TOO_MUCH = "the grammar is too complex: compiling it takes too much memory or depth"
_NO_TEXT = "the grammar holds a lone surrogate, which is not valid Unicode"
_BROKEN = "grammars cannot be checked on this server"
_ENDED = "the check of the grammar was interrupted; try again"
_STARVED = "the machine is too busy to check the grammar; try again later"

_ITS_FAULT: Final = frozenset(
    (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGTRAP)
)
"""What a program dies of that wants more memory or depth than it may have."""
_SHORTAGES: Final = frozenset((errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE))


class Names(msgspec.Struct, frozen=True):
    """What a grammar may say about a model's tokens.

    Attributes:
        vocab_size: ids from 0 on.
        special: control tokens, by name.
    """

    vocab_size: int = 0
    special: dict[str, int] = {}

    @classmethod
    def of(cls, special: Mapping[str, int], vocab_size: int) -> Names:
        """For a model whose tokenizer may have more control tokens than the model has ids."""
        known = {name: token_id for name, token_id in special.items() if token_id < vocab_size}
        return cls(vocab_size, known)


class Verdict(msgspec.Struct, frozen=True):
    """What came of a grammar.

    Attributes:
        reason: why it is none, or too complex; None if it compiles.
        last: the program has ended.
    """

    reason: str | None
    last: bool = False


def read_frame(stream: IO[bytes]) -> bytes | None:
    """The next frame; None where the stream has ended."""
    head = stream.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack(head)
    body = stream.read(length)
    return body if len(body) == length else None


def write_frame(stream: IO[bytes], body: bytes) -> None:
    """Send one frame."""
    stream.write(_LENGTH.pack(len(body)) + body)
    stream.flush()


class GrammarChecker:
    """Checks grammars for one model; any thread may call it, each call in flight has its own process.

    Args:
        names: what a grammar may say about the model's tokens.
        wall_s: how long a check may take where cores are busy.
    """

    def __init__(self, names: Names, *, wall_s: float = WALL_S) -> None:
        self._names = names
        self._wall_s = wall_s
        self._idle: dict[int, list[_Helper]] = {0: [], _LARGE_NICENESS: []}
        self._all: set[_Helper] = set()
        self._closed = False
        self._lock = threading.Lock()

    def check(self, text: str) -> None:
        """Find out whether a grammar compiles, within bounds of time, memory and depth.

        Raises:
            InvalidRequest: it does not; the message says why.
            Overloaded: its process was ended from outside or got no time, or there are no more processes.
            InternalError: no process can be started.
        """
        try:
            frame = msgspec.msgpack.encode(text)
        except UnicodeEncodeError:
            raise InvalidRequest(_NO_TEXT) from None
        helper = self._take(_LARGE_NICENESS if len(text) > LARGE_CHARS else 0)
        verdict = helper.ask(frame)
        if verdict is None or verdict.last:
            code = self._drop(helper)
        else:
            self._give_back(helper)
        if verdict is None:
            raise _ended(code)
        if verdict.reason is not None:
            raise InvalidRequest(verdict.reason)

    def close(self) -> None:
        """End the processes; whoever waits for one hears `Overloaded`."""
        with self._lock:
            self._closed = True
            idle = [helper for helpers in self._idle.values() for helper in helpers]
            for helpers in self._idle.values():
                helpers.clear()
            for helper in self._all:
                helper.kill()
        for helper in idle:
            self._drop(helper)

    def _take(self, niceness: int) -> _Helper:
        with self._lock:
            if self._idle[niceness]:
                return self._idle[niceness].pop()
        try:
            helper = _Helper(self._wall_s, niceness)
        except OSError as error:
            if error.errno not in _SHORTAGES:
                raise
            log.warning("no process for the check of a grammar: %s", error)
            raise Overloaded(_STARVED) from None
        with self._lock:
            self._all.add(helper)
            if self._closed:
                helper.kill()
        if helper.ask(msgspec.msgpack.encode(self._names)) is None:
            code = self._drop(helper)
            if self._closed or -code in (signal.SIGKILL, signal.SIGTERM):
                raise Overloaded(_ENDED)
            log.error("the program that checks grammars did not start: exit code %d", code)
            raise InternalError(_BROKEN)
        return helper

    def _give_back(self, helper: _Helper) -> None:
        with self._lock:
            if not self._closed:
                self._idle[helper.niceness].append(helper)
                return
        self._drop(helper)

    def _drop(self, helper: _Helper) -> int:
        with self._lock:
            self._all.discard(helper)
        return helper.end()


class _Helper:
    """A process that checks one grammar after the other.

    Attributes:
        niceness: how far it stands back behind others.
    """

    def __init__(self, wall_s: float, niceness: int) -> None:
        self.niceness = niceness
        self._process = subprocess.Popen(
            # -P: a file in the folder where the server was started must not pass for one of our modules.
            [sys.executable, "-P", "-m", _PROGRAM, str(wall_s), str(niceness)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # the library writes its panics there
            env=os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
            # Away from the terminal's Ctrl-C; it ends when its standard input does.
            start_new_session=True,
        )

    def ask(self, frame: bytes) -> Verdict | None:
        """The answer; None where the process has ended."""
        try:
            write_frame(self._stdin, frame)
            answer = read_frame(self._stdout)
        except (OSError, ValueError):
            return None
        return None if answer is None else msgspec.msgpack.decode(answer, type=Verdict)

    def kill(self) -> None:
        """End the process; whoever asks it hears that it has ended."""
        self._process.kill()

    def end(self) -> int:
        """End the process if it has not ended, and say how it did."""
        self._stdout.close()
        with contextlib.suppress(OSError):
            self._stdin.close()
        try:
            # It has said its last word, or was told to end by the end of its input.
            return self._process.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    @property
    def _stdin(self) -> IO[bytes]:
        assert self._process.stdin is not None
        return self._process.stdin

    @property
    def _stdout(self) -> IO[bytes]:
        assert self._process.stdout is not None
        return self._process.stdout


def _ended(code: int) -> AppError:
    """Why a process ended in the middle of a grammar: of it, or of what is no fault of the grammar's."""
    if -code == signal.SIGPROF:
        return InvalidRequest(_TOO_LONG)
    if -code in _ITS_FAULT:
        return InvalidRequest(_TOO_MUCH)
    if -code == signal.SIGALRM:
        return Overloaded(_STARVED)
    if code >= 0:  # it raised: there was no room for a thread, for one
        log.error("the program that checks grammars ended: exit code %d", code)
    return Overloaded(_ENDED)
