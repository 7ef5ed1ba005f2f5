"""Masks of many matchers in one call on the library's threads, now or while the engine does other work."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from queue import SimpleQueue
from threading import Lock, Thread
from typing import Any, Final, NamedTuple, Protocol, cast
from weakref import finalize

import numpy as np
from llguidance import LLExecutor

from vllm_mlx.core.errors import AppError, InternalError, InvalidGrammar, Overloaded
from vllm_mlx.structured.gate import Gate
from vllm_mlx.structured.llguidance import NOT_ALLOWED, Foreseen, GrammarMatcher, message_of
from vllm_mlx.structured.masks import MASK_THREADS, Filled, Tokens, Words

log = logging.getLogger(__name__)

FILL_S: Final = 2.0
"""What all masks of a step may take together, while every other row waits; requests whose masks are missing
then end, also those that only stood behind a slow one. A usual mask takes 50 us, and the library bounds each
to some 10 ms of work: what is over says that the cores are busy, not that a grammar is bad."""
WRITE_S: Final = 0.1
"""The library writes each mask at once, in microseconds: what was begun so long ago is whole."""
_LEAVE_S: Final = 2.0
_FEW: Final = 16
"""So many matchers take their tokens (5 us each) sooner than other threads could be woken to do it, and than
Python's lock would be had again."""
TOO_SLOW: Final = "the machine is too busy to find out what the grammar allows next; try again later"
_BROKEN: Final = "what the grammar allows next could not be found out"


class Workers(Protocol):
    """Work on many of the library's matchers at once. As long as a call lasts it has all of them."""

    def take(self, steps: Sequence[tuple[Any, int]]) -> list[bool]:
        """Go on with each matcher by its token; whether it does."""
        ...

    def fill(self, places: Sequence[tuple[Any, int]], words: Words) -> None:
        """Write the mask of each matcher to its row of `words` (R, W)."""
        ...


class _Lent(NamedTuple):
    seq_id: int
    matcher: GrammarMatcher
    raw: Any
    end_ids: tuple[int, ...]


class _Signal:
    """One thread tells others once; a `Future` would cost every step of the engine's thread some 10 us."""

    def __init__(self) -> None:
        self._missing = Lock()
        self._missing.acquire()

    def give(self) -> None:
        """Once."""
        self._missing.release()

    def wait(self, timeout_s: float = -1.0) -> bool:
        """Whether it came in time; -1 for as long as it takes."""
        came = self._missing.acquire(timeout=timeout_s)
        if came:
            self._missing.release()  # for whoever asks again
        return came


class _Job:
    """Work for the filler's thread.

    Attributes:
        error: what it raised, once it is over.
    """

    def __init__(self, work: Callable[[Workers], None]) -> None:
        self._work = work
        self._done = _Signal()
        self.error: BaseException | None = None

    def run(self, workers: Workers) -> None:
        """On that thread."""
        try:
            self._work(workers)
        except BaseException as error:  # noqa: BLE001  (whoever waits for it is told)
            self.error = error
        del self._work  # whose grammars may be large: the thread keeps the job until the next one comes
        self._done.give()

    def never_runs(self, error: BaseException) -> None:
        """Nobody will do it."""
        self.error = error
        self._done.give()

    def ends(self, timeout_s: float) -> bool:
        """Whether it is over in time."""
        return self._done.wait(timeout_s)


