"""From what a request asks of its answer's form to a checked grammar, off the event loop and bounded."""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Final

import msgspec

from vllm_mlx.core.errors import InvalidRequest, Overloaded
from vllm_mlx.core.requests import ChatInput, GenerateRequest
from vllm_mlx.parsing.format import OutputFormat
from vllm_mlx.structured.checking import GrammarChecker, Names
from vllm_mlx.structured.grammar import answer_of, grammar_of
from vllm_mlx.structured.lark import SpecialId
from vllm_mlx.structured.loosening import Exactness
from vllm_mlx.structured.tools import calls_grammar

WORKERS: Final = 2
LARGE_BYTES: Final = 100_000
"""Of what is asked for. Above it one request at a time has its grammar made, on a thread for such only: a
burst of lists of 100,000 values, each of which takes a core for a while, stands in no one else's way."""
MAX_KEPT: Final = 256
MAX_KEPT_CHARS: Final = 8 * 2**20
"""Of all grammars that are kept, so that a request like an earlier one costs a look-up."""


class _Work:
    """A grammar that is being made, and how many wait for it."""

    def __init__(self, made: asyncio.Future[str | None]) -> None:
        self.made = made
        self.num_waiting = 0


class Constrainer:
    """Makes the grammars of one model's requests; knows by what was asked, never by whom.

    Args:
        names: the model's ids and control tokens, which a grammar may name.
        max_pending: requests that may wait for a thread; one more is refused as overload.
    """

    def __init__(self, output_format: OutputFormat, names: Names, *, max_pending: int) -> None:
        self._format = output_format
        self._special_id: SpecialId = names.special.get
        self._checker = GrammarChecker(names)
        self._max_pending = max_pending
        self._pending = 0
        self._kept: OrderedDict[bytes, str | None] = OrderedDict()
        self._kept_chars = 0
        self._under_way: dict[bytes, _Work] = {}
        self._threads = ThreadPoolExecutor(WORKERS, thread_name_prefix="grammar")
        self._large = ThreadPoolExecutor(1, thread_name_prefix="large-grammar")

    async def grammar(self, request: GenerateRequest) -> str | None:
        """The grammar of a request's output; None where it may be any text.

        Raises:
            InvalidRequest: what is asked for cannot be enforced; the message says why.
            Overloaded: too many requests wait already.
        """
        chat = request.input if isinstance(request.input, ChatInput) else None
        tools = chat is not None and bool(chat.tools or chat.tool_choice.mode in ("required", "named"))
        if request.constraint is None and not tools:
            return None
        asked = _asked(request)
        key = hashlib.sha256(asked).digest()
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        if self._pending >= self._max_pending:
            raise Overloaded("Too many requests are waiting.", retry_after_s=1.0)
        work = self._under_way.get(key)
        if work is None:
            work = self._begin(key, request, self._large if len(asked) > LARGE_BYTES else self._threads)
        work.num_waiting += 1
        self._pending += 1
        try:
            return await asyncio.shield(work.made)
        finally:
            self._pending -= 1
            work.num_waiting -= 1
            if not work.num_waiting and not work.made.done():
                work.made.cancel()  # before it has begun it need not begin
                del self._under_way[key]

    def close(self) -> None:
        """End the threads once they are idle, and the processes at once."""
        for threads in (self._threads, self._large):
            threads.shutdown(wait=False, cancel_futures=True)
        self._checker.close()

    def _begin(self, key: bytes, request: GenerateRequest, threads: ThreadPoolExecutor) -> _Work:
        work = _Work(asyncio.get_running_loop().run_in_executor(threads, self._make, request))
        self._under_way[key] = work

        def settle(made: asyncio.Future[str | None]) -> None:
            if self._under_way.get(key) is work:
                del self._under_way[key]
            if not made.cancelled() and made.exception() is None:
                self._keep(key, made.result())

        work.made.add_done_callback(settle)
        return work

    def _make(self, request: GenerateRequest) -> str | None:
        chat = request.input if isinstance(request.input, ChatInput) else None
        if chat is None or not (chat.tools or chat.tool_choice.mode in ("required", "named")):
            return self._of_answer(request)
        loosened: tuple[Exactness, ...] = ("loose", "shape")
        for exactness in loosened:
            try:
                return self._of_calls(chat, request, exactness)
            except InvalidRequest:
                # Perhaps the schema of a tool that need not be strict is too much for a grammar.
                if all(tool.strict for tool in chat.tools):
                    raise
        return self._of_calls(chat, request, None)

    def _of_answer(self, request: GenerateRequest) -> str | None:
        if request.constraint is None:
            return None
        chat = isinstance(request.input, ChatInput)
        with _about(request.constraint_param):
            text = grammar_of(request.constraint, self._special_id, self._format if chat else None)
            self._checker.check(text)
        return text

    def _of_calls(self, chat: ChatInput, request: GenerateRequest, exactness: Exactness | None) -> str | None:
        if chat.tool_choice.mode == "none":
            return self._of_answer(request)
        answer = None
        if request.constraint is not None and chat.tool_choice.mode == "auto":
            self._of_answer(request)  # by itself first, so that an error is about the right field
            with _about(request.constraint_param):
                answer = answer_of(request.constraint)
        with _about("tools"):
            text = calls_grammar(
                self._format,
                chat.tools,
                chat.tool_choice,
                self._special_id,
                parallel=chat.parallel_tool_calls,
                answer=answer,
                exactness=exactness,
            )
            if text is not None:
                self._checker.check(text)
        return text

    def _keep(self, key: bytes, text: str | None) -> None:
        if key in self._kept:
            return
        self._kept[key] = text
        self._kept_chars += len(text or "")
        while len(self._kept) > MAX_KEPT or self._kept_chars > MAX_KEPT_CHARS:
            _, oldest = self._kept.popitem(last=False)
            self._kept_chars -= len(oldest or "")


def _asked(request: GenerateRequest) -> bytes:
    """Equal for requests that ask for the same form."""
    asked: list[object] = [request.constraint, request.constraint_param]
    if isinstance(request.input, ChatInput):
        asked += request.input.tools, request.input.tool_choice, request.input.parallel_tool_calls
    # Not sorted: the order of a schema's properties is the order of the answer's. JSON, because a schema may
    # hold numbers of any length.
    return msgspec.json.encode(asked)


@contextmanager
def _about(param: str) -> Iterator[None]:
    """Errors that name no field are about this one."""
    try:
        yield
    except InvalidRequest as error:
        if error.param is not None:
            raise
        raise InvalidRequest(f"{param}: {error.message}", param=param, code=error.code) from None
