"""The served models by name: loads, answers for their health, opens generations, drains."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing

import msgspec

from vllm_mlx.core.clock import Clock, system_clock
from vllm_mlx.core.errors import AppError, ModelNotFound, Unavailable
from vllm_mlx.core.events import Event
from vllm_mlx.core.requests import ChatInput, GenerateRequest, TextInput
from vllm_mlx.service.generate import generate
from vllm_mlx.service.loaded import LoadedModel
from vllm_mlx.service.port import Health, ModelCard, RenderedPrompt

log = logging.getLogger(__name__)

DEFAULT_NAME = "default"
"""Means whatever is served; what a request without a name is taken to ask for."""


class Hub:
    """One model, loaded in the background while HTTP is up already.

    Args:
        card: how clients see the model; known before it is loaded.
        load: builds the text side and starts the engine.
        names: all names it is served by, the card's first; only that one if empty.
        strict: no other name reaches it, `default` excepted.
    """

    def __init__(
        self,
        card: ModelCard,
        load: Callable[[], Awaitable[LoadedModel]],
        *,
        names: Sequence[str] = (),
        strict: bool = False,
        clock: Clock = system_clock,
    ) -> None:
        self._card = card
        self._load = load
        self._names = tuple(dict.fromkeys(names or (card.id,)))
        self._strict = strict
        self._clock = clock
        self._started_at = clock()
        self._model: LoadedModel | None = None
        self._loading: asyncio.Task[LoadedModel] | None = None
        self._stopping = False
        self._active = 0
        self._idle = asyncio.Event()
        self._idle.set()

    async def start(self) -> None:
        """Begin to load; returns at once."""
        self._loading = asyncio.create_task(self._load_logged(), name="load-model")

    async def ready(self) -> LoadedModel:
        """The loaded model, once it is there.

        Raises:
            Unavailable: loading failed, or the service is stopping.
        """
        if self._stopping:
            raise Unavailable("The server is shutting down.")
        if self._loading is None:
            raise Unavailable("The model is not loaded.")
        try:
            # The shield: a caller who leaves must not cancel the load that everybody waits for.
            model = await asyncio.shield(self._loading)
        except AppError as error:
            # The sentence is the whole news; the log has the trace, at the debug level if it was expected.
            raise Unavailable(f"The model could not be loaded: {error.message}") from None
        except asyncio.CancelledError:
            if not self._loading.cancelled():
                raise  # the caller left; the load goes on
            raise Unavailable("The server is shutting down.") from None
        return model

    async def loaded(self) -> None:
        await self.ready()

    def health(self) -> Health:
        if self._stopping:
            return Health("stopping")
        if self._loading is None or not self._loading.done():
            return Health("loading")
        if self._model is None:
            failure = self._loading.exception() if not self._loading.cancelled() else None
            return Health("failed", failure.message if isinstance(failure, AppError) else "loading failed")
        engine = self._model.engine.health()
        return Health("failed" if engine.state == "stopped" else engine.state, engine.detail)

    def models(self) -> list[ModelCard]:
        card = self._model.card if self._model else self._card
        return [msgspec.structs.replace(card, id=name) for name in self._names]

    def model(self, name: str) -> ModelCard:
        if not name:
            raise ModelNotFound("The request names no model.", param="model")
        cards = self.models()
        asked_for = next((card for card in cards if card.id == name), None)
        if asked_for is None and self._strict and name != DEFAULT_NAME:
            raise ModelNotFound(f"This server serves {', '.join(self._names)}, not {name!r}.", param="model")
        # With one model every name reaches it: SDK examples, Claude Code and routers send names of their own.
        return asked_for or cards[0]

    async def generate(self, request: GenerateRequest) -> AsyncGenerator[Event, None]:
        self.model(request.model)
        self._enter()
        try:
            model = await self.ready()
            async with aclosing(generate(model, request, clock=self._clock)) as events:
                async for event in events:
                    yield event
        finally:
            self._leave()

    async def tokenize(
        self, model: str, input: ChatInput | TextInput, *, add_special_tokens: bool = True
    ) -> list[int]:
        self.model(model)
        loaded = await self.ready()
        return (await loaded.prompts.build(input, add_special_tokens=add_special_tokens)).token_ids

    async def render(self, model: str, input: ChatInput) -> RenderedPrompt:
        self.model(model)
        loaded = await self.ready()
        return RenderedPrompt(*await loaded.prompts.render(input))

    async def detokenize(self, model: str, token_ids: list[int]) -> str:
        self.model(model)
        loaded = await self.ready()
        return await loaded.prompts.decode(token_ids)

    def status(self) -> dict[str, object]:
        health = self.health()
        status: dict[str, object] = {
            "status": health.state,
            "detail": health.detail,
            "model": self._card.id,
            "uptime_s": round(self._clock() - self._started_at, 3),
            "active_requests": self._active,
        }
        if self._model is not None:
            status |= self._model.status()
        return status

    async def drain(self, timeout_s: float) -> None:
        self._stopping = True
        try:
            await asyncio.wait_for(self._idle.wait(), timeout_s)
        except TimeoutError:
            log.warning("%d requests still run at the shutdown deadline; ending them", self._active)
        await self.aclose()

    async def aclose(self) -> None:
        """Stop the engine; what still runs ends with `Unavailable`."""
        self._stopping = True
        if self._loading is not None and not self._loading.done():
            self._loading.cancel()
            await asyncio.wait([self._loading])
        if self._model is not None:
            await self._model.aclose()

    async def _load_logged(self) -> LoadedModel:
        try:
            self._model = await self._load()
        except AppError as error:
            # Whoever waits for the load tells it; `/health` and every request tell it too.
            log.debug("model %s could not be loaded", self._card.id, exc_info=error)
            raise
        except Exception as error:
            log.exception("model %s could not be loaded", self._card.id)
            raise Unavailable("an internal error; see the server's log") from error
        log.info("model %s is ready: %s", self._card.id, self._model.info.path.reason)
        return self._model

    def _enter(self) -> None:
        self._active += 1
        self._idle.clear()

    def _leave(self) -> None:
        self._active -= 1
        if not self._active:
            self._idle.set()