class _LookAhead:
    """Waits for tokens, takes them, and fills the masks behind them.

    All of it happens on a thread of the filler's: the engine's own has no time for it. Only what that thread
    does not get done in time is told by the engine's.

    Attributes:
        arrived: given when the tokens are there, or never will be.

    Args:
        gates: nobody uses them before all is told.
    """

    def __init__(self, gates: Mapping[int, Gate], tokens: Tokens, vocab_size: int) -> None:
        self._gates = gates
        self._tokens = tokens
        self._vocab_size = vocab_size
        self.arrived = _Signal()
        # From then on: the matchers with their tokens, those of which no token is certain, and the masks
        # (R, W) behind the R tokens, zero where none was filled.
        self._steps: list[tuple[_Lent, int]] = []
        self._others: list[_Lent] = []
        self._words = _NO_WORDS
        self._telling = Lock()
        self._told = False

    def run(self, workers: Workers) -> None:
        """On a thread of the filler's."""
        try:
            self._arrive()
        finally:
            self.arrived.give()
        self._tell(self._found(workers) if self._steps else [], returns=True)

    def leave(self, job: _Job, why: AppError) -> None:
        """Tell what there is although it goes on still, or has failed; it keeps the library's matchers."""
        found = []
        if self._steps:
            filled = _left(self._words, self._vocab_size, job, why)
            found = [Foreseen(token_id, filled, row) for row, (_, token_id) in enumerate(self._steps)]
        self._tell(found, returns=False)

    def _arrive(self) -> None:
        lent = [
            _Lent(seq_id, matcher, matcher.lend(), gate.end_ids)
            for seq_id, gate in self._gates.items()
            if (matcher := cast("GrammarMatcher | None", gate.next_taker)) is not None
        ]
        tokens: Mapping[int, int] = {}
        with suppress(Exception):  # whoever reads the step hears of it
            tokens = self._tokens()
        for each in lent:
            token_id = tokens.get(each.seq_id)
            if token_id is None or token_id in each.end_ids:
                self._others.append(each)
            else:
                self._steps.append((each, token_id))
        self._words = _no_words(len(self._steps), self._vocab_size)

    def _found(self, workers: Workers) -> list[Foreseen]:
        raws = [each.raw for each, _ in self._steps]
        order = _by_lexer([each.matcher for each, _ in self._steps])
        took = workers.take([(raws[row], self._steps[row][1]) for row in order])
        refused = {
            row: message_of(raws[row]) or NOT_ALLOWED
            for row, well in zip(order, took, strict=True)
            if not well
        }
        workers.fill([(raws[row], row) for row in order], self._words)
        filled = _filled(raws, self._words, self._vocab_size)
        also = [
            each.end_ids if ends else () for (each, _), ends in zip(self._steps, filled.ends, strict=True)
        ]
        filled = filled.of_step([each.seq_id for each, _ in self._steps], also)
        # Where something may follow, the grammar is not exhausted; where there is no mask, no one knows.
        exhausted = [
            None if row in filled.failed else empty and raws[row].is_stopped()
            for row, empty in enumerate(filled.empty)
        ]
        return [
            Foreseen(token_id, filled, row, exhausted[row], refused.get(row))
            for row, (_, token_id) in enumerate(self._steps)
        ]

    def _tell(self, found: Sequence[Foreseen], *, returns: bool) -> None:
        """Once: give the matchers back, and tell them."""
        with self._telling:
            if self._told:
                return
            self._told = True
            for each in self._others:
                each.matcher.give_back(each.raw)
            for (each, _), place in zip(self._steps, found, strict=True):
                each.matcher.foresee(each.raw if returns and place.failed is None else None, place)


class MaskFiller:
    """Fills the masks of many matchers on other threads, and waits for them only so long.

    Args:
        working: makes what works on matchers; called on the thread that will use it.
    """

    def __init__(self, vocab_size: int, working: Callable[[], Workers] | None = None) -> None:
        self._vocab_size = vocab_size
        self._working = working or _Library
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._thread: Thread | None = None
        self._looking: tuple[_Job, _LookAhead] | None = None

    def fill(self, matchers: Sequence[GrammarMatcher]) -> Filled:
        """The masks of these matchers, row i for matcher i."""
        words = _no_words(len(matchers), self._vocab_size)
        raws = [matcher.lend() for matcher in matchers]
        places = [(raws[row], row) for row in _by_lexer(matchers)]
        job = _Job(lambda workers: workers.fill(places, words))
        self._start(job)
        why = self._failure(job)
        if why is not None:
            return _left(words, self._vocab_size, job, why)
        for matcher, raw in zip(matchers, raws, strict=True):
            matcher.give_back(raw)
        return _filled(raws, words, self._vocab_size)

    def look_ahead(self, gates: Mapping[int, Gate], tokens: Tokens) -> None:
        """Begin to find out what may follow the tokens that sequences are about to take, until `settle`.

        Args:
            gates: by sequence; nobody may use them until then.
            tokens: called on another thread.
        """
        looking = _LookAhead(gates, tokens, self._vocab_size)
        job = _Job(looking.run)
        if not self._start(job):
            looking.arrived.give()
        self._looking = job, looking

    def settle(self) -> None:
        """Wait for what was begun; the gates' matchers know by then. Nothing if nothing was begun."""
        if self._looking is None:
            return
        (job, looking), self._looking = self._looking, None
        looking.arrived.wait()  # however long: whoever reads the step would wait as long
        why = self._failure(job)
        if why is not None:
            looking.leave(job, why)

    def close(self) -> None:
        """End the thread, and wait for it."""
        thread = self._thread
        self._leave_thread()
        if thread is not None:
            thread.join(_LEAVE_S)

    def _start(self, job: _Job) -> bool:
        """Whether a thread will do it."""
        if self._thread is None:
            thread = Thread(
                target=_work_for_ever, args=(self._jobs, self._working), name="masks", daemon=True
            )
            try:
                thread.start()
            except RuntimeError as error:  # the system has no more
                job.never_runs(error)
                return False
            # Who forgets the filler ends its thread too.
            self._thread, self._end_thread = thread, finalize(self, self._jobs.put, None)
        self._jobs.put(job)
        return True

    def _failure(self, job: _Job) -> AppError | None:
        """Why rows of a job have no masks; None once it is done. It then keeps the rows and matchers that it
        has, and another thread does what comes next.
        """
        ended = job.ends(FILL_S)
        if ended and job.error is None:
            return None
        self._leave_thread()
        if not ended:
            return Overloaded(TOO_SLOW)
        log.error("masks could not be made", exc_info=job.error)
        return InternalError(_BROKEN)

    def _leave_thread(self) -> None:
        """It ends once it is done; another one takes over where there is more to do."""
        if self._thread is not None:
            self._end_thread()
            self._jobs, self._thread = SimpleQueue(), None


