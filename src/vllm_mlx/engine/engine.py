"""The engine in this process: one thread that owns the model, one asyncio loop that asks it."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Final

from vllm_mlx.config import CacheConfig, EngineConfig
from vllm_mlx.core.clock import Clock, system_clock
from vllm_mlx.core.errors import AppError, ModelLoadError, Unavailable
from vllm_mlx.core.stats import EngineStats
from vllm_mlx.engine.client import EngineHealth, EngineInfo
from vllm_mlx.engine.ending import joined_fully
from vllm_mlx.engine.loop import EngineLoop
from vllm_mlx.engine.mailroom import Mailroom, Stream
from vllm_mlx.engine.serving import load_error, serve
from vllm_mlx.engine.wire import Command, EngineRequest, StepFrame
from vllm_mlx.runners.base import Runner
from vllm_mlx.structured.compiling import grammars_of

logger = logging.getLogger(__name__)

RunnerFactory = Callable[[], Runner]

_STOP: Final = None
_NOT_RUNNING = "the engine is not running"
_STOPPED = "the engine was stopped"
_DIED = "the engine has failed"


class InProcessEngine:
    """An `EngineClient` whose model lives on a thread of this process.

    Args:
        runner_factory: loads the model; called on the engine's thread, where every later call of the
            runner happens too.
        folder: of the model, for its tokenizer; without it no request may have a grammar.
    """

    def __init__(
        self,
        runner_factory: RunnerFactory,
        engine_config: EngineConfig,
        cache_config: CacheConfig,
        clock: Clock = system_clock,
        *,
        folder: Path | None = None,
    ) -> None:
        self._folder = folder
        self._runner_factory = runner_factory
        self._engine_config = engine_config
        self._cache_config = cache_config
        self._clock = clock
        self._commands: SimpleQueue[Command | None] = SimpleQueue()
        self._mailroom = Mailroom(self._commands.put, self._tell)
        self._num_taken = 0  # requests taken since something was delivered
        self._stats = EngineStats()
        self._thread: threading.Thread | None = None
        self._serving = False
        self._closing = False

    # ---- on the asyncio loop ----

    @property
    def alive(self) -> bool:
        """Whether `submit` can succeed now."""
        return self._serving and not self._closing

    def health(self) -> EngineHealth:
        """Ready or stopped: a thread that died cannot be started again."""
        return EngineHealth("ready") if self.alive else EngineHealth("stopped", "the engine has stopped")

    def stats(self) -> EngineStats:
        """The counts after the newest step."""
        return self._stats

    async def start(self) -> EngineInfo:
        """Load the model and serve.

        Raises:
            ModelLoadError: the model cannot be loaded.
            Unavailable: it was started or closed before.
        """
        if self._thread is not None or self._closing:
            raise Unavailable("the engine can be started only once")
        loop = asyncio.get_running_loop()
        ready: asyncio.Future[EngineInfo] = loop.create_future()
        self._loop = loop
        self._thread = threading.Thread(target=self._main, args=(ready,), name="engine", daemon=True)
        self._thread.start()
        return await ready

    def submit(self, request: EngineRequest) -> Stream:
        """Queue a request; iterate for its outputs.

        Raises:
            InvalidRequest: a request with that id is in flight.
            Unavailable: the engine is not running.
        """
        if not self.alive:
            raise Unavailable(_NOT_RUNNING)
        return self._mailroom.submit(request)

    def abort(self, request_id: str, *, choice: int | None = None) -> None:
        """Stop a request (or one choice) at the next step; unknown ids are ignored."""
        self._mailroom.abort(request_id, choice=choice)

    def confirm(self, request_id: str, choice: int, num_tokens: int) -> None:
        """The choice's next so many tokens belong to its text; see `Confirm`."""
        self._mailroom.confirm(request_id, choice, num_tokens)

    async def aclose(self) -> None:
        """Stop the engine and free its memory; requests in flight end with `Unavailable`."""
        self._closing = True
        if self._thread is not None:
            self._commands.put(_STOP)
            await joined_fully(self._thread)
        self._mailroom.end_all(_STOPPED)

    # ---- on the engine's thread ----

    def take(self, *, wait_s: float | None) -> list[Command | None]:
        """The commands that wait; called by the engine."""
        commands: list[Command | None] = []
        try:
            if wait_s != 0:
                commands.append(self._commands.get(timeout=wait_s))
            while True:
                commands.append(self._commands.get_nowait())
        except Empty:
            return commands

    def _main(self, ready: asyncio.Future[EngineInfo]) -> None:
        try:
            runner = self._runner_factory()
        except ModelLoadError as error:  # a sentence for the operator, whom whoever waits here will tell
            self._tell(_fail, ready, error)
            return
        except BaseException as error:
            logger.exception("loading the model failed")
            self._tell(_fail, ready, load_error(error))
            return
        try:
            with closing(runner):
                self._run(runner, ready)
        except BaseException as error:
            logger.exception("the engine's thread ends")
            self._tell(_fail, ready, load_error(error))

    def _run(self, runner: Runner, ready: asyncio.Future[EngineInfo]) -> None:
        try:
            vocab_size = runner.capabilities.vocab_size
            grammars = None if self._folder is None else grammars_of(self._folder, vocab_size)
            loop = EngineLoop(runner, self._engine_config, self._cache_config, self._clock, grammars)
            with closing(loop) as engine:
                self._stats = engine.stats()
                self._serving = True
                self._tell(_succeed, ready, engine.info)
                serve(engine, self, self._hand_out)
        finally:
            self._serving = False
            self._tell(self._mailroom.end_all, _STOPPED if self._closing else _DIED)

    def _hand_out(self, frame: StepFrame) -> None:
        self._stats = frame.stats
        self._num_taken += frame.num_taken
        if frame.outputs:
            self._tell(self._mailroom.deliver, self._num_taken, frame.outputs)
            self._num_taken = 0

    def _tell(self, callback: Callable[..., None], *args: object) -> None:
        try:
            self._loop.call_soon_threadsafe(callback, *args)
        except RuntimeError:  # the loop was closed without `aclose`: no one listens any more
            self._commands.put(_STOP)


def _succeed(ready: asyncio.Future[EngineInfo], info: EngineInfo) -> None:
    if not ready.done():
        ready.set_result(info)


def _fail(ready: asyncio.Future[EngineInfo], error: AppError) -> None:
    if not ready.done():
        ready.set_exception(error)
