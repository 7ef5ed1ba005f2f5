"""A model service that plays scripted events and remembers what it was asked."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Sequence

from vllm_mlx.core.errors import ModelNotFound
from vllm_mlx.core.events import (
    Completed,
    Event,
    Finished,
    Started,
    TextDelta,
    Timings,
    TokenAlternative,
    TokenLogprob,
    Usage,
)
from vllm_mlx.core.requests import ChatInput, GenerateRequest, TextInput
from vllm_mlx.service.port import Health, ModelCard, RenderedPrompt

CARD = ModelCard(id="org/tiny", created=1_700_000_000, root="org/tiny", max_model_len=4096)

HANG = object()
"""In a script: nothing more comes until the stream is closed."""

WAIT = object()
"""In a script: wait until `FakeModelService.go` is set."""

Script = Sequence[object]


def token(text: str, logprob: float | None = -0.5, *, others: Sequence[str] = ()) -> TokenLogprob:
    top = tuple(
        TokenAlternative(token_id=i, token=other, raw=other.encode(), logprob=-1.0 - i)
        for i, other in enumerate(others)
    )
    return TokenLogprob(token_id=7, token=text, raw=text.encode(), logprob=logprob, top=top)


def completed(
    completion_tokens: int = 2, prompt_tokens: int = 5, cached: int = 3, marked: int = 0
) -> Completed:
    usage = Usage(
        prompt_tokens, completion_tokens, cached_tokens=cached, reasoning_tokens=1, marked_tokens=marked
    )
    return Completed(usage, Timings(12.5, 30.0))


def spoken(text: str, *, choice: int = 0, reason: str = "stop") -> list[Event]:
    """One choice that says `text` word by word."""
    words = [word + " " for word in text.split(" ")]
    words[-1] = words[-1][:-1]
    deltas = [TextDelta(choice, word, (token(word, others=[word, "x"]),)) for word in words if word]
    return [Started(choice, 5, 3), *deltas, Finished(choice, reason)]  # type: ignore[arg-type,list-item]


class FakeModelService:
    """Plays `script(request)` for each request; exceptions in a script are raised, callables called.

    Attributes:
        requests: what `generate` was asked, in order of the first `__anext__`.
        closed: set once any stream has ended, however it ended.
        go: releases a `WAIT`.
        at_the_deadline: what a `HANG` raises once the service is drained.
        load_failure: what comes of loading the model.
    """

    def __init__(self, script: Script | Callable[[GenerateRequest], Script] = ()) -> None:
        self.script = script
        self.requests: list[GenerateRequest] = []
        self.tokenized: list[tuple[ChatInput | TextInput, bool]] = []
        self.rendered: list[ChatInput] = []
        self.now = Health("ready")
        self.card = CARD
        self.status_fields: dict[str, object] = {"model": CARD.id, "running": 0}
        self.open_streams = 0
        self.started = threading.Event()
        self.closed = threading.Event()
        self.drained: list[float] = []
        self.go = asyncio.Event()
        self._ending = asyncio.Event()
        self.at_the_deadline: Exception | None = None
        self.load_failure: Exception | None = None

    async def start(self) -> None:
        """Nothing to do: the fake is loaded from the beginning, or never."""

    async def loaded(self) -> None:
        if self.load_failure is not None:
            raise self.load_failure

    def health(self) -> Health:
        return self.now

    def models(self) -> list[ModelCard]:
        return [self.card]

    def model(self, name: str) -> ModelCard:
        if name not in (self.card.id, "default"):
            raise ModelNotFound(f"The model {name!r} is not served here.", param="model")
        return self.card

    async def generate(self, request: GenerateRequest) -> AsyncGenerator[Event, None]:
        self.requests.append(request)
        script = self.script(request) if callable(self.script) else self.script
        self.open_streams += 1
        try:
            for item in script:
                if item is HANG:
                    self.started.set()
                    await self._ending.wait()
                    assert self.at_the_deadline is not None
                    raise self.at_the_deadline
                elif item is WAIT:
                    self.started.set()
                    await self.go.wait()
                elif callable(item):
                    item()
                elif isinstance(item, BaseException):
                    raise item
                else:
                    yield item  # type: ignore[misc]
        finally:
            self.open_streams -= 1
            self.closed.set()

    async def tokenize(
        self, model: str, input: ChatInput | TextInput, *, add_special_tokens: bool = True
    ) -> list[int]:
        self.model(model)
        self.tokenized.append((input, add_special_tokens))
        return [1, 2, 3]

    async def render(self, model: str, input: ChatInput) -> RenderedPrompt:
        self.model(model)
        self.rendered.append(input)
        return RenderedPrompt("<user>hi", [1, 2, 3])

    async def detokenize(self, model: str, token_ids: list[int]) -> str:
        self.model(model)
        return " ".join(str(token_id) for token_id in token_ids)

    def status(self) -> dict[str, object]:
        return self.status_fields

    async def drain(self, timeout_s: float) -> None:
        self.drained.append(timeout_s)
        self._ending.set()