def _by_lexer(matchers: Sequence[GrammarMatcher]) -> list[int]:
    """The rows, those of one lexer side by side: neighbours go to one thread, and a lexer serves one."""
    places: dict[int, list[int]] = {}
    for row, matcher in enumerate(matchers):
        places.setdefault(id(matcher.lexer), []).append(row)
    return [row for rows in places.values() for row in rows]


_NO_WORDS: Final[Words] = np.zeros((0, 0), np.uint32)


def _no_words(rows: int, vocab_size: int) -> Words:
    """Room for masks: the library writes one bit more than there are tokens, for the end of a text."""
    return np.zeros((rows, vocab_size // 32 + 1), np.uint32)


def _filled(raws: Sequence[Any], words: Words, vocab_size: int) -> Filled:
    """The masks of a call that is over."""
    filled = Filled.of(words, vocab_size)
    failed = dict[int, AppError]()
    for row in (row for row, empty in enumerate(filled.empty) if empty):
        if raws[row].is_error():
            failed[row] = InvalidGrammar(message_of(raws[row]))
        else:
            filled.ends[row] = raws[row].is_accepting()
    return filled._replace(failed=failed)


def _left(words: Words, vocab_size: int, job: _Job, why: AppError) -> Filled:
    """The masks that are there for sure, of a call that goes on; the other rows have none, nor have those of
    one that failed.
    """
    begun = np.zeros(len(words), np.bool_)
    if job.error is None:
        begun |= words.any(axis=1)
    job.ends(WRITE_S)
    words = np.where(begun[:, None], words, np.uint32(0))
    failed = dict.fromkeys(np.flatnonzero(~begun).tolist(), why)
    return Filled.of(words, vocab_size)._replace(failed=failed)


class _Library:
    """Threads of the library's own, which work without Python's lock."""

    def __init__(self) -> None:
        self._executor = LLExecutor(MASK_THREADS)

    def take(self, steps: Sequence[tuple[Any, int]]) -> list[bool]:
        if len(steps) <= _FEW:
            return [raw.consume_token(token_id) for raw, token_id in steps]
        return list(self._executor.consume_token_par(list(steps)))

    def fill(self, places: Sequence[tuple[Any, int]], words: Words) -> None:
        rows, width = words.shape
        self._executor.unsafe_compute_mask_ptr(list(places), words.ctypes.data, 4 * width, rows)


class _Missing:
    """In the place of workers that could not be made."""

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def take(self, steps: Sequence[tuple[Any, int]]) -> list[bool]:
        raise self._error

    def fill(self, places: Sequence[tuple[Any, int]], words: Words) -> None:
        raise self._error


def _work_for_ever(jobs: SimpleQueue[_Job | None], working: Callable[[], Workers]) -> None:
    try:
        workers = working()
    except BaseException as error:  # noqa: BLE001  (each job tells whoever waits for it)
        workers = _Missing(error)
    while (job := jobs.get()) is not None:
        job.run(workers)
