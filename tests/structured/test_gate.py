"""What a text may go on with: thought, budget, grammar, in every order."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vllm_mlx.core.constraints import ThinkingRules
from vllm_mlx.core.errors import InternalError, InvalidGrammar
from vllm_mlx.core.spelling import ByBytes
from vllm_mlx.structured.gate import Allowed, Gate

OPEN, CLOSE, END = 50, 51, 99
FORCED = (10, CLOSE, 11)


class Exactly:
    """A grammar of one text."""

    def __init__(self, *ids: int) -> None:
        self._rest = list(ids)

    def take(self, token_id: int) -> None:
        if not self.allows(token_id):
            raise InvalidGrammar("not that")
        self._rest.pop(0)

    def allows(self, token_id: int) -> bool:
        return self._rest[:1] == [token_id]

    def copy(self) -> Exactly:
        return Exactly(*self._rest)

    @property
    def complete(self) -> bool:
        return not self._rest

    @property
    def exhausted(self) -> bool:
        return not self._rest


def rules(**more: object) -> ThinkingRules:
    return ThinkingRules(**{"close_ids": (CLOSE,), "open_ids": (OPEN,), "forced_ids": FORCED, **more})


def take(gate: Gate, ids: Sequence[int]) -> None:
    for token_id in ids:
        allowed = gate.allowed()
        assert allowed is None or allowed.only in (None, token_id)
        gate.take(token_id)


def test_without_thought_the_grammar_holds_from_the_first_token_to_its_end() -> None:
    matcher = Exactly(1, 2)
    gate = Gate(matcher, None, (END,))
    assert gate.waits(0)
    assert gate.allowed() == Allowed(matcher=matcher)
    gate.take(1)
    assert not gate.finished
    gate.take(2)
    assert gate.finished
    assert gate.allowed() == Allowed(matcher=matcher, also=(END,))
    with pytest.raises(InvalidGrammar):
        gate.take(3)


def test_in_a_thought_anything_goes_but_an_end_and_then_the_grammar_begins() -> None:
    matcher = Exactly(1)
    gate = Gate(matcher, rules(in_thought=True), (END,))
    for token_id in (7, OPEN, 1):
        assert gate.allowed() == Allowed(never=(END,))
        gate.take(token_id)
    gate.take(CLOSE)
    assert gate.allowed() == Allowed(matcher=matcher)
    gate.take(1)
    assert gate.finished


BREAK, TAB = 30, 31


@pytest.mark.parametrize("written", [(), (BREAK,), (BREAK, TAB)])
def test_line_breaks_between_thought_and_answer_are_no_part_of_the_grammar(written: tuple[int, ...]) -> None:
    matcher = Exactly(1, 2)
    gate = Gate(matcher, rules(in_thought=True, after_ids=(BREAK, TAB)), (END,))
    take(gate, (7, CLOSE))
    for token_id in written:
        assert gate.allowed() == Allowed(matcher=matcher, also=(token_id,))
        assert not gate.finished
        gate.take(token_id)
    take(gate, (1,))
    assert gate.allowed() == Allowed(matcher=matcher)
    take(gate, (2,))
    assert gate.finished


def test_between_thought_and_answer_stands_nothing_else() -> None:
    for wrong in ((TAB,), (BREAK, BREAK), (BREAK, TAB, BREAK), (1, BREAK)):
        gate = Gate(Exactly(1, 2), rules(in_thought=True, after_ids=(BREAK, TAB)))
        gate.take(CLOSE)
        with pytest.raises(InvalidGrammar):
            take(gate, wrong)


def test_an_answer_that_begins_with_a_line_break_keeps_it() -> None:
    gate = Gate(Exactly(BREAK, 1), rules(in_thought=True, after_ids=(BREAK,)))
    take(gate, (CLOSE, BREAK, 1))
    assert gate.finished


def test_what_is_written_by_force_has_its_line_breaks_already() -> None:
    matcher = Exactly(1)
    gate = Gate(matcher, rules(in_thought=True, budget=0, after_ids=(11,)))
    take(gate, FORCED)
    assert gate.allowed() == Allowed(matcher=matcher)


def test_a_tag_completed_by_force_may_be_followed_by_line_breaks() -> None:
    matcher = Exactly(1)
    gate = Gate(matcher, rules(in_thought=True, budget=2, close_ids=(70, 71), after_ids=(BREAK,)))
    take(gate, (5, 70, 71))
    assert gate.allowed() == Allowed(matcher=matcher, also=(BREAK,))


def test_without_a_grammar_line_breaks_are_text_like_any() -> None:
    gate = Gate(None, rules(in_thought=True, after_ids=(BREAK,)))
    take(gate, (CLOSE, BREAK, BREAK, 1))
    assert gate.allowed() is None


def test_the_first_token_may_open_a_thought() -> None:
    matcher = Exactly(1)
    gate = Gate(matcher, rules())
    assert gate.allowed() == Allowed(matcher=matcher, also=(OPEN,))
    take(gate, (OPEN, 5, CLOSE))
    assert gate.allowed() == Allowed(matcher=matcher)


def test_a_first_token_of_the_answer_leaves_no_room_for_thought() -> None:
    matcher = Exactly(1, 2)
    gate = Gate(matcher, rules())
    gate.take(1)
    assert gate.allowed() == Allowed(matcher=matcher)


def test_with_a_budget_of_nothing_the_grammar_begins_at_once() -> None:
    matcher = Exactly(1)
    assert Gate(matcher, rules(budget=0)).allowed() == Allowed(matcher=matcher)


def test_a_tag_of_several_tokens_is_written_to_its_end_once_it_has_begun() -> None:
    matcher = Exactly(1)
    gate = Gate(matcher, rules(open_ids=(60, 61, 62), close_ids=(70, 71)))
    gate.take(60)
    assert gate.allowed() == Allowed(only=61)
    take(gate, (61, 62, 70, 1, 70, 71))
    assert gate.allowed() == Allowed(matcher=matcher)


def test_a_part_of_the_tag_that_the_answer_may_begin_with_begins_the_answer() -> None:
    gate = Gate(Exactly(60, 5), rules(open_ids=(60, 61)))
    take(gate, (60, 5))
    assert gate.finished


@pytest.mark.requirement(63, 67)
def test_what_begins_like_a_thought_and_an_answer_is_either_until_they_differ() -> None:
    def gate() -> Gate:
        return Gate(Exactly(60, 61, 5), rules(open_ids=(60, 61, 62)))

    answer = gate()
    take(answer, (60, 61))
    told = answer.allowed()
    assert told is not None
    assert told.also == (62,)
    take(answer, (5,))
    assert answer.finished
    thought = gate()
    take(thought, (60, 61, 62, 5, CLOSE, 60, 61))
    told = thought.allowed()
    assert told is not None
    assert told.also == ()
    take(thought, (5,))
    assert thought.finished


@pytest.mark.requirement(63, 67)
def test_a_whole_tag_that_an_answer_may_begin_with_opens_a_thought() -> None:
    gate = Gate(Exactly(60, 61), rules(open_ids=(60, 61)))
    take(gate, (60, 61, 5, CLOSE, 60, 61))
    assert gate.finished


@pytest.mark.requirement(67)
@pytest.mark.parametrize("budget", [0, 1, 5])
@pytest.mark.parametrize("grammar", [False, True])
def test_a_spent_budget_forces_the_closing_text(budget: int, grammar: bool) -> None:
    gate = Gate(Exactly(1) if grammar else None, rules(in_thought=True, budget=budget), (END,))
    for token_id in range(20, 20 + budget):
        allowed = gate.allowed()
        assert allowed is None or allowed.only is None
        gate.take(token_id)
    forced = []
    while (allowed := gate.allowed()) is not None and allowed.only is not None:
        assert gate.waits(0)
        forced.append(allowed.only)
        gate.take(allowed.only)
    assert tuple(forced) == FORCED
    gate.take(1)
    assert gate.finished is grammar


def test_a_token_that_was_not_the_forced_one_is_a_fault_of_ours() -> None:
    with pytest.raises(InternalError):
        Gate(None, rules(in_thought=True, budget=0)).take(3)


def test_a_closing_tag_that_has_begun_when_the_budget_is_spent_is_completed() -> None:
    gate = Gate(None, rules(in_thought=True, budget=3, close_ids=(70, 71, 72)))
    take(gate, (5, 70, 71))
    assert gate.allowed() == Allowed(only=72)
    gate.take(72)
    assert gate.allowed() == Allowed(never=(OPEN,))


def test_a_thought_that_closes_in_time_is_left_alone() -> None:
    gate = Gate(None, rules(in_thought=True, budget=3))
    take(gate, (5, 6, CLOSE, 7, 8, 9, 10, 11))
    assert gate.allowed() is None


def test_later_thoughts_share_the_budget_and_then_none_can_be_opened() -> None:
    gate = Gate(None, rules(budget=3))
    take(gate, (1, OPEN, 5, 6, CLOSE, 2, OPEN, 7))
    assert gate.banned_ids == ()
    take(gate, (*FORCED, 3))
    assert gate.banned_ids == (OPEN,)
    assert not gate.waits(1)


def test_without_a_budget_the_last_token_of_a_long_opening_tag_is_out() -> None:
    gate = Gate(None, rules(budget=0, open_ids=(60, 61)))
    assert gate.waits(1)
    assert gate.allowed() is None
    gate.take(60)
    assert gate.allowed() == Allowed(never=(61,))


def test_rules_without_budget_and_grammar_never_wait() -> None:
    gate = Gate(None, rules(in_thought=True))
    for token_id in (5, CLOSE, 6, OPEN, 7):
        assert not gate.waits(1)
        assert gate.allowed() is None
        gate.take(token_id)


class Words:
    """A vocabulary with a token for each piece that is asked for; encoded, a text is single letters."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []

    def id(self, piece: str) -> int:
        if piece.encode() not in self.pieces:
            self.pieces.append(piece.encode())
        return self.pieces.index(piece.encode())

    def token_bytes(self, token_id: int) -> bytes:
        return self.pieces[token_id]

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        assert not add_special_tokens
        return [self.id(letter) for letter in text]


