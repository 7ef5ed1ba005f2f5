"""Compiles grammars on threads of its own, bounded in number and time, and keeps the compiled ones."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict, deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Final

from vllm_mlx.core.clock import Clock, system_clock, thread_work_clock
from vllm_mlx.core.errors import AppError, InternalError, InvalidGrammar, Overloaded
from vllm_mlx.structured.masks import MASK_THREADS
from vllm_mlx.structured.stack import start_deep_thread

if TYPE_CHECKING:
    from vllm_mlx.chat.tokenizer import Tokenizer
    from vllm_mlx.core.spelling import Spelling
    from vllm_mlx.structured.llguidance import Compiler, GrammarMatcher, Lexers

log = logging.getLogger(__name__)

MAX_CHARS: Final = 2**21
"""The longest grammar: 1 MB of JSON schema, with its quotes escaped."""
COMPILE_CPU_S: Final = 8.0
"""Of processor time, once the vocabulary is read: what takes more is the grammar's fault."""
COMPILE_S: Final = 30.0
"""How long it may take where cores are busy: what is over is nobody's fault, and may be asked for again."""
QUEUE_S: Final = 20.0
"""How long a grammar may wait for a thread."""

LARGE_CHARS: Final = 100_000
"""Longer ones are compiled one at a time, for each takes a core for a while, and small ones pass them."""

_THREADS: Final = 2
_LEXERS: Final = 4 * MASK_THREADS if MASK_THREADS > 1 else 1
"""One a thread would do if a thread kept to the rows of a lexer. But the library hands out halves of what is
left, so two come to the rows of one, and one of them sleeps (64 rows, 8 threads of a Xeon: a call of 1.04 ms
with 8 lexers, 0.77 with 32, 0.75 with 64)."""
_ROWS_A_LEXER: Final = 2
_SPREAD_S: Final = 0.05
"""Of processor time: what takes more to compile is not compiled again."""
_MORE_LEXERS: Final = 64
"""Over all grammars, in equal shares for those that rows have. One has 0.1 MB as a rule, and 100 at worst."""
_GIVEN_UP: Final = 4
"""Threads that may go on with a grammar which was given up: foreign code cannot be stopped."""
_KEPT: Final = 256
_KEPT_CHARS: Final = 2**23
"""Of all grammars that are kept. Lists of values take 45 to 70 bytes a character once they are compiled."""

_TOO_LONG = "the grammar or schema has {} characters; at most {} are compiled"
_TOO_SLOW = "the grammar or schema takes too long to compile"
_STARVED = "the machine is too busy to compile the grammar or schema; try again later"
_BUSY = "too many grammars wait to be compiled; try again later"
_NONE_HERE = "this model's engine has no tokenizer to constrain output with"
_BROKEN = "the model's vocabulary cannot be used for constrained output"


class Compilation:
    """One grammar's way to a matcher. Read it from one thread; a thread of `Grammars` works on it.

    Args:
        again_for: the compilation of the same text that only wants one more lexer.
    """

    def __init__(self, text: str, asked_s: float, again_for: Compilation | None = None) -> None:
        self.text = text
        self.again_for = again_for
        self.num_again = 0  # compilations of the same text under way
        self.is_large = len(text) > LARGE_CHARS
        self.asked_s = asked_s
        self.begun_s: float | None = None
        self.work: Clock | None = None  # of its thread, where there is such a clock
        self.work_begun_s = 0.0
        self.num_waiting = 1  # requests
        self.given_up = False
        self.spent_s = 0.0  # of processor time, where there is such a clock
        self._result: GrammarMatcher | AppError | None = None

    def settle(self, result: GrammarMatcher | AppError) -> None:
        """It is done, or never will be."""
        self._result = result

    def lexers(self) -> Lexers | None:
        """Those of its matchers; None if there will be no matchers, or are none yet."""
        return None if self._result is None or isinstance(self._result, AppError) else self._result.lexers

    @property
    def num_more_lexers(self) -> int:
        """Beyond the first, with those that come."""
        lexers = self.lexers()
        return self.num_again + (0 if lexers is None else len(lexers) - 1)

    @property
    def settled(self) -> bool:
        return self._result is not None

    @property
    def was_overload(self) -> bool:
        """Whether no thread, or no core, had time for it; another time may be better."""
        return isinstance(self._result, Overloaded)

    def matcher(self) -> GrammarMatcher | None:
        """A new matcher at the beginning of the grammar; None while there is none.

        Raises:
            InvalidGrammar: the grammar is wrong or too complex.
            Overloaded: no thread, or no core, had time for it.
            InternalError: the vocabulary cannot be read.
        """
        if isinstance(self._result, AppError):
            raise self._result
        return None if self._result is None else self._result.copy()


