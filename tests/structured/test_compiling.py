"""Grammars are compiled on their own threads: kept, bounded in number and time, and never waited for."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.fakes.clock import HandClock

from vllm_mlx.core.clock import Clock, thread_work_clock
from vllm_mlx.core.errors import AppError, InternalError, InvalidGrammar, Overloaded
from vllm_mlx.structured import compiling
from vllm_mlx.structured.compiling import (
    COMPILE_CPU_S,
    COMPILE_S,
    LARGE_CHARS,
    MAX_CHARS,
    QUEUE_S,
    Compilation,
    Grammars,
    Waiting,
    grammars_of,
    read_ahead,
)
from vllm_mlx.structured.llguidance import Lexers

LIMIT_S = 60


class Slow:
    """A compiler that works on texts with "wait" in them until it is told to go on."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.go = threading.Event()
        self.stacks: list[int] = []

    def compile(self, text: str) -> Compiled:
        self.begun.append(text)
        if "wait" in text:
            assert self.go.wait(LIMIT_S)
        if "bad" in text:
            raise InvalidGrammar("this is bad")
        if "broken" in text:
            raise ValueError("a secret")
        return Compiled(text)


class Compiled:
    def __init__(self, text: str, lexers: Lexers | None = None) -> None:
        self.text = text
        self.lexers = lexers or Lexers(object())
        self.lexer = self.lexers.freest()

    def copy(self) -> Compiled:
        copy = Compiled(self.text, self.lexers)
        copy.lexer.add(copy)  # type: ignore[arg-type]
        return copy


def made(compiler: Slow, work: HandClock | None = None, most_lexers: int = 1) -> tuple[Grammars, HandClock]:
    """With a clock for all, and one of the processor time of every thread."""
    clock = HandClock()
    return Grammars(lambda: compiler, clock, lambda: work, most_lexers), clock  # type: ignore[arg-type,return-value]


def until(reached: Callable[[], bool]) -> None:
    pause = threading.Event()
    for _ in range(LIMIT_S * 1000):
        if reached():
            return
        pause.wait(0.001)
    raise AssertionError("never reached")


def result(grammars: Grammars, compilation: Compilation) -> object:
    until(lambda: compilation.settled)
    return grammars.poll(compilation)


def test_a_text_is_compiled_once_and_each_asks_for_a_matcher_of_its_own() -> None:
    compiler = Slow()
    grammars, _ = made(compiler)
    first, again = grammars.begin("a"), grammars.begin("a")
    assert first is again
    one, other = result(grammars, first), grammars.poll(again)
    assert isinstance(one, Compiled)
    assert one is not other
    assert compiler.begun == ["a"]


@pytest.mark.requirement(63)
def test_the_rows_of_one_grammar_are_spread_over_lexers_of_its_own() -> None:
    compiler = Slow()
    grammars, _ = made(compiler, most_lexers=4)
    compilation = grammars.begin("a")
    rows = [result(grammars, compilation) for _ in range(2)]
    assert compiler.begun == ["a"]  # two rows do well with one
    rows += [grammars.poll(compilation) for _ in range(30)]
    lexers = compilation.lexers()
    assert lexers is not None
    until(lambda: len(lexers) == 4)
    assert compiler.begun == ["a"] * 4
    assert lexers.num_users == len(rows)
    rows += [grammars.poll(compilation) for _ in range(90)]
    # The first sit where there was one lexer only; the next go where most room is.
    taken = [sum(row.lexer is each for row in rows if isinstance(row, Compiled)) for each in lexers_of(rows)]
    assert (len(taken), min(taken)) == (4, 30)
    del rows
    assert lexers.num_users == 0
    assert isinstance(result(grammars, compilation), Compiled)
    assert compiler.begun == ["a"] * 4


def test_grammars_that_rows_have_share_the_lexers_that_there_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling, "_MORE_LEXERS", 7)
    compiler = Slow()
    grammars, _ = made(compiler, most_lexers=5)
    rows: dict[str, list[object]] = {}

    def counts_after(text: str, expected: list[int]) -> None:
        """Rows come for a grammar; so many lexers have those that ever had rows."""
        compilation = grammars.begin(text)
        rows.setdefault(text, []).extend(result(grammars, compilation) for _ in range(8))
        every = [each for other in rows if (each := grammars.begin(other).lexers()) is not None]
        until(lambda: [len(each) for each in every] == expected)

    counts_after("a", [4])  # as many as pay for eight rows
    counts_after("a", [5])
    counts_after("b", [4, 4])  # half of seven each, beyond the first
    compiled = len(compiler.begun)
    counts_after("a", [4, 4])  # whoever wants more than its share compiles nothing
    assert len(compiler.begun) == compiled
    counts_after("c", [3, 3, 3])
    rows["a"].clear()
    rows["b"].clear()
    counts_after("c", [1, 1, 5])  # what no one has any more makes room


