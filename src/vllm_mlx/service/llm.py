"""`LLM`: the same service without HTTP, for scripts and notebooks."""

from __future__ import annotations

import asyncio
import atexit
import queue
import threading
from collections.abc import AsyncGenerator, Coroutine, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from types import TracebackType
from typing import Any, Self, TypeVar
from weakref import WeakSet

from vllm_mlx.config import CacheConfig, Config, EngineConfig, ModelConfig
from vllm_mlx.core.errors import InvalidRequest, Unavailable
from vllm_mlx.core.events import Event
from vllm_mlx.core.messages import Message, Reasoning, Role, Text
from vllm_mlx.core.requests import ChatInput, GenerateRequest, TextInput, TokenInput
from vllm_mlx.core.results import GenerationResult, fold
from vllm_mlx.core.sampling import SamplingParams
from vllm_mlx.service.build import build_service

T = TypeVar("T")
Prompt = str | Sequence[int]
ChatMessage = Message | Mapping[str, Any]
_END = object()
_NOT_A_PROMPT = "a prompt is a text or a list of token ids"
_ROLES: tuple[Role, ...] = ("system", "developer", "user", "assistant", "tool")


class LLM:
    """A model in this process.

    Example:
        >>> with LLM("demo") as llm:
        ...     print(llm.chat("What is 47 + 38?").text)

    Args:
        model: Hugging Face id, local folder, or `demo`.
        engine: how steps are put together; the engine always runs in this process.
        cache: the pool of KV blocks.
        settings: further fields of `ModelConfig`, by name.

    Raises:
        Unavailable: the model could not be loaded; the message says why.
    """

    def __init__(
        self,
        model: str = "demo",
        *,
        engine: EngineConfig | None = None,
        cache: CacheConfig | None = None,
        **settings: Any,
    ) -> None:
        config = Config(
            model=ModelConfig(model=model, **settings),
            engine=replace(engine or EngineConfig(), engine_process=False),
            cache=cache or CacheConfig(),
        )
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="llm", daemon=True)
        self._thread.start()
        self._closed = False
        self._hub = build_service(config)
        _open.add(self)
        try:
            self._wait(self._start())
        except BaseException:
            self.close()
            raise

    def generate(
        self, prompts: Prompt | Sequence[Prompt], sampling: SamplingParams | None = None
    ) -> list[GenerationResult]:
        """Continue raw prompts (texts or token ids) in one batch; results are in the order of the prompts."""
        requests = [
            GenerateRequest(input=_raw_input(prompt), sampling=sampling or SamplingParams())
            for prompt in _as_batch(prompts)
        ]
        return self._wait(self._fold_all(requests))

    def chat(
        self,
        messages: str | Sequence[ChatMessage],
        sampling: SamplingParams | None = None,
        **template_kwargs: Any,
    ) -> GenerationResult:
        """Answer a conversation; `template_kwargs` go to the chat template (`enable_thinking=False`)."""
        request = self._chat_request(messages, sampling, template_kwargs)
        return self._wait(self._fold_all([request]))[0]

    def stream(
        self,
        messages: str | Sequence[ChatMessage],
        sampling: SamplingParams | None = None,
        **template_kwargs: Any,
    ) -> Iterator[Event]:
        """The events of a chat as they come; leaving the loop early aborts the request."""
        request = self._chat_request(messages, sampling, template_kwargs)
        events: queue.SimpleQueue[Any] = queue.SimpleQueue()
        task = asyncio.run_coroutine_threadsafe(self._pump(request, events), self._open_loop())
        try:
            while (event := events.get()) is not _END:
                if isinstance(event, BaseException):
                    raise event
                yield event
        finally:
            task.cancel()

    def status(self) -> dict[str, object]:
        """What `/v1/status` would show."""
        return self._hub.status()

    def close(self) -> None:
        """Free the model; later calls raise `Unavailable`."""
        if self._closed:
            return
        self._closed = True
        _open.discard(self)
        asyncio.run_coroutine_threadsafe(self._hub.aclose(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _chat_request(
        self,
        messages: str | Sequence[ChatMessage],
        sampling: SamplingParams | None,
        template_kwargs: dict[str, Any],
    ) -> GenerateRequest:
        turns: Sequence[ChatMessage] = (
            [{"role": "user", "content": messages}] if isinstance(messages, str) else messages
        )
        if not _is_list(turns):
            raise InvalidRequest("messages must be a text or a list of messages", param="messages")
        return GenerateRequest(
            input=ChatInput(messages=tuple(map(_message, turns)), template_kwargs=template_kwargs),
            sampling=sampling or SamplingParams(),
        )

    async def _start(self) -> None:
        await self._hub.start()
        await self._hub.ready()

    async def _fold_all(self, requests: list[GenerateRequest]) -> list[GenerationResult]:
        # A group, so that one refused prompt ends the others instead of leaving them running unheard.
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(fold(self._hub.generate(request))) for request in requests]
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None
        return [task.result() for task in tasks]

    async def _pump(self, request: GenerateRequest, events: queue.SimpleQueue[Any]) -> None:
        stream: AsyncGenerator[Event, None] = self._hub.generate(request)
        try:
            async with aclosing(stream):
                async for event in stream:
                    events.put(event)
            events.put(_END)
        except Exception as error:  # noqa: BLE001  (it is raised again in the caller's thread)
            events.put(error)

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        try:
            loop = self._open_loop()
        except Unavailable:
            work.close()
            raise
        return asyncio.run_coroutine_threadsafe(work, loop).result()

    def _open_loop(self) -> asyncio.AbstractEventLoop:
        if self._closed:
            raise Unavailable("This LLM is closed.")
        return self._loop


_open: WeakSet[LLM] = WeakSet()


@atexit.register
def _close_open() -> None:
    """A script may end without closing: a thread that still is inside MLX then would abort the process."""
    for llm in list(_open):
        llm.close()


def _as_batch(prompts: Prompt | Sequence[Prompt]) -> list[Prompt]:
    if isinstance(prompts, str):
        return [prompts]
    if not _is_list(prompts):
        raise InvalidRequest(_NOT_A_PROMPT, param="prompt")
    items: list[Any] = list(prompts)
    if items and all(isinstance(item, int) for item in items):
        return [items]
    return items


def _raw_input(prompt: Prompt) -> TextInput | TokenInput:
    if isinstance(prompt, str):
        return TextInput(prompt)
    if not _is_list(prompt) or not all(type(token_id) is int for token_id in prompt):
        raise InvalidRequest(_NOT_A_PROMPT, param="prompt")
    return TokenInput(tuple(prompt))


def _is_list(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, bytes | bytearray)


def _message(turn: ChatMessage) -> Message:
    if isinstance(turn, Message):
        return turn
    if not isinstance(turn, Mapping):
        raise InvalidRequest("messages must be a list of messages", param="messages")
    role, content = turn.get("role"), turn.get("content")
    if role not in _ROLES or not isinstance(content, str):
        raise InvalidRequest("a chat message needs a role and a text as content", param="messages")
    thought = turn.get("reasoning_content")
    parts = (Reasoning(thought), Text(content)) if isinstance(thought, str) else (Text(content),)
    return Message(role, parts)
