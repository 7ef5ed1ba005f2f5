"""A program that finds out whether grammars compile: one of its own, because a grammar may end it.

It reads frames (`structured.checking`) from standard input, first a `Names`, then texts of grammars, and
writes a `Verdict` for each. It ends itself where a grammar takes too much stack, memory or time: no grammar
passes that would bring an engine, which has more of each, to its end.
"""

from __future__ import annotations

import os
import re
import resource
import signal
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import IO, Final

import msgspec
from llguidance import LLMatcher, LLParserLimits, LLTokenizer, TokenizerWrapper

from vllm_mlx.core.errors import InvalidRequest
from vllm_mlx.structured.checking import Names, Verdict, read_frame, write_frame
from vllm_mlx.structured.stack import STACK_BYTES, start_deep_thread

LIMITS: Final = LLParserLimits(
    # 100,000 values of 15 characters take 2 million; at about 50,000 a millisecond.
    initial_lexer_fuel=5_000_000,
    step_max_items=20_000,
    max_lexer_states=50_000,  # 2 kB each
    verbose_errors=False,
)
CPU_S: Final = 6.0
"""Of processor time; the 100,000 values above take 1. An engine gives a grammar somewhat more."""
_STACK_BYTES: Final = STACK_BYTES // 2
_MEMORY_BYTES: Final = 2**31 + _STACK_BYTES
_RETIRED_BYTES: Final = 2**28
"""Who has taken so much keeps it; a new one is started instead."""

_UNFORCED = '\n%llguidance {"no_forcing": true}\n'
"""Else the library writes out, for every mask, all that must follow, half a second for a million letters,
which a grammar of sixty can ask for, and all rows of a step wait. At the end, where it counts most."""

TOO_MANY_STATES: Final = (
    "it is too complex: a pattern, a length or a multipleOf takes more states than are allowed"
)
_MESSAGE_CHARS = 300
_PLACE = re.compile(r"^(at )?\d+\(\d+\): |failed to compile JSON schema: ")
"""Places in the grammar that was made of the constraint say nothing to the caller."""
END_NAME = b"<|end of text, by vllm-mlx|>"


class _ByteVocabulary:
    """A model's ids and the names of its control tokens, over tokens of one byte: what compiles over these
    compiles over any. Stands for a tokenizer towards `TokenizerWrapper`.
    """

    def __init__(self, names: Names) -> None:
        self.tokens = [b""] * names.vocab_size + [bytes((byte,)) for byte in range(256)] + [END_NAME]
        for name, token_id in names.special.items():
            self.tokens[token_id] = name.encode()
        self.eos_token_id = len(self.tokens) - 1
        self.special_token_ids = [*sorted(names.special.values()), self.eos_token_id]
        self.bos_token_id: int | None = None
        self._first = names.vocab_size

    def __call__(self, text: str) -> list[int]:
        return [self._first + byte for byte in text.encode()]


def tokens_of(names: Names) -> LLTokenizer:
    """What `check_grammar` compiles over."""
    return LLTokenizer(TokenizerWrapper(_ByteVocabulary(names)))


def new_matcher(tokens: LLTokenizer, text: str) -> LLMatcher:
    """A matcher over a grammar, which may turn out to be in error; Python's lock is not held meanwhile."""
    if not text.startswith("{"):  # the library's JSON form, which our front never writes
        text += _UNFORCED
    return LLMatcher(tokens, text, log_level=0, limits=LIMITS)


def check_grammar(text: str, tokens: LLTokenizer) -> None:
    """Compile a grammar and throw it away; Python's lock is not held meanwhile.

    Raises:
        InvalidRequest: it is no grammar, too complex, or lets nothing through; the message says which.
    """
    matcher = new_matcher(tokens, text)
    if not matcher.is_error():
        matcher.compute_bitmask()
    if matcher.is_error():
        raise InvalidRequest(_reason(matcher.get_error()))