class Said(Exactly):
    """A grammar of one text, in whichever tokens."""

    def __init__(self, words: Words, text: str) -> None:
        self.words = words
        self.left = text

    def allows(self, token_id: int) -> bool:
        piece = self.words.token_bytes(token_id).decode()
        return bool(piece) and self.left.startswith(piece)

    def take(self, token_id: int) -> None:
        if not self.allows(token_id):
            raise InvalidGrammar("not that")
        self.left = self.left[len(self.words.token_bytes(token_id)) :]

    @property
    def complete(self) -> bool:
        return not self.left

    exhausted = complete


def spelled(words: Words, **more: object) -> tuple[ThinkingRules, ByBytes]:
    def ids(text: str) -> tuple[int, ...]:
        return tuple(words.encode(text, add_special_tokens=False))

    opened, closed = ids("<think>"), ids("</think>")
    rules = {"open_ids": opened, "close_ids": closed, "forced_ids": (*ids("\n"), *closed), **more}
    return ThinkingRules(**rules), ByBytes(words)  # type: ignore[arg-type]


def cut(text: str, lengths: list[int]) -> list[str]:
    pieces = []
    for length in lengths:
        pieces.append(text[:length])
        text = text[length:]
    return [piece for piece in (*pieces, text) if piece]


@pytest.mark.requirement(66, 67)
@given(
    thought=st.text("ab<>/\n ", max_size=12).filter(lambda text: "</think>" not in text + "</think"),
    gap=st.sampled_from(["", "\n", "\n\n"]),
    lengths=st.lists(st.integers(1, 5), max_size=30),
)
def test_a_thought_ends_with_its_tag_whichever_tokens_spell_it(
    thought: str, gap: str, lengths: list[int]
) -> None:
    words = Words()
    answer = '{"a": 1}'
    rules, spelling = spelled(words, in_thought=True, after_ids=tuple(map(words.id, gap)))
    matcher = Said(words, answer)
    gate = Gate(matcher, rules, (), spelling)
    said = ""
    # White space of its own is cut off as the mask of what may follow would: it may be no part of the answer.
    for piece in [*cut(f"{thought}</think>", lengths), *gap, *cut(answer, lengths)]:
        allowed = gate.allowed()
        token_id = words.id(piece)
        assert (
            allowed is None or allowed.matcher is None or token_id in allowed.also or matcher.allows(token_id)
        )
        gate.take(token_id)
        said += piece
        assert gate.finished is (said == f"{thought}</think>{gap}{answer}")