def lexers_of(rows: list[object]) -> set[object]:
    return {row.lexer for row in rows if isinstance(row, Compiled)}


def test_whoever_waits_for_a_grammar_goes_before_more_lexers_of_another() -> None:
    compiler = Slow()
    grammars, _ = made(compiler, most_lexers=4)
    compilation = grammars.begin("a")
    rows = [result(grammars, compilation)]
    blocking = [grammars.begin(f"wait {i}") for i in range(2)]
    until(lambda: len(compiler.begun) == 3)
    rows += [grammars.poll(compilation) for _ in range(9)]
    grammars.begin("b")
    compiler.go.set()
    for each in blocking:
        result(grammars, each)
    until(lambda: len(compiler.begun) == 7)
    assert compiler.begun[3] == "b"
    assert len(rows) == 10


def test_what_takes_long_to_compile_is_compiled_once() -> None:
    compiler, work = Slow(), HandClock()
    grammars, _ = made(compiler, work, most_lexers=4)
    compilation = grammars.begin("wait")
    until(lambda: compiler.begun == ["wait"])
    work.advance(1)
    compiler.go.set()
    rows = [result(grammars, compilation) for _ in range(20)]
    done = grammars.begin("b")
    rows.append(result(grammars, done))
    assert compiler.begun == ["wait", "b"]


def test_failures_are_kept_too_and_say_nothing_of_our_own_faults() -> None:
    compiler = Slow()
    grammars, _ = made(compiler)
    for _ in range(2):
        with pytest.raises(InvalidGrammar, match="this is bad"):
            result(grammars, grammars.begin("bad"))
    with pytest.raises(InternalError) as caught:
        result(grammars, grammars.begin("broken"))
    assert "secret" not in caught.value.message
    assert sorted(compiler.begun) == ["bad", "broken"]


def test_a_vocabulary_that_cannot_be_read_is_said_to_each() -> None:
    def load() -> Slow:
        raise ValueError("a path")

    grammars = Grammars(load)  # type: ignore[arg-type]
    for text in ("a", "b"):
        with pytest.raises(InternalError, match="vocabulary"):
            result(grammars, grammars.begin(text))


def test_the_vocabulary_is_read_once_ahead_or_with_the_first_grammar() -> None:
    compiler, read = Slow(), []

    def load() -> Slow:
        read.append(threading.current_thread().name)
        return compiler

    for ahead in (True, False):
        grammars = Grammars(load)  # type: ignore[arg-type]
        if ahead:
            grammars.prepare()
        for text in ("a", "b"):
            assert isinstance(result(grammars, grammars.begin(text)), Compiled)
    assert read == [threading.current_thread().name, "grammar"]


def test_a_vocabulary_that_could_not_be_read_ahead_is_said_with_the_first_grammar(tmp_path: Path) -> None:
    grammars = grammars_of(tmp_path, 97, read_ahead(tmp_path))
    grammars.prepare()
    with pytest.raises(InternalError, match="vocabulary"):
        result(grammars, grammars.begin('start: "a"'))


def test_a_text_that_is_too_long_is_refused_at_once() -> None:
    grammars, _ = made(Slow())
    with pytest.raises(InvalidGrammar, match="at most"):
        grammars.begin("x" * (MAX_CHARS + 1))


@pytest.mark.requirement(63)
def test_a_grammar_that_takes_too_long_is_given_up_and_does_not_stand_in_the_way() -> None:
    compiler, work = Slow(), HandClock()
    grammars, _ = made(compiler, work)
    slow = [grammars.begin(f"wait {i}") for i in range(2)]
    until(lambda: len(compiler.begun) == 2)
    quick = grammars.begin("quick")
    assert grammars.poll(slow[0]) is None
    work.advance(COMPILE_CPU_S + 1)
    for compilation in slow:
        with pytest.raises(InvalidGrammar, match="too long"):
            grammars.poll(compilation)
    assert isinstance(result(grammars, quick), Compiled)
    compiler.go.set()
    with pytest.raises(InvalidGrammar, match="too long"):
        grammars.poll(slow[0])


