"""Grammars that end a process end one that is there for it, and the next grammar finds another."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest
from tests.architecture.project import ROOT

from vllm_mlx.core.constraints import JsonSchema
from vllm_mlx.core.errors import AppError, InvalidRequest, Overloaded
from vllm_mlx.structured.checking import LARGE_CHARS, GrammarChecker, Names, Verdict, read_frame, write_frame
from vllm_mlx.structured.grammar import grammar_of

COMMAND = [sys.executable, "-P", "-m", "vllm_mlx.structured.check", "60", "0"]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT / "src")}


@pytest.fixture(scope="module")
def model() -> Iterator[GrammarChecker]:
    """Checks for a model with a control token, and more names than ids."""
    made = GrammarChecker(Names.of({"<|call|>": 150_003, "<|far|>": 160_000}, 151_000))
    yield made
    made.close()


def chain(number: int) -> str:
    return "start: a0\n" + "".join(f'a{i}: "x" a{i + 1}\n' for i in range(number)) + f'a{number}: "z"'


def doubling(number: int) -> str:
    """A terminal of 2^number characters."""
    return "start: A0\n" + "".join(f"A{i}: A{i + 1} A{i + 1}\n" for i in range(number)) + f'A{number}: "x"'


DEADLY = {
    "a chain without an end": (chain(400_000), "complex"),
    "a text that doubles and doubles": (doubling(60), "complex|too long|too big"),
}


@pytest.mark.requirement(63, 80)
@pytest.mark.parametrize("what", DEADLY)
def test_a_grammar_that_ends_its_process_is_refused_and_the_next_is_checked(
    what: str, checker: GrammarChecker
) -> None:
    text, reason = DEADLY[what]
    with pytest.raises(InvalidRequest, match=reason):
        checker.check(text)
    checker.check('start: "a"')


@pytest.mark.requirement(63, 80)
def test_what_takes_too_many_states_is_told_in_words_of_the_schema(checker: GrammarChecker) -> None:
    text = grammar_of(JsonSchema({"type": "integer", "multipleOf": 982_451_653}), lambda _: None)
    with pytest.raises(InvalidRequest, match="multipleOf takes more states"):
        checker.check(text)


@pytest.mark.requirement(63, 80)
def test_a_check_that_gets_no_time_says_nothing_of_the_grammar(checker: GrammarChecker) -> None:
    starved = GrammarChecker(Names(), wall_s=0.1)
    text = "start: A\nA: " + " | ".join(f'"value-{i}"' for i in range(100_000))
    with pytest.raises(Overloaded, match="busy"):
        starved.check(text)
    starved.close()
    checker.check(text)


@pytest.mark.skipif(sys.platform != "linux", reason="asks the system for children")
@pytest.mark.parametrize(
    ("ended_by", "error"),
    [
        (signal.SIGKILL, Overloaded),
        (signal.SIGHUP, Overloaded),
        (signal.SIGSEGV, InvalidRequest),
        (signal.SIGPROF, InvalidRequest),
    ],
)
def test_only_what_a_program_dies_of_by_itself_is_the_grammars_fault(
    ended_by: signal.Signals, error: type[AppError]
) -> None:
    before = children()
    made = GrammarChecker(Names())
    made.check('start: "a"')
    (pid,) = children() - before
    with ThreadPoolExecutor(1) as threads:
        os.kill(pid, signal.SIGSTOP)
        waiting = threads.submit(made.check, 'start: "a"')
        os.kill(pid, ended_by)
        os.kill(pid, signal.SIGCONT)
        with pytest.raises(error):
            waiting.result()
    made.check('start: "a"')
    made.close()


@pytest.mark.skipif(sys.platform != "linux", reason="asks the system for children")
def test_large_grammars_are_checked_where_cores_have_nothing_else_to_do() -> None:
    before = children()
    made = GrammarChecker(Names())
    for text in ('start: "a"', 'start: "' + "a" * LARGE_CHARS + '"') * 2:
        made.check(text)
    own = os.getpriority(os.PRIO_PROCESS, 0)
    assert sorted(os.getpriority(os.PRIO_PROCESS, pid) - own for pid in children() - before) == [0, 5]
    made.close()


def children() -> set[int]:
    return {
        int(pid)
        for path in Path("/proc/self/task").glob("*/children")
        for pid in path.read_text("ascii").split()
    }


@pytest.mark.requirement(63)
def test_references_that_a_common_stack_could_not_hold_are_no_trouble(checker: GrammarChecker) -> None:
    checker.check(chain(10_000))


@pytest.mark.requirement(63)
def test_several_grammars_are_checked_at_once_each_on_its_own(checker: GrammarChecker) -> None:
    texts = [chain(400_000), 'start: "a"', "start: missing", 'start: "b"'] * 2

    def outcome(text: str) -> str:
        try:
            checker.check(text)
        except InvalidRequest as refusal:
            return refusal.message
        return "fine"

    with ThreadPoolExecutor(4) as threads:
        told = list(threads.map(outcome, texts))
    assert told[:4] == told[4:]
    assert [message == "fine" for message in told[:4]] == [False, True, False, True]


@pytest.mark.requirement(63)
@pytest.mark.parametrize("token", ["<|call|>", "<[150003]>", "<[0-150999]>", "<[*]>"])
def test_a_grammar_may_name_the_models_tokens(token: str, model: GrammarChecker) -> None:
    model.check(f'start: {token} "x"')


@pytest.mark.requirement(63)
@pytest.mark.parametrize(
    "token", ["<|other|>", "<|far|>", "<[160000]>", "<[-1]>", "<[5-99999999999999999999]>", "<[]>", "<[x]>"]
)
def test_tokens_that_the_model_lacks_are_refused(token: str, model: GrammarChecker) -> None:
    with pytest.raises(InvalidRequest):
        model.check(f'start: {token} "x"')


@pytest.mark.requirement(63)
@pytest.mark.parametrize("text", ['start: "a\x00b"', "\x00", 'start: "a"\x00'])
def test_a_byte_of_nothing_is_no_part_of_a_grammar(text: str, checker: GrammarChecker) -> None:
    with pytest.raises(InvalidRequest):
        checker.check(text)


@pytest.mark.requirement(63)
def test_half_a_character_is_refused(checker: GrammarChecker) -> None:
    with pytest.raises(InvalidRequest, match="Unicode"):
        checker.check('start: "\ud800"')


def test_who_waits_when_it_is_closed_hears_so() -> None:
    made = GrammarChecker(Names())
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(made.check, doubling(60))
        made.close()
        with pytest.raises((Overloaded, InvalidRequest)):
            waiting.result()
    with pytest.raises(Overloaded):
        made.check('start: "a"')


def test_the_program_ends_with_its_input() -> None:
    done = subprocess.run(COMMAND, input=b"", env=ENVIRONMENT, capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (0, b"")


def test_the_program_is_kept_by_a_server_that_is_larger_than_it_may_grow_itself() -> None:
    much = b"x" * 2**29  # Linux counts a parent's memory to its child's peak
    with subprocess.Popen(COMMAND, env=ENVIRONMENT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as program:
        assert program.stdin is not None
        assert program.stdout is not None
        for frame in (msgspec.msgpack.encode(Names()), msgspec.msgpack.encode('start: "a"')):
            write_frame(program.stdin, frame)
            answer = read_frame(program.stdout)
            assert answer is not None
            assert msgspec.msgpack.decode(answer, type=Verdict) == Verdict(None, last=False)
        program.stdin.close()
    assert len(much) == 2**29