@pytest.mark.requirement(66)
@pytest.mark.parametrize("last", [">\n", ">\n\n", '>{"', '>\n{"a'])
def test_what_a_token_says_beyond_the_tag_is_the_answers(last: str) -> None:
    words = Words()
    rules, spelling = spelled(words, in_thought=True)
    gate = Gate(Said(words, '{"a": 1}'), rules, (), spelling)
    for piece in ("well.</", "think", last, '{"a": 1}'[len(last.lstrip(">\n")) :]):
        assert not gate.finished
        gate.take(words.id(piece))
    assert gate.finished
    gate = Gate(Said(words, '{"a": 1}'), rules, (), spelling)
    for piece in ("well.</", "think"):
        gate.take(words.id(piece))
    with pytest.raises(InvalidGrammar):
        gate.take(words.id(">no"))


@pytest.mark.requirement(67)
@given(lengths=st.lists(st.integers(1, 5), max_size=30), budget=st.integers(0, 9))
def test_a_spent_budget_completes_the_tag_that_has_begun(lengths: list[int], budget: int) -> None:
    words = Words()
    rules, spelling = spelled(words, in_thought=True, budget=budget)
    gate = Gate(None, rules, (), spelling)
    said, pieces = "", cut("thought of some length.</think>the answer", lengths)
    while "</think>" not in said:
        allowed = gate.allowed()
        token_id = words.id(pieces.pop(0)) if allowed is None or allowed.only is None else allowed.only
        gate.take(token_id)
        said += words.token_bytes(token_id).decode()
    assert said.partition("</think>")[0].rstrip("\n") in "thought of some length."
    assert gate.allowed() is None


