"""The port to an engine; the engine in this process and the one in a child both answer to it."""

from __future__ import annotations

from typing import Literal, Protocol, Self

import msgspec

from vllm_mlx.core.stats import EngineStats, ModelPath
from vllm_mlx.engine.wire import EngineRequest, TokenOutput


class EngineInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What the front must know of a loaded model: limits in tokens, and how it is run.

    Attributes:
        fingerprint: changes with the model's config and weights.
    """

    fingerprint: str
    vocab_size: int
    max_model_len: int
    max_num_seqs: int
    kv_capacity_tokens: int
    path: ModelPath

    def differences(self, other: EngineInfo) -> list[str]:
        """What differs in another load of the model, by name, of all that a front relies on.

        Its texts, limits and defaults rest on these; how the model is run may change.
        """
        relied_on = ("fingerprint", "vocab_size", "max_model_len", "kv_capacity_tokens")
        return [name for name in relied_on if getattr(self, name) != getattr(other, name)]


class EngineHealth(msgspec.Struct, frozen=True):
    """Whether an engine serves, in words for an operator.

    Attributes:
        state: `stopped` is for good; `restarting` passes by itself.
        pid: of the engine's own process, if it has one.
        restarts: how often that was started again.
    """

    state: Literal["ready", "restarting", "stopped"]
    detail: str = ""
    pid: int | None = None
    restarts: int = 0


class OutputStream(Protocol):
    """The outputs of one request. Dropping it, or cancelling whoever waits on it, aborts the request."""

    def __aiter__(self) -> Self: ...

    async def __anext__(self) -> TokenOutput: ...

    async def aclose(self) -> None:
        """Abort the request if it still runs."""
        ...


class EngineClient(Protocol):
    """Submit prompts, receive tokens. All methods are called from one asyncio loop.

    A request ends in exactly one of these ways: every choice has an output with `finish`; one output has
    `error`; or it was aborted, after which nothing more of it arrives.
    """

    async def start(self) -> EngineInfo:
        """Load the model and serve.

        Raises:
            ModelLoadError: the model cannot be loaded.
        """
        ...

    def submit(self, request: EngineRequest) -> OutputStream:
        """Queue a request; iterate for its outputs, all choices interleaved.

        Closing the iterator early aborts the request.

        Raises (from here or from the first iteration):
            InvalidRequest: a request with that id is in flight.
            Overloaded: the queue is full (raised before the first output).
            Unavailable: the engine is not running, or dies while the request runs.
        """
        ...

    def abort(self, request_id: str, *, choice: int | None = None) -> None:
        """Stop a request (or one choice) at the next step; unknown ids are ignored."""
        ...

    def confirm(self, request_id: str, choice: int, num_tokens: int) -> None:
        """The choice's next so many tokens belong to its text; see `Confirm`. Unknown ids do no harm."""
        ...

    @property
    def alive(self) -> bool:
        """Whether `submit` can succeed now."""
        ...

    def health(self) -> EngineHealth:
        """Why `alive` is what it is."""
        ...

    def stats(self) -> EngineStats:
        """The newest counts; never waits for the engine."""
        ...

    async def aclose(self) -> None:
        """Stop the engine and free its memory; requests in flight end with `Unavailable`."""
        ...
