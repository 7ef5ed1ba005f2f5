"""The library that knows grammars: a model's vocabulary in its terms, matchers, and their masks."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from llguidance import LLExecutor, LLMatcher, LLTokenizer, TokenizerWrapper

from vllm_mlx.chat.tokenizer import Tokenizer
from vllm_mlx.core.errors import InvalidGrammar
from vllm_mlx.structured.check import LIMITS

Words = npt.NDArray[np.uint32]
Places = list[tuple[Any, int]]
"""The library's matchers, each with the row that is its own."""
Compute = Callable[[Places, Words], None]
_Job = tuple[Future[None], Places, Words]

FILL_S: Final = 2.0
"""What all masks of a step may take together, while every other row waits; requests whose masks are missing
then end, also those that only stood behind a slow one. A usual mask takes 50 us and the library bounds each:
the rest is for machines that do much besides, where nobody's request shall end because the cores are busy."""
_LEAVE_S: Final = 2.0

_END_NAME: Final = b"<|end of text, by vllm-mlx|>"
_MESSAGE_CHARS: Final = 300
_THREADS: Final = max(1, min(8, (os.cpu_count() or 2) - 1))

_NOT_ALLOWED = "the output left its grammar"
_TOO_SLOW = "what the grammar allows next takes too long to find out"
_NOTHING = "the grammar lets nothing follow that the model could say"


class Vocabulary:
    """The tokens of a model, as `TokenizerWrapper` wants to see them.

    One id more than the model has stands for the end of a text. So the library never marks one of the
    model's own ids as an end: which of them end a text differs from request to request.

    Attributes:
        tokens: the bytes of each id; none for ids without a token, which no grammar then allows.
        special_token_ids: ids that no text spells; grammars name them.
    """

    def __init__(self, tokenizer: Tokenizer, vocab_size: int) -> None:
        self.tokens = [tokenizer.token_bytes(token_id) for token_id in range(vocab_size)] + [_END_NAME]
        special = sorted(token_id for token_id in tokenizer.special_ids if token_id < vocab_size)
        self.special_token_ids = [*special, vocab_size]
        self.eos_token_id = vocab_size
        self.bos_token_id: int | None = None
        self._tokenizer = tokenizer

    def __call__(self, text: str) -> list[int]:
        return self._tokenizer.encode(text, add_special_tokens=False)


class GrammarMatcher:
    """A `Matcher`. Only one thread at a time may use it."""

    def __init__(self, matcher: Any, end_id: int) -> None:
        self.raw = matcher
        self._end_id = end_id

    def copy(self) -> GrammarMatcher:
        """Another one at the same place."""
        return GrammarMatcher(self.raw.deep_copy(), self._end_id)

    def take(self, token_id: int) -> None:
        if not self.raw.consume_token(token_id):
            raise InvalidGrammar(_message(self.raw) or _NOT_ALLOWED)

    def allows(self, token_id: int) -> bool:
        return bool(self.raw.validate_tokens([token_id]))

    @property
    def complete(self) -> bool:
        return bool(self.raw.is_accepting())

    @property
    def exhausted(self) -> bool:
        return bool(self.raw.is_stopped())


class Compiler:
    """Compiles grammars for one vocabulary; any thread may."""

    def __init__(self, tokenizer: Tokenizer, vocab_size: int) -> None:
        self._end_id = vocab_size
        self._tokenizer = LLTokenizer(TokenizerWrapper(Vocabulary(tokenizer, vocab_size)))

    @classmethod
    def load(cls, folder: Path, vocab_size: int) -> Compiler:
        """For the model in a folder.

        Args:
            vocab_size: the model's; it may be larger than the tokenizer's.
        """
        return cls(Tokenizer.load(folder), vocab_size)

    def compile(self, text: str) -> GrammarMatcher:
        """A matcher at the beginning of the grammar.

        Raises:
            InvalidGrammar: the text is no grammar, one that is too complex, or one that nothing meets.
        """
        raw = LLMatcher(self._tokenizer, text, log_level=0, limits=LIMITS)
        if raw.is_error():
            raise InvalidGrammar(_message(raw))
        # The first mask is the most expensive by far, and proves that the text can begin at all.
        mask = np.frombuffer(raw.compute_bitmask(), np.uint32).copy()
        if raw.is_error():
            raise InvalidGrammar(_message(raw))
        mask[self._end_id // 32] &= ~np.uint32(1 << self._end_id % 32)
        if not mask.any() and not raw.is_accepting():
            raise InvalidGrammar(_NOTHING)
        return GrammarMatcher(raw, self._end_id)


class MaskFiller:
    """Fills the masks of many matchers on other threads, and waits for them only so long.

    Args:
        computing: makes what fills the rows of matchers; called on the thread that will use it.
    """

    def __init__(self, computing: Callable[[], Compute] | None = None) -> None:
        self._computing = computing or _library_threads
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._thread: Thread | None = None

    def fill(self, matchers: Sequence[GrammarMatcher], words: Words) -> dict[int, str]:
        """Write row i of `words` (R, W), all zero before, for matcher i; rows that failed, and why.

        A matcher that failed must not be used again: a thread may still be busy with it.
        """
        own = np.zeros_like(words)  # what a late thread writes to, too
        done = self._start([(matcher.raw, i) for i, matcher in enumerate(matchers)], own)
        failed: dict[int, str] = {}
        try:
            done.result(FILL_S)
        except FutureTimeout:
            self._leave_thread()
            failed = dict.fromkeys(np.flatnonzero(~own.any(axis=1)).tolist(), _TOO_SLOW)
        words[:] = own
        for i, matcher in enumerate(matchers):
            if i not in failed and matcher.raw.is_error():
                failed[i] = _message(matcher.raw)
        return failed

    def _start(self, places: Places, words: Words) -> Future[None]:
        if self._thread is None:
            self._thread = Thread(
                target=_fill_for_ever, args=(self._jobs, self._computing), name="masks", daemon=True
            )
            self._thread.start()
        done: Future[None] = Future()
        self._jobs.put((done, places, words))
        return done

    def close(self) -> None:
        """End the thread, and wait for it."""
        thread = self._thread
        self._leave_thread()
        if thread is not None:
            thread.join(_LEAVE_S)

    def _leave_thread(self) -> None:
        """It ends once it is done; another one takes over where there is more to do."""
        if self._thread is not None:
            self._jobs.put(None)
            self._jobs, self._thread = SimpleQueue(), None


def _library_threads() -> Compute:
    executor = LLExecutor(_THREADS)

    def compute(places: Places, words: Words) -> None:
        rows, width = words.shape
        executor.unsafe_compute_mask_ptr(places, words.ctypes.data, 4 * width, rows)

    return compute


def _fill_for_ever(jobs: SimpleQueue[_Job | None], computing: Callable[[], Compute]) -> None:
    compute = computing()
    while (job := jobs.get()) is not None:
        done, places, words = job
        try:
            compute(places, words)
        except Exception as error:  # noqa: BLE001  (raised again where it is waited for)
            done.set_exception(error)
        else:
            done.set_result(None)


def _message(raw: Any) -> str:
    """What the library says is wrong, in one short line."""
    lines = [line.strip() for line in str(raw.get_error()).splitlines() if line.strip()]
    message = lines[0] if lines else ""
    return message if len(message) <= _MESSAGE_CHARS else message[:_MESSAGE_CHARS] + "..."