def _reason(error: str) -> str:
    """The library's first line; what follows repeats the grammar. A panic of its is a limit that it has."""
    if "panic" in error:
        return "the grammar is too large"
    line = _PLACE.sub("", error.split("\n", 1)[0])
    if line.startswith("NoExtension"):
        return "no text meets the constraint"
    if line.startswith("Unable to determine if regex is empty"):
        return "a pattern is too complex together with the length or the format asked for"
    if takes_too_many_states(line):
        return TOO_MANY_STATES
    if line.startswith(("invalid regex", "regex parse error")):
        # The reason stands below a drawing of the expression, or at the end of the line.
        reasons = [part.removeprefix("error: ") for part in error.splitlines() if part.startswith("error: ")]
        line = f"invalid regular expression: {'; '.join(reasons) or line.rpartition('(in regex): ')[2]}"
    return line.strip()[:_MESSAGE_CHARS]


def takes_too_many_states(line: str) -> bool:
    """Whether the library says that it gave up before the end."""
    return "fuel exhausted" in line or "too many expressions" in line


def _serve(requests: IO[bytes], answers: IO[bytes], wall_s: float) -> None:
    first = read_frame(requests)
    if first is None:
        return
    tokens = tokens_of(msgspec.msgpack.decode(first, type=Names))
    write_frame(answers, msgspec.msgpack.encode(Verdict(None)))
    while (frame := read_frame(requests)) is not None:
        verdict = _bounded_verdict(msgspec.msgpack.decode(frame, type=str), tokens, wall_s)
        write_frame(answers, msgspec.msgpack.encode(verdict))
        if verdict.last:
            return


def _bounded_verdict(text: str, tokens: LLTokenizer, wall_s: float) -> Verdict:
    # Both signals end the process, whatever it is doing; only the first says something of the grammar.
    signal.setitimer(signal.ITIMER_PROF, CPU_S)
    signal.setitimer(signal.ITIMER_REAL, wall_s)
    told: list[str | None] = []
    # Until it is gone, as its stack counts: the next grammar must find as much room.
    start_deep_thread(partial(_judge, text, tokens, told), "grammar", _STACK_BYTES).join()
    signal.setitimer(signal.ITIMER_PROF, 0)
    signal.setitimer(signal.ITIMER_REAL, 0)
    [reason] = told
    return Verdict(reason, last=_peak_bytes() > _RETIRED_BYTES)


def _judge(text: str, tokens: LLTokenizer, told: list[str | None]) -> None:
    try:
        check_grammar(text, tokens)
    except InvalidRequest as refusal:
        told.append(refusal.message)
    except BaseException:  # noqa: BLE001  (whatever it is, the grammar brought it about)
        os.abort()
    else:
        told.append(None)


def _peak_bytes() -> int:
    """The most memory that this program has had; not what the one that started it had, which Linux counts to
    a process's `ru_maxrss`: a large server would never keep one of these.
    """
    try:
        with open("/proc/self/status", encoding="ascii") as status:
            [peak] = [line.split()[1] for line in status if line.startswith("VmHWM:")]
    except (OSError, ValueError):
        largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return largest if sys.platform == "darwin" else largest * 1024
    return int(peak) * 1024


def _stand_back(niceness: int) -> None:
    os.nice(niceness)
    with suppress(OSError):
        # Where Linux groups processes by session, a process in one of its own is nice to nobody but itself:
        # the group has to be nice.
        Path("/proc/self/autogroup").write_text(str(niceness), "ascii")


def main() -> None:
    """Serve standard input until it ends. The arguments: seconds on the wall for a grammar, and niceness."""
    for limit, most in ((resource.RLIMIT_CORE, 0), (resource.RLIMIT_AS, _MEMORY_BYTES)):
        try:
            resource.setrlimit(limit, (most, most))
        except (ValueError, OSError):  # macOS has no bound on address space
            continue
    for name in ("SIGPROF", "SIGALRM"):
        signal.signal(signal.Signals[name], signal.SIG_DFL)
    _stand_back(int(sys.argv[2]))
    _serve(sys.stdin.buffer, sys.stdout.buffer, float(sys.argv[1]))


if __name__ == "__main__":
    main()