class Grammars:
    """The grammars of one model: the newest, compiled.

    `begin` and `poll` never wait. Whoever asks for a text that was asked for before gets the same
    compilation, failed ones too. Nothing is imported or read before the first grammar, or `prepare`.

    Args:
        load: makes a compiler over the vocabulary; called once, on a thread of its own or by `prepare`.
        work_clock: gives the clock of the processor time of the thread that calls it, or None.
        most_lexers: how often a grammar that many rows share is compiled at most; see `llguidance.Lexers`.
    """

    def __init__(
        self,
        load: Callable[[], Compiler],
        clock: Clock = system_clock,
        work_clock: Callable[[], Clock | None] = thread_work_clock,
        most_lexers: int = _LEXERS,
    ) -> None:
        self._load = load
        self._clock = clock
        self._work_clock = work_clock
        self._most_lexers = most_lexers
        self._kept: OrderedDict[str, Compilation] = OrderedDict()
        self._lock = threading.Lock()  # for what follows: threads take from it
        self._queue: deque[Compilation] = deque()
        self._working: set[Compilation] = set()
        self._num_given_up = 0
        self._spread_out: list[Compilation] = []  # with several lexers
        self._loading = threading.Lock()
        self._compiler: Compiler | AppError | None = None

    def prepare(self) -> None:
        """Make the compiler now; if that fails, whoever asks for a grammar hears so.

        Reading a vocabulary of 150,000 tokens holds Python's lock for half a second at a time: done with the
        first grammar, it would hold up every stream.
        """
        with suppress(AppError):
            self._loaded()

    @property
    def spelling(self) -> Spelling | None:
        """What the model's tokens spell, once the vocabulary is read; None before."""
        compiler = self._compiler
        return None if compiler is None or isinstance(compiler, AppError) else compiler.spelling

    def begin(self, text: str) -> Compilation:
        """Have a grammar compiled, unless it is already.

        Raises:
            InvalidGrammar: it is too long.
        """
        if len(text) > MAX_CHARS:
            raise InvalidGrammar(_TOO_LONG.format(len(text), MAX_CHARS))
        known = self._kept.get(text)
        if known is not None and not known.was_overload:
            self._kept.move_to_end(text)
            known.num_waiting += 1
            return known
        compilation = self._kept[text] = Compilation(text, self._clock())
        self._kept.move_to_end(text)
        self._forget_oldest()
        with self._lock:
            self._queue.append(compilation)
            self._start_threads()
        return compilation

    def poll(self, compilation: Compilation) -> GrammarMatcher | None:
        """What `Compilation.matcher` says, once it had its time at the latest."""
        if not compilation.settled:
            self._check_time(compilation)
        matcher = compilation.matcher()
        if matcher is not None:
            self._spread(compilation, matcher.lexers)
        return matcher

    def cancel(self, compilation: Compilation) -> None:
        """Who began it left: spare the threads what no one else waits for."""
        compilation.num_waiting -= 1
        with self._lock:
            if not compilation.num_waiting and compilation in self._queue:
                self._queue.remove(compilation)
                self._kept.pop(compilation.text, None)

    def _spread(self, compilation: Compilation, lexers: Lexers) -> None:
        """Have a grammar compiled as often as pays for the rows that have it now; later ones profit."""
        if compilation.num_more_lexers >= self._most_lexers - 1:
            return
        if compilation.spent_s > _SPREAD_S or compilation.is_large:
            return
        wanted = min(self._most_lexers, -(-lexers.num_users // _ROWS_A_LEXER)) - 1
        with self._lock:
            if wanted <= compilation.num_more_lexers:
                return
            missing = min(wanted, self._share_for(compilation)) - compilation.num_more_lexers
            if missing <= 0:
                return
            compilation.num_again += missing
            for _ in range(missing):
                self._queue.append(Compilation(compilation.text, self._clock(), again_for=compilation))
            self._start_threads()

    def _share_for(self, compilation: Compilation) -> int:
        """How many further lexers a grammar may have. The others leave what goes beyond their own share; who
        uses it keeps it for as long.
        """
        self._spread_out = [
            each for each in self._spread_out if each.num_more_lexers and each is not compilation
        ]
        in_use = [each for each in self._spread_out if (own := each.lexers()) is not None and own.num_users]
        share = _MORE_LEXERS // (len(in_use) + 1)
        for each in self._spread_out:
            if (own := each.lexers()) is not None:
                own.leave(1 + share if each in in_use else 1)
        self._spread_out.append(compilation)
        return share

    def _forget_oldest(self) -> None:
        chars = sum(map(len, self._kept))
        while len(self._kept) > _KEPT or chars > _KEPT_CHARS:
            text, _ = self._kept.popitem(last=False)
            chars -= len(text)

    def _check_time(self, compilation: Compilation) -> None:
        now_s = self._clock()
        with self._lock:
            if compilation.settled:
                return
            if compilation.begun_s is not None:
                self._check_progress(compilation, now_s - compilation.begun_s)
            elif compilation in self._queue and now_s - compilation.asked_s > QUEUE_S:
                self._queue.remove(compilation)
                compilation.settle(Overloaded(_BUSY))

    def _check_progress(self, compilation: Compilation, spent_s: float) -> None:
        # Its thread cannot have ended: it would have settled it, and needs the lock for that.
        work = compilation.work
        if work is not None and work() - compilation.work_begun_s > COMPILE_CPU_S:
            self._give_up(compilation, InvalidGrammar(_TOO_SLOW))
        elif spent_s > COMPILE_S:
            # Also without such a clock: the grammar was tried before it came here, so it is not hopeless.
            self._give_up(compilation, Overloaded(_STARVED))

    def _give_up(self, compilation: Compilation, error: AppError) -> None:
        compilation.settle(error)
        if self._num_given_up < _GIVEN_UP:
            compilation.given_up = True
            self._num_given_up += 1
            self._working.discard(compilation)
            self._start_threads()

    # ---- on the threads; the lock is held where something shared changes ----

    def _start_threads(self) -> None:
        while len(self._working) < _THREADS and (compilation := self._next()) is not None:
            self._queue.remove(compilation)
            self._working.add(compilation)
            start_deep_thread(partial(self._work, compilation), "grammar")

    def _next(self) -> Compilation | None:
        with_large = not any(each.is_large for each in self._working)
        able = [each for each in self._queue if with_large or not each.is_large]
        return min(able, key=lambda each: each.again_for is not None, default=None)  # the first of the best

    def _work(self, compilation: Compilation) -> None:
        result = self._compiled(compilation)
        with self._lock:
            if compilation.again_for is not None:
                compilation.again_for.num_again -= 1
                lexers = compilation.again_for.lexers()
                if lexers is not None and not isinstance(result, AppError):
                    lexers.add(result)
            elif not compilation.settled:
                compilation.settle(result)
            self._working.discard(compilation)
            self._num_given_up -= compilation.given_up
            self._start_threads()

    def _compiled(self, compilation: Compilation) -> GrammarMatcher | AppError:
        try:
            compiler = self._loaded()
            work = self._work_clock()
            if work is not None:
                compilation.work_begun_s = work()
            compilation.work = work
            begun_s = compilation.begun_s = self._clock()  # last: whoever finds it reads the others
            matcher = compiler.compile(compilation.text)
            compilation.spent_s = (
                self._clock() - begun_s if work is None else work() - compilation.work_begun_s
            )
            return matcher
        except AppError as error:
            return error
        except Exception:
            log.exception("a grammar could not be compiled")
            return InternalError(_BROKEN)

    def _loaded(self) -> Compiler:
        with self._loading:
            if self._compiler is None:
                try:
                    self._compiler = self._load()
                except Exception:
                    log.exception("the vocabulary cannot be read for grammars")
                    self._compiler = InternalError(_BROKEN)
        if isinstance(self._compiler, AppError):
            raise self._compiler
        return self._compiler


class Waiting:
    """Who waits for which grammar.

    Args:
        grammars: None where no text is known to the engine, so that no grammar can be used.
    """

    def __init__(self, grammars: Grammars | None) -> None:
        self._grammars = grammars
        self._asked: dict[str, Compilation] = {}

    def __len__(self) -> int:
        return len(self._asked)

    def __contains__(self, key: str) -> bool:
        return key in self._asked

    @property
    def spelling(self) -> Spelling | None:
        """See `Grammars`."""
        return None if self._grammars is None else self._grammars.spelling

    def ask(self, key: str, text: str) -> None:
        """Wait for a grammar.

        Raises:
            InvalidGrammar: it is too long, or there are no grammars here.
        """
        if self._grammars is None:
            raise InvalidGrammar(_NONE_HERE)
        self._asked[key] = self._grammars.begin(text)

    def leave(self, key: str) -> None:
        """Wait no longer, if it did."""
        compilation = self._asked.pop(key, None)
        if compilation is not None and self._grammars is not None:
            self._grammars.cancel(compilation)

    def close(self) -> None:
        """No one waits any more."""
        for key in list(self._asked):
            self.leave(key)

    def news(self) -> list[tuple[str, GrammarMatcher | AppError]]:
        """Those who need not wait any longer, with what came of it."""
        told: list[tuple[str, GrammarMatcher | AppError]] = []
        for key, compilation in self._asked.items():
            result = self._result(compilation)
            if result is not None:
                told.append((key, result))
        for key, _ in told:
            self.leave(key)
        return told

    def _result(self, compilation: Compilation) -> GrammarMatcher | AppError | None:
        try:
            return self._grammars.poll(compilation) if self._grammars is not None else None
        except AppError as error:
            return error


def read_ahead(folder: Path) -> Callable[[], Tokenizer]:
    """Begin to read a model's tokenizer on a thread of its own, and give what waits for it."""
    # Imported on this thread: it goes on to import what shares modules with it, and two threads in the middle
    # of one circle of modules can each find the other's half.
    module = import_module("vllm_mlx.chat.tokenizer")
    import_module("vllm_mlx.structured.llguidance")
    done: Future[Tokenizer] = Future()

    def read() -> None:
        try:
            done.set_result(module.Tokenizer.load(folder))
        except BaseException as error:  # noqa: BLE001  (raised again where it is waited for)
            done.set_exception(error)

    threading.Thread(target=read, name="vocabulary", daemon=True).start()
    return done.result


def grammars_of(folder: Path, vocab_size: int, tokenizer: Callable[[], Tokenizer] | None = None) -> Grammars:
    """The grammars of the model in a folder.

    Args:
        vocab_size: the model's; it may be larger than the tokenizer's.
        tokenizer: what `read_ahead` gave; None to read it with the first grammar.
    """

    def load() -> Compiler:
        # Only whoever uses a grammar pays for the library and the vocabulary.
        module = import_module("vllm_mlx.structured.llguidance")
        compiler: Compiler = (
            module.Compiler.load(folder, vocab_size)
            if tokenizer is None
            else module.Compiler(tokenizer(), vocab_size)
        )
        return compiler

    return Grammars(load)
