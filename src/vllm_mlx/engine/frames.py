"""The line between the front and an engine's child process: what is said, how it is written, the socket."""

from __future__ import annotations

from typing import TypeVar

import msgspec
import zmq

from vllm_mlx.config import CacheConfig, EngineConfig, ModelConfig
from vllm_mlx.core.errors import AppError, InvalidRequest
from vllm_mlx.engine.client import EngineInfo
from vllm_mlx.engine.wire import Command, EngineRequest, StepFrame

PROTOCOL = 3
"""Goes up when a message changes its meaning: after an upgrade in place, an old front meets new children."""

DEFAULT_RUNNER = "vllm_mlx.runners.build:build_runner"


class Launch(msgspec.Struct, frozen=True, kw_only=True):
    """What a child must know to begin; it reads this from its standard input.

    Attributes:
        address: of the front's socket.
        folder: of the model, on this machine.
        runner_factory: "module:attribute" of a function with `build_runner`'s first four parameters.
        log_level: a level of `logging`, as a number.
        grammars_ahead: read the vocabulary while the model is loaded, so that the first grammar costs no more
            than others; otherwise with the first grammar.
    """

    address: str = ""
    folder: str
    model: ModelConfig
    engine: EngineConfig
    cache: CacheConfig
    runner_factory: str = DEFAULT_RUNNER
    log_level: int = 20
    grammars_ahead: bool = True


class Close(msgspec.Struct, frozen=True, tag="close"):
    """Free the model and end."""


class Hello(msgspec.Struct, frozen=True, array_like=True, tag="hello"):
    """The child's first word, before it loads anything."""

    protocol: int = PROTOCOL


class Loaded(msgspec.Struct, frozen=True, array_like=True, tag="loaded"):
    """The model is there; steps may follow."""

    info: EngineInfo


class LoadFailed(msgspec.Struct, frozen=True, array_like=True, tag="failed"):
    """The model cannot be loaded; the child ends. `code` and `message` are those of the error."""

    code: str
    message: str


ToChild = Command | Close
ToFront = Hello | Loaded | LoadFailed | StepFrame

T = TypeVar("T")


class BadFrame(Exception):
    """Bytes that are no message of this protocol."""


_encoder = msgspec.msgpack.Encoder()
_commands: msgspec.msgpack.Decoder[ToChild] = msgspec.msgpack.Decoder(ToChild)
_frames: msgspec.msgpack.Decoder[ToFront] = msgspec.msgpack.Decoder(ToFront)
_launches = msgspec.json.Decoder(Launch)


def encode(message: ToChild | ToFront) -> bytes:
    """A message as bytes."""
    return _encoder.encode(message)


def encode_request(request: EngineRequest) -> bytes:
    """A request as bytes that the child is sure to understand.

    It is read back once: what the child could not read must be found here, where it ends one request, and
    not there, where it would end all.

    Raises:
        InvalidRequest: it holds a value that cannot be written, such as half of a surrogate pair.
    """
    try:
        data = _encoder.encode(request)
        _commands.decode(data)
    except (msgspec.MsgspecError, TypeError, ValueError, OverflowError) as error:
        raise InvalidRequest("the request holds a value that cannot be sent to the engine") from error
    return data


def decode_command(data: bytes) -> ToChild:
    """What the front said.

    Raises:
        BadFrame: these bytes are no command.
    """
    return _decode(_commands, data)


def decode_frame(data: bytes) -> ToFront:
    """What the child said.

    Raises:
        BadFrame: these bytes are no frame.
    """
    return _decode(_frames, data)


def encode_launch(launch: Launch) -> bytes:
    """A launch as one line."""
    return msgspec.json.encode(launch) + b"\n"


def decode_launch(line: bytes) -> Launch:
    """A launch from its line.

    Raises:
        BadFrame: the line is no launch.
    """
    try:
        return _launches.decode(line)
    except (msgspec.MsgspecError, ValueError) as error:
        raise BadFrame("this is no launch of an engine") from error


def _decode(decoder: msgspec.msgpack.Decoder[T], data: bytes) -> T:
    try:
        return decoder.decode(data)
    # Checks of their own raise an `AppError`, unfinished text a `ValueError`, deep nesting the third.
    except (msgspec.MsgspecError, AppError, ValueError, RecursionError) as error:
        raise BadFrame(f"{len(data)} bytes that are no message") from error


Pair = zmq.Socket[bytes]


def new_pair(context: zmq.Context[Pair], *, linger_ms: int) -> Pair:
    """A socket for exactly one peer, on which sending never waits.

    What can pile up in it is bounded by the engine's queue one way, by what was asked for the other way.

    Args:
        context: of the socket.
        linger_ms: how long closing waits for the peer to take what was sent. It is set before anything else:
            libzmq ends the connection to a peer that dies by the limit of that moment, and without one the
            context never ends when a message is left over (libzmq's issue 3252).
    """
    pair = context.socket(zmq.PAIR)
    pair.linger = linger_ms
    pair.set_hwm(0)
    return pair


def has_message(pair: Pair) -> bool:
    """Whether `recv` would return at once."""
    events = pair.getsockopt(zmq.EVENTS)
    return isinstance(events, int) and bool(events & zmq.POLLIN)