@pytest.mark.requirement(67)
def test_a_thought_that_opens_amid_tokens_has_its_budget() -> None:
    words = Words()
    rules, spelling = spelled(words, budget=2)
    gate = Gate(None, rules, (), spelling)
    for piece in ("so <", "think", ">\nI", " see", " it"):
        assert gate.allowed() is None
        gate.take(words.id(piece))
    allowed = gate.allowed()
    assert allowed is not None
    assert words.token_bytes(allowed.only or 0) == b"\n"


def test_tags_that_spell_nothing_are_their_ids() -> None:
    words = Words()
    hidden = tuple(words.id("\u200b" * n) for n in (1, 2))
    words.pieces = [b""] * len(words.pieces)
    gate = Gate(Exactly(7), rules(in_thought=True, open_ids=(), close_ids=hidden), (), ByBytes(words))
    words.pieces += [b"a"] * 9
    take(gate, (5, *hidden, 7))
    assert gate.finished


tokens = st.lists(st.sampled_from([1, 2, OPEN, CLOSE, 60, 61, 70, 71]), max_size=40)


@given(
    said=tokens,
    budget=st.none() | st.integers(0, 6),
    in_thought=st.booleans(),
    open_ids=st.sampled_from([(), (OPEN,), (60, 61)]),
    close_ids=st.sampled_from([(CLOSE,), (70, 71)]),
)
def test_whoever_need_not_wait_may_say_anything(
    said: list[int],
    budget: int | None,
    in_thought: bool,
    open_ids: tuple[int, ...],
    close_ids: tuple[int, ...],
) -> None:
    """The answer of `waits` is given a token early; what follows must keep it."""
    forced = (10, *close_ids)
    gate = Gate(
        None,
        ThinkingRules(
            in_thought=in_thought, budget=budget, open_ids=open_ids, close_ids=close_ids, forced_ids=forced
        ),
    )
    for token_id in said:
        waits, banned = gate.waits(1), gate.banned_ids
        allowed = gate.allowed()
        if token_id in banned or (allowed is not None and token_id in allowed.never):
            continue
        gate.take(token_id if allowed is None or allowed.only is None else allowed.only)
        if not waits:
            assert gate.allowed() in (None, Allowed(never=gate.banned_ids))