@pytest.mark.requirement(63, 80)
@pytest.mark.parametrize("told", [True, False], ids=["", "where no one tells of other threads' work"])
def test_a_grammar_whose_thread_gets_no_core_is_no_bad_one_and_may_come_again(told: bool) -> None:
    compiler, work = Slow(), HandClock()
    grammars, clock = made(compiler, work if told else None)
    starved = grammars.begin("wait")
    until(lambda: compiler.begun == ["wait"])
    work.advance(COMPILE_CPU_S - 1)
    clock.advance(COMPILE_S - 1)
    assert grammars.poll(starved) is None
    clock.advance(2)
    with pytest.raises(Overloaded, match="busy"):
        grammars.poll(starved)
    compiler.go.set()
    assert isinstance(result(grammars, grammars.begin("wait")), Compiled)


def test_a_threads_work_is_read_by_others_and_is_no_time_that_it_waits() -> None:
    compiler, clocks = Slow(), list[Clock | None]()

    def work_clock() -> Clock | None:
        clocks.append(thread_work_clock())
        return clocks[-1]

    grammars = Grammars(lambda: compiler, work_clock=work_clock)  # type: ignore[arg-type,return-value]
    waiting = grammars.begin("wait")
    until(lambda: compiler.begun == ["wait"])
    if clocks[0] is not None:
        first, begun_s = clocks[0](), time.thread_time()
        while time.thread_time() - begun_s < 0.05:
            pass  # this thread works, the other does not
        assert clocks[0]() - first < 0.01
    compiler.go.set()
    assert isinstance(result(grammars, waiting), Compiled)


@pytest.mark.requirement(63, 80)
def test_large_ones_wait_for_each_other_and_small_ones_pass() -> None:
    compiler = Slow()
    grammars, _ = made(compiler)
    large = [grammars.begin(f"wait {i}" + "x" * LARGE_CHARS) for i in range(3)]
    small = [grammars.begin(f"{i}") for i in range(3)]
    for compilation in small:
        assert isinstance(result(grammars, compilation), Compiled)
    assert compiler.begun == [large[0].text, "0", "1", "2"]
    compiler.go.set()
    for compilation in large:
        assert isinstance(result(grammars, compilation), Compiled)
    assert compiler.begun[4:] == [compilation.text for compilation in large[1:]]


def test_who_finds_no_thread_in_time_may_come_again() -> None:
    compiler = Slow()
    grammars, clock = made(compiler)
    for i in range(20):
        grammars.begin(f"wait {i}")
    late = grammars.begin("late")
    clock.advance(QUEUE_S + 1)
    with pytest.raises(Overloaded):
        grammars.poll(late)
    compiler.go.set()
    assert isinstance(result(grammars, grammars.begin("late")), Compiled)


def test_what_no_one_waits_for_any_more_is_not_begun() -> None:
    compiler = Slow()
    grammars, _ = made(compiler)
    for i in range(2):
        grammars.begin(f"wait {i}")
    shared, lone = grammars.begin("shared"), grammars.begin("lone")
    assert grammars.begin("shared") is shared
    for compilation in (shared, lone):
        grammars.cancel(compilation)
    compiler.go.set()
    assert isinstance(result(grammars, shared), Compiled)
    assert isinstance(result(grammars, grammars.begin("last")), Compiled)
    assert "lone" not in compiler.begun


def test_only_so_many_are_kept() -> None:
    compiler = Slow()
    grammars, _ = made(compiler)
    for i in range(300):
        result(grammars, grammars.begin(f"{i}"))
    grammars.begin("299")
    result(grammars, grammars.begin("0"))
    assert len(compiler.begun) == 301


@pytest.mark.requirement(63, 80)
def test_of_large_ones_fewer_are_kept() -> None:
    compiler = Slow()
    grammars, _ = made(compiler)
    large = [f"{i}" + "x" * (MAX_CHARS // 2) for i in range(10)]
    for text in [*large, large[-1], large[0]]:
        result(grammars, grammars.begin(text))
    assert compiler.begun == [*large, large[0]]


def test_whoever_waits_hears_once_what_came_of_it() -> None:
    grammars, _ = made(Slow())
    waiting = Waiting(grammars)
    waiting.ask("r", "a")
    waiting.ask("s", "bad")
    waiting.ask("t", "a")
    waiting.leave("t")
    told: dict[str, object] = {}

    def all_told() -> bool:
        told.update(waiting.news())
        return len(told) == 2

    until(all_told)
    assert isinstance(told["r"], Compiled)
    assert isinstance(told["s"], AppError)
    assert len(waiting) == 0
    assert waiting.news() == []


def test_without_a_tokenizer_no_one_may_ask() -> None:
    with pytest.raises(InvalidGrammar):
        Waiting(None).ask("r", "a")
