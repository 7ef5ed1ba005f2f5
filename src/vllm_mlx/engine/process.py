"""The engine in a child process: starts it, speaks with it, starts it again when it dies."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from vllm_mlx.core.clock import Clock, system_clock
from vllm_mlx.core.errors import ModelLoadError, Unavailable
from vllm_mlx.core.stats import EngineStats
from vllm_mlx.engine.client import EngineHealth, EngineInfo
from vllm_mlx.engine.frames import (
    PROTOCOL,
    BadFrame,
    Close,
    Hello,
    Launch,
    Loaded,
    LoadFailed,
    decode_frame,
    encode,
    encode_request,
)
from vllm_mlx.engine.mailroom import Mailroom, Stream
from vllm_mlx.engine.silence import Silence
from vllm_mlx.engine.spawn import Child
from vllm_mlx.engine.wire import Command, EngineRequest, StepFrame

log = logging.getLogger(__name__)

_LOOKS: Final = 20
"""How often silence is looked at in the time after which it is too long: it may last a tenth longer."""

_GRACE_S: Final = 5.0
"""What a child gets to end by itself: a step, and its memory. Nothing that it could lose is worth more."""

_NOT_RUNNING = "the engine is not running"
_STOPPED = "the engine was stopped"
_DIED = "the engine has failed; it is starting again"
_HUNG = "the engine's process said nothing for {:g} s although it had work, and was ended"
_CHANGED = "the model's files have changed ({} differs); start the server again to serve them"
_OTHER_VERSION = "the engine's process is of another version: start the server again after an upgrade"


class Backoff:
    """How long to wait before the next attempt: longer each time, short again after a healthy while.

    Args:
        first_s: the first wait, and the first after a healthy while.
        longest_s: no wait is longer.
        healthy_s: an attempt that lasted so long was a success.
    """

    def __init__(self, first_s: float = 0.5, longest_s: float = 30.0, healthy_s: float = 60.0) -> None:
        self._first_s = first_s
        self._longest_s = longest_s
        self._healthy_s = healthy_s
        self._next_s = first_s

    def after(self, lasted_s: float) -> float:
        """Seconds to wait after an attempt that ended after `lasted_s` seconds of service."""
        if lasted_s >= self._healthy_s:
            self._next_s = self._first_s
        wait_s = self._next_s
        self._next_s = min(2 * wait_s, self._longest_s)
        return wait_s


class _Session:
    """What one child said of itself, from its first word to its end."""

    def __init__(self, launch: Launch, on_step: Callable[[StepFrame], None]) -> None:
        self._on_step = on_step
        self.loaded: asyncio.Future[EngineInfo] = asyncio.get_running_loop().create_future()
        self.child = Child(launch, self._on_message)
        self.child.gone.add_done_callback(self._on_gone)

    def _on_message(self, data: bytes) -> None:
        try:
            message = decode_frame(data)
        except BadFrame:
            log.exception("the engine's process %d cannot be understood; ending it", self.child.pid)
            self.child.kill()
            return
        match message:
            case StepFrame():
                self._on_step(message)
            case Hello(protocol):
                self.child.joined()
                if protocol != PROTOCOL:
                    self._fail(ModelLoadError(_OTHER_VERSION))
            case Loaded(info):
                if not self.loaded.done():
                    self.loaded.set_result(info)
            case LoadFailed(code, text):
                self._fail(ModelLoadError(text, code=code))

    def _on_gone(self, ending: asyncio.Future[str]) -> None:
        self._fail(ModelLoadError(f"the engine's process {ending.result()} while it loaded the model"))

    def _fail(self, error: ModelLoadError) -> None:
        if not self.loaded.done():
            self.loaded.set_exception(error)


class ProcessEngine:
    """An `EngineClient` whose model lives in a child process.

    A child that dies ends its requests with `Unavailable` and is started again, after a wait that grows
    while it keeps dying. Meanwhile new requests are refused at once, with a hint when to come again: they
    would only pile up, and one of them may be what the engine dies of. A model that cannot be loaded the
    first time is told by `start` and not tried again.

    So is a child that has work and says nothing for `launch.engine.engine_timeout` seconds, loading aside. A
    child whose model is no longer the one that the front has read its texts and limits from is not served:
    then the engine has failed for good.

    Args:
        launch: what the child is to load.
        backoff: how long to wait before a new start.
    """

    def __init__(
        self, launch: Launch, *, backoff: Backoff | None = None, clock: Clock = system_clock
    ) -> None:
        self._launch = launch
        self._backoff = backoff or Backoff()
        self._clock = clock
        self._mailroom = Mailroom(self._send, self._soon)
        self._stats = EngineStats()
        self._session: _Session | None = None
        self._supervisor: asyncio.Task[None] | None = None
        self._closing = asyncio.Event()
        self._silence = Silence(clock)
        self._serving = False
        self._failure = ""
        self._trouble = ""
        self._restart_at_s = 0.0
        self._restarts = 0

    @property
    def alive(self) -> bool:
        """Whether `submit` can succeed now."""
        return self._serving and not self._closing.is_set()

    def health(self) -> EngineHealth:
        """Ready, starting again and why, or stopped for good."""
        if self.alive and self._session is not None:
            return EngineHealth("ready", pid=self._session.child.pid, restarts=self._restarts)
        if self._failure:
            return EngineHealth("stopped", self._failure, restarts=self._restarts)
        if self._trouble and not self._closing.is_set():
            return EngineHealth("restarting", self._trouble, restarts=self._restarts)
        return EngineHealth("stopped", "the engine has stopped", restarts=self._restarts)

    def stats(self) -> EngineStats:
        """The counts after the newest step of the child that serves; they begin anew with each child."""
        return self._stats

    async def start(self) -> EngineInfo:
        """Start the child and load the model.

        Raises:
            ModelLoadError: the model cannot be loaded, or the child cannot be started.
            Unavailable: it was started or closed before.
        """
        if self._supervisor is not None or self._closing.is_set():
            raise Unavailable("the engine can be started only once")
        self._loop = asyncio.get_running_loop()
        first: asyncio.Future[EngineInfo] = self._loop.create_future()
        self._supervisor = self._loop.create_task(self._supervise(first), name="engine-process")
        return await first

    def submit(self, request: EngineRequest) -> Stream:
        """Queue a request; iterate for its outputs.

        Raises:
            InvalidRequest: a request with that id is in flight, or it cannot be sent.
            Unavailable: the engine is not running.
        """
        if self.alive:
            return self._mailroom.submit(request)
        if self._failure:
            raise Unavailable(self._failure)
        if self._trouble and not self._closing.is_set():
            raise Unavailable(_DIED, retry_after_s=max(1.0, self._restart_at_s - self._clock()))
        raise Unavailable(_NOT_RUNNING)

    def abort(self, request_id: str, *, choice: int | None = None) -> None:
        """Stop a request (or one choice) at the next step; unknown ids are ignored."""
        self._mailroom.abort(request_id, choice=choice)

    def confirm(self, request_id: str, choice: int, num_tokens: int) -> None:
        """The choice's next so many tokens belong to its text; see `Confirm`."""
        self._mailroom.confirm(request_id, choice, num_tokens)

    async def aclose(self) -> None:
        """End the child and free its memory; requests in flight end with `Unavailable`."""
        self._closing.set()
        if self._session is not None:
            loading = not self._session.loaded.done()
            self._session.child.send(encode(Close()))
            await self._session.child.close(0 if loading else _GRACE_S)
        if self._supervisor is not None:
            await asyncio.wait([self._supervisor])
        self._mailroom.end_all(_STOPPED)

    # ---- one child after the other ----

    async def _supervise(self, first: asyncio.Future[EngineInfo]) -> None:
        while not self._closing.is_set() and not first.cancelled():
            try:
                session = self._session = _Session(self._launch, self._on_step)
                info = await self._load(session)
            except ModelLoadError as error:
                if not first.done():
                    first.set_exception(Unavailable(_STOPPED) if self._closing.is_set() else error)
                    return
                lasted_s, ending = 0.0, error.message
            else:
                if not first.done():
                    first.set_result(info)
                elif changes := first.result().differences(info):
                    await self._fail(session, _CHANGED.format(" and ".join(changes)))
                    return
                lasted_s, ending = await self._serve(session)
            await self._wait(lasted_s, ending)
        if not first.done():
            first.set_exception(Unavailable(_STOPPED))

    async def _load(self, session: _Session) -> EngineInfo:
        try:
            return await session.loaded
        except ModelLoadError:
            await session.child.close(_GRACE_S)
            raise

    async def _serve(self, session: _Session) -> tuple[float, str]:
        """Until the child's end; how long it served, and how it ended."""
        self._serving, self._trouble = True, ""
        self._stats = EngineStats()
        self._silence = Silence(self._clock)
        began_s = self._clock()
        limit_s = self._launch.engine.engine_timeout
        watch = self._loop.create_task(self._hangs(limit_s)) if limit_s else session.child.gone
        await asyncio.wait([session.child.gone, watch], return_when=asyncio.FIRST_COMPLETED)
        self._serving = False
        if session.child.gone.done():
            self._trouble = f"the engine's process {session.child.gone.result()}"
            watch.cancel()
        else:
            self._trouble = _HUNG.format(limit_s)
        self._mailroom.end_all(_STOPPED if self._closing.is_set() else _DIED)
        lasted_s = self._clock() - began_s
        await session.child.close(0)
        return lasted_s, self._trouble

    async def _hangs(self, limit_s: float) -> None:
        """Return once the child has been silent for too long.

        That must be so at two looks in a row: what has come while this process itself was held up is read in
        between.
        """
        looks = 0
        while looks < 2:
            await asyncio.sleep(limit_s / _LOOKS)
            looks = looks + 1 if self._silence.seconds > limit_s else 0

    async def _fail(self, session: _Session, failure: str) -> None:
        """Serve no more, for good."""
        log.error("%s", failure)
        self._failure = failure
        await session.child.close(0)

    async def _wait(self, lasted_s: float, ending: str) -> None:
        """Wait before the next start, or until the engine is closed."""
        if self._closing.is_set():
            return
        wait_s = self._backoff.after(lasted_s)
        self._restart_at_s = self._clock() + wait_s
        self._trouble = f"{ending}; it is started again"
        log.error("%s; starting it again in %.1f s", ending, wait_s)
        try:
            await asyncio.wait_for(self._closing.wait(), wait_s)
        except TimeoutError:
            self._restarts += 1

    # ---- messages ----

    def _send(self, command: Command) -> None:
        data = encode_request(command) if isinstance(command, EngineRequest) else encode(command)
        if self._session is not None:
            self._session.child.send(data)
            self._silence.asked()

    def _on_step(self, frame: StepFrame) -> None:
        if not self._serving:  # it was given up
            return
        self._stats = frame.stats
        if frame.num_taken or frame.outputs:
            self._mailroom.deliver(frame.num_taken, frame.outputs)
        has_work = frame.stats.running + frame.stats.waiting > 0
        self._silence.heard(has_work=has_work or self._mailroom.awaits_acceptance)

    def _soon(self, callback: Callable[..., None], *args: object) -> None:
        if not self._loop.is_closed():  # else no one is left whom it could matter to
            self._loop.call_soon_threadsafe(callback, *args)
