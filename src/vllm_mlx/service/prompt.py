"""From what the caller wrote to checked token ids, off the event loop and bounded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec

from vllm_mlx.chat.template import ChatTemplate
from vllm_mlx.chat.tokenizer import Tokenizer
from vllm_mlx.core.bounded import OutOfTime, run_bounded
from vllm_mlx.core.errors import InvalidRequest, Overloaded
from vllm_mlx.core.requests import ChatInput, TextInput, TokenInput

T = TypeVar("T")
WORKERS = 2
"""Threads for templates and tokenisers: both release Python's lock only in part, so more would not help."""
LIMIT_S = 60.0
"""A template with loops in loops over a long conversation would hold its thread for hours."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """What the model will read.

    Attributes:
        echo_text: the text to send back before the continuation, where the caller asked for it.
        in_reasoning: the prompt ends inside an open reasoning tag, so that the output begins with thought.
        marked_tokens: tokens up to the caller's cache mark; 0 without one.
    """

    token_ids: list[int]
    echo_text: str | None = None
    in_reasoning: bool = False
    marked_tokens: int = 0


class PromptBuilder:
    """Renders and tokenises on its own threads.

    Args:
        vocab_size: the model's; ids that callers send must be below it.
        context_tokens: the model's; what is far longer is refused before it costs much.
        max_pending: prompts that may wait for a thread; one more is refused as overload.
        template_defaults: template variables where a request does not set them.
        limit_s: what one prompt may take on its thread.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        template: ChatTemplate,
        *,
        vocab_size: int,
        context_tokens: int,
        max_pending: int,
        template_defaults: Mapping[str, Any] | None = None,
        limit_s: float = LIMIT_S,
    ) -> None:
        self._tokenizer = tokenizer
        self._template = template
        self._vocab_size = vocab_size
        self._context_tokens = context_tokens
        self._max_pending = max_pending
        self._template_defaults = dict(template_defaults or {})
        self._limit_s = limit_s
        self._pending = 0
        self._threads = ThreadPoolExecutor(WORKERS, thread_name_prefix="prompt")

    async def build(
        self, source: ChatInput | TextInput | TokenInput, *, add_special_tokens: bool = True
    ) -> Prompt:
        """Render, tokenise, check.

        Raises:
            InvalidRequest: empty prompt, ids outside the vocabulary, a conversation the template refuses or
                takes too long for.
            Overloaded: too many prompts wait already.
        """
        return await self._in_thread(lambda: self._build(source, add_special_tokens))

    async def render(self, chat: ChatInput) -> tuple[str, list[int]]:
        """A conversation as text and as token ids; fails as `build` does."""
        rendered = await self._in_thread(
            lambda: self._template.render(self._completed(chat), self._context_tokens)
        )
        return rendered.text, rendered.token_ids

    async def decode(self, token_ids: list[int]) -> str:
        """The text of these ids, special tokens included.

        Raises:
            InvalidRequest: ids outside the vocabulary.
        """
        self._check_ids(token_ids, param="tokens")
        return await self._in_thread(lambda: self._tokenizer.decode(token_ids))

    def close(self) -> None:
        """End the threads once they are idle."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        if self._pending >= self._max_pending:
            raise Overloaded("Too many requests are waiting.", retry_after_s=1.0)
        self._pending += 1
        try:
            return await run_bounded(self._threads, work, self._limit_s)
        except OutOfTime:
            raise InvalidRequest(
                f"The prompt took more than {self._limit_s:g} s to prepare.", code="prompt_too_slow"
            ) from None
        finally:
            self._pending -= 1

    def _build(self, source: ChatInput | TextInput | TokenInput, add_special_tokens: bool) -> Prompt:
        match source:
            case ChatInput():
                chat = self._completed(source)
                rendered = self._template.render(chat, self._context_tokens)
                prompt = Prompt(
                    rendered.token_ids,
                    in_reasoning=rendered.thinking,
                    marked_tokens=self._template.marked_tokens(chat, rendered),
                )
            case TextInput(text=text, echo=echo):
                ids = self._tokenizer.encode(
                    text, add_special_tokens=add_special_tokens, context_tokens=self._context_tokens
                )
                prompt = Prompt(ids, echo_text=text if echo else None)
            case TokenInput(token_ids=token_ids, echo=echo):
                self._check_ids(token_ids, param="prompt")
                ids = list(token_ids)
                prompt = Prompt(ids, echo_text=self._tokenizer.decode(ids) if echo else None)
        if not prompt.token_ids:
            raise InvalidRequest("The prompt is empty.", param="prompt")
        return prompt

    def _completed(self, chat: ChatInput) -> ChatInput:
        """The conversation with every template variable that has a default."""
        variables = self._template_defaults | chat.template_kwargs
        return msgspec.structs.replace(chat, template_kwargs=variables)

    def _check_ids(self, token_ids: list[int] | tuple[int, ...], *, param: str) -> None:
        if token_ids and not 0 <= min(token_ids) <= max(token_ids) < self._vocab_size:
            raise InvalidRequest(f"Token ids must be between 0 and {self._vocab_size - 1}.", param=param)
