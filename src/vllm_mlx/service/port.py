"""The port through which HTTP reaches the service; the hub answers to it, and fakes in tests."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Literal, Protocol

import msgspec

from vllm_mlx.core.events import Event
from vllm_mlx.core.requests import ChatInput, GenerateRequest, TextInput


class ModelCard(msgspec.Struct, frozen=True, kw_only=True):
    """A served model as a client sees it. `created` is a Unix time in seconds and does not change."""

    id: str
    created: int
    root: str
    max_model_len: int | None
    owned_by: str = "vllm-mlx"


class RenderedPrompt(msgspec.Struct, frozen=True):
    """A conversation as the model reads it: what the chat template wrote, and its token ids."""

    text: str
    token_ids: list[int]


class Health(msgspec.Struct, frozen=True):
    """Whether requests can be served now, and if not, why, in words for an operator."""

    state: Literal["loading", "ready", "restarting", "failed", "stopping"]
    detail: str = ""


class ModelService(Protocol):
    """What the server can ask for. Every failure is an `AppError`."""

    async def start(self) -> None:
        """Begin to load the model; returns at once."""
        ...

    async def loaded(self) -> None:
        """Wait until the model can serve.

        Raises:
            Unavailable: it could not be loaded.
        """
        ...

    def health(self) -> Health: ...

    def models(self) -> list[ModelCard]:
        """A card for each served name, the main one first."""
        ...

    def model(self, name: str) -> ModelCard:
        """The model a request by that name would reach, under the name that its answer has.

        Raises:
            ModelNotFound: no model goes by that name.
        """
        ...

    def generate(self, request: GenerateRequest) -> AsyncGenerator[Event, None]:
        """Run one request; waits while the model is loading. Closing the generator aborts the request."""
        ...

    async def tokenize(
        self, model: str, input: ChatInput | TextInput, *, add_special_tokens: bool = True
    ) -> list[int]: ...

    async def render(self, model: str, input: ChatInput) -> RenderedPrompt: ...

    async def detokenize(self, model: str, token_ids: list[int]) -> str: ...

    def status(self) -> dict[str, object]:
        """What an operator wants to see, ready for JSON."""
        ...

    async def drain(self, timeout_s: float) -> None:
        """Admit nothing more and let what runs end; what is left at the deadline ends with `Unavailable`."""
        ...
