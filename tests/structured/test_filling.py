"""Masks that are found on other threads: ahead of tokens, too slowly, behind tokens that never come."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import numpy as np
import pytest
from tests.fakes.chat_tokenizer import save_text_side
from tests.limits import LIMIT_S

from vllm_mlx.chat.tokenizer import Tokenizer
from vllm_mlx.core.errors import InternalError, InvalidGrammar, Overloaded
from vllm_mlx.structured import filling
from vllm_mlx.structured.filling import MaskFiller
from vllm_mlx.structured.gate import Gate
from vllm_mlx.structured.llguidance import Compiler, GrammarMatcher
from vllm_mlx.structured.masks import Masks, Words

VOCAB = 1000
NARROW = 127  # tokens, so that a mask has four words
GRAMMAR = 'start: "[" (/[0-9]/ ("," /[0-9]/)*)? "]"'
DIFFERENT = {GRAMMAR: "[1,2,3]", "start: /[a-c]{7}/": "abcabca", "start: /(x|y[0-9]+z)+/": "xxy12zx"}


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    folder = tmp_path_factory.mktemp("text")
    save_text_side(folder)
    return Tokenizer.load(folder)


@pytest.fixture(scope="module")
def compiler(tokenizer: Tokenizer) -> Compiler:
    return Compiler(tokenizer, VOCAB)


@pytest.fixture
def matcher(compiler: Compiler) -> GrammarMatcher:
    return compiler.compile(GRAMMAR)


def ids(tokenizer: Tokenizer, text: str) -> list[int]:
    """One token a character."""
    return [i for character in text for i in tokenizer.encode(character, add_special_tokens=False)]


def looking(
    filler: MaskFiller, matchers: Mapping[int, GrammarMatcher], tokens: Callable[[], Mapping[int, int]]
) -> None:
    filler.look_ahead({i: Gate(matcher, None) for i, matcher in matchers.items()}, tokens)
    filler.settle()


def mask(gate: Gate) -> list[int]:
    found, failed = Masks(VOCAB).fill({0: gate})
    assert found is not None
    assert not failed
    return list(np.asarray(found.bits)[0])


def after(compiler: Compiler, taken: Sequence[int], grammar: str = GRAMMAR) -> GrammarMatcher:
    """One that nobody ever told anything."""
    matcher = compiler.compile(grammar)
    for token_id in taken:
        matcher.take(token_id)
    return matcher


class Slow:
    """Takes all tokens, and waits for a sign before the mask of one row."""

    def __init__(self, go: threading.Event, row: int | None) -> None:
        self.go = go
        self.row = row
        self.waits = threading.Event()

    def take(self, steps: Sequence[tuple[Any, int]]) -> list[bool]:
        return [raw.consume_token(token_id) for raw, token_id in steps]

    def fill(self, places: Sequence[tuple[Any, int]], words: Words) -> None:
        for _, row in places:
            if row == self.row:
                self.waits.set()
                assert self.go.wait(LIMIT_S)
            words[row] = 7


@pytest.mark.requirement(63)
def test_a_token_that_was_foreseen_leads_where_it_always_leads(
    compiler: Compiler, tokenizer: Tokenizer
) -> None:
    masks, taken = Masks(VOCAB), list[list[int]]()
    gates = {i: Gate(compiler.compile(grammar), None, (VOCAB - 1,)) for i, grammar in enumerate(DIFFERENT)}
    for said in zip(*(ids(tokenizer, text) for text in DIFFERENT.values()), strict=True):
        tokens = dict(enumerate(said))
        with masks.looking_ahead(gates, lambda tokens=tokens: tokens) as begin:  # type: ignore[misc]
            begin()
        for i, gate in gates.items():
            gate.take(tokens[i])
        taken.append(list(said))
        expected = [
            Gate(after(compiler, text, grammar), None, (VOCAB - 1,))
            for grammar, text in zip(DIFFERENT, zip(*taken, strict=True), strict=True)
        ]
        assert [gate.finished for gate in gates.values()] == [gate.finished for gate in expected]
        if not any(gate.finished for gate in expected):
            # All of them, in another order, and fewer: as the rows of a step come and go.
            for order in ([0, 1, 2], [2, 0, 1], [2, 0], [1]):
                found, failed = masks.fill({i: gates[i] for i in order})
                assert found is not None
                assert (found.seq_ids, failed) == (tuple(order), {})
                assert np.asarray(found.bits).tolist() == [mask(expected[i]) for i in order]
    assert [gate.finished for gate in expected] == [True, True, False]
    masks.close()


@pytest.mark.requirement(63)
def test_rows_of_several_lexers_are_told_what_those_of_one_are(
    compiler: Compiler, tokenizer: Tokenizer, matcher: GrammarMatcher
) -> None:
    for _ in range(2):
        matcher.lexers.add(compiler.compile(GRAMMAR))
    masks, texts = Masks(VOCAB), ["[1,2]", "[3]", "[]", "[1,2,3]", "[7,7]", "[5]", "[0,0,0,0]", "[]", "[9,8]"]
    gates = {i: Gate(matcher.copy(), None, (VOCAB - 1,)) for i in range(len(texts))}
    assert len({gate.next_taker.lexer for gate in gates.values()}) == 3  # type: ignore[union-attr]
    said = {i: ids(tokenizer, text) for i, text in enumerate(texts)}
    for step in range(max(map(len, texts))):
        going = {i: gate for i, gate in gates.items() if step < len(said[i])}
        found, failed = masks.fill(going)
        assert found is not None
        assert not failed
        expected = [Gate(after(compiler, said[i][:step]), None, (VOCAB - 1,)) for i in going]
        assert np.asarray(found.bits).tolist() == [mask(each) for each in expected]
        tokens = {i: said[i][step] for i in going}
        with masks.looking_ahead(going, lambda tokens=tokens: tokens) as begin:  # type: ignore[misc]
            begin()
        for i, gate in going.items():
            gate.take(said[i][step])
    assert all(gate.finished for gate in gates.values())
    masks.close()


@pytest.mark.requirement(58, 63)
def test_what_a_grammar_begins_with_is_known_and_stays_what_it_is(compiler: Compiler) -> None:
    matcher, masks = compiler.compile('start: "ab"?'), Masks(VOCAB)
    threads = threading.active_count()
    endings: list[tuple[int, ...]] = [(), (3,), (900,), (3, 900), ()]
    alone = [mask(Gate(matcher.copy(), None, end_ids)) for end_ids in endings]
    assert threading.active_count() == threads  # no one had to look
    assert len({tuple(each) for each in alone}) == 4
    assert alone[0] == alone[-1] == mask(Gate(after(compiler, [], 'start: "ab"?'), None))
    gates = {i: Gate(matcher.copy(), None, end_ids) for i, end_ids in enumerate(endings)}
    for order in ([0, 1, 2, 3, 4], [3], [0], [1, 0]):
        found, failed = masks.fill({i: gates[i] for i in order})
        assert found is not None
        assert not failed
        assert np.asarray(found.bits).tolist() == [alone[i] for i in order]
    masks.close()


def test_another_token_than_the_foreseen_one_counts(
    compiler: Compiler, tokenizer: Tokenizer, matcher: GrammarMatcher
) -> None:
    filler, said = MaskFiller(VOCAB), ids(tokenizer, "[1")
    for token_id, other in zip(said, ids(tokenizer, "]["), strict=True):
        looking(filler, {0: matcher}, lambda other=other: {0: other})  # type: ignore[misc]
        matcher.take(token_id)
        assert matcher.reached is None
    assert mask(Gate(matcher, None)) == mask(Gate(after(compiler, said), None))
    filler.close()


def test_before_the_foreseen_token_is_taken_all_is_as_it_was(
    compiler: Compiler, tokenizer: Tokenizer, matcher: GrammarMatcher
) -> None:
    filler, (opens, digit, closes) = MaskFiller(VOCAB), ids(tokenizer, "[1]")
    matcher.take(opens)
    looking(filler, {0: matcher}, lambda: {0: closes})
    assert not matcher.exhausted
    looking(filler, {0: matcher}, lambda: {0: closes})
    assert matcher.allows(digit)
    assert mask(Gate(matcher, None)) == mask(Gate(after(compiler, [opens]), None))
    filler.close()


def test_a_foreseen_token_that_the_grammar_refuses_is_refused_when_it_is_taken(
    compiler: Compiler, tokenizer: Tokenizer, matcher: GrammarMatcher
) -> None:
    filler, (bad,) = MaskFiller(VOCAB), ids(tokenizer, "]")
    with pytest.raises(InvalidGrammar) as expected:
        after(compiler, [bad])
    neighbour = compiler.compile(GRAMMAR)
    (opens,) = ids(tokenizer, "[")
    looking(filler, {0: matcher, 1: neighbour}, lambda: {0: bad, 1: opens})
    neighbour.take(opens)
    with pytest.raises(InvalidGrammar) as caught:
        matcher.take(bad)
    assert caught.value.message == expected.value.message
    assert mask(Gate(neighbour, None)) == mask(Gate(after(compiler, [opens]), None))
    filler.close()


def test_tokens_that_end_a_text_or_are_not_certain_are_not_foreseen(
    compiler: Compiler, tokenizer: Tokenizer
) -> None:
    filler, (opens, closes) = MaskFiller(VOCAB), ids(tokenizer, "[]")
    matchers = {i: after(compiler, [opens]) for i in range(3)}
    gates = {i: Gate(matcher, None, (closes,) if i == 1 else ()) for i, matcher in matchers.items()}
    filler.look_ahead(gates, lambda: {0: closes, 1: closes, 7: closes})
    filler.settle()
    assert [matcher.exhausted for matcher in matchers.values()] == [False] * 3
    filler.look_ahead(gates, lambda: {0: closes, 1: closes, 7: closes})
    filler.settle()
    for matcher in matchers.values():
        matcher.take(closes)
    assert [matcher.reached is not None for matcher in matchers.values()] == [True, False, False]
    assert [matcher.exhausted for matcher in matchers.values()] == [True] * 3
    filler.close()


def test_a_step_that_fails_teaches_nothing(compiler: Compiler, matcher: GrammarMatcher) -> None:
    def tokens() -> Mapping[int, int]:
        raise ValueError("the device is unwell")

    filler = MaskFiller(VOCAB)
    looking(filler, {0: matcher}, tokens)
    assert mask(Gate(matcher, None)) == mask(Gate(after(compiler, []), None))
    filler.close()


@pytest.mark.requirement(63)
def test_masks_of_one_name_are_one_mask(compiler: Compiler, tokenizer: Tokenizer) -> None:
    masks, named = Masks(VOCAB), dict[object, list[int]]()
    closing = VOCAB - 1
    texts = [DIFFERENT[grammar][:taken] for grammar in DIFFERENT for taken in range(7)]
    for foreseen in (False, True):
        gates = {}
        for i, text in enumerate(texts):
            *before, last = ids(tokenizer, text) or [None]
            ending = (closing,) if i % 2 else ()
            gates[i] = Gate(after(compiler, before, list(DIFFERENT)[i // 7]), None, ending)
            if last is not None and foreseen:
                with masks.looking_ahead({i: gates[i]}, lambda i=i, last=last: {i: last}) as begin:  # type: ignore[misc]
                    begin()
            if last is not None:
                gates[i].take(last)
        found, failed = masks.fill(gates)
        assert found is not None
        assert not failed
        for name, bits in zip(found.names, np.asarray(found.bits).tolist(), strict=True):
            assert named.setdefault(name, bits) == bits
    assert 3 < len(named) < len(texts)  # both ways give the same names, and some places are alike
    masks.close()


@pytest.mark.requirement(63)
def test_a_mask_that_takes_too_long_ends_its_row_and_no_other(compiler: Compiler) -> None:
    go = threading.Event()
    filler = MaskFiller(NARROW, lambda: Slow(go, 1))
    matchers = [compiler.compile('start: "a"') for _ in range(2)]
    filled = filler.fill(matchers)
    words, failed = filled.words, filled.failed
    assert list(failed) == [1]
    assert isinstance(failed[1], Overloaded)
    assert words[0].tolist() == [7] * 4
    # The thread that is busy still is left behind, with rows and matchers of its own.
    again = filler.fill(matchers[:1])
    assert again.failed == {}
    assert again.words.tolist() == [[7] * 4]
    go.set()
    filler.close()


@pytest.mark.requirement(63)
def test_a_mask_that_takes_too_long_ahead_of_its_token_ends_its_row_and_no_other(
    compiler: Compiler, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filling, "FILL_S", 0.0)
    opens, digit = ids(tokenizer, "[1")
    workers = Slow(threading.Event(), 1)
    filler = MaskFiller(NARROW, lambda: workers)
    matchers = {i: after(compiler, [opens]) for i in range(2)}
    gates = {i: Gate(matcher, None) for i, matcher in matchers.items()}
    filler.look_ahead(gates, lambda: {0: digit, 1: digit})
    assert workers.waits.wait(LIMIT_S)
    filler.settle()
    monkeypatch.undo()
    for matcher in matchers.values():
        matcher.take(digit)  # which was no slow token, only what follows is not known
        assert not matcher.exhausted
        assert matcher.allows(*ids(tokenizer, ","))
    reached = [matcher.reached for matcher in matchers.values()]
    # The library bounds the work for a mask: what is late had no core, and its grammar is not at fault.
    assert [type(each and each.failed) for each in reached] == [type(None), Overloaded]
    assert reached[0] is not None
    workers.go.set()
    assert reached[0].filled.words[0].tolist() == [7] * 4
    assert mask(Gate(matchers[0].copy(), None)) == mask(Gate(after(compiler, [opens, digit]), None))
    filler.close()


@pytest.mark.requirement(63)
def test_however_late_masks_are_what_is_told_of_them_is_true(
    compiler: Compiler, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether the thread of masks or the engine's tells first is chance; nothing that is told may show it."""
    masks, texts = Masks(VOCAB), ["[1,2,3]", "[]", "[7,7,7]", "[4]"]
    for patience_s in (0.0, 1e-5, 3e-5, 1e-4, 2e-4, 4e-4, 1e-3, 2.0) * 4:
        gates = {i: Gate(compiler.compile(GRAMMAR), None, (VOCAB - 1,)) for i in range(len(texts))}
        said = {i: ids(tokenizer, text) for i, text in enumerate(texts)}
        for step in range(max(map(len, texts))):
            going = {i: gate for i, gate in gates.items() if step < len(said[i])}
            tokens = {i: said[i][step] for i in going}
            with monkeypatch.context() as patch:
                patch.setattr(filling, "FILL_S", patience_s)
                patch.setattr(filling, "WRITE_S", 0.01)
                with masks.looking_ahead(going, lambda tokens=tokens: tokens) as begin:  # type: ignore[misc]
                    begin()
            for i, gate in going.items():
                gate.take(tokens[i])
            expected = {i: Gate(after(compiler, said[i][: step + 1]), None, (VOCAB - 1,)) for i in going}
            assert [gate.finished for gate in going.values()] == [gate.finished for gate in expected.values()]
            found, failed = masks.fill(going)
            assert found is not None
            assert all(isinstance(error, Overloaded) for error in failed.values())
            for i, bits in zip(found.seq_ids, np.asarray(found.bits).tolist(), strict=True):
                if i not in failed and not expected[i].finished:
                    assert bits == mask(expected[i])
    masks.close()


class NoThread(threading.Thread):
    """What a system gives that has no more."""

    def start(self) -> None:
        raise RuntimeError("can't start new thread")


class Unwell(Slow):
    """Breaks at each mask."""

    def fill(self, places: Sequence[tuple[Any, int]], words: Words) -> None:
        words[:] = 1  # of whatever is there, nothing can be believed
        raise ValueError("the library is unwell")


def made_once() -> Callable[[], Slow]:
    """Workers that cannot be made the first time."""
    left = iter([ValueError("no memory")])

    def made() -> Slow:
        error = next(left, None)
        if error is not None:
            raise error
        return Slow(threading.Event(), None)

    return made


@pytest.mark.parametrize("fault", ["workers break", "workers cannot be made", "no thread"])
@pytest.mark.parametrize("ahead", [False, True])
def test_masks_that_cannot_be_made_end_their_rows_and_hang_nobody(
    compiler: Compiler, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch, fault: str, *, ahead: bool
) -> None:
    opens, digit = ids(tokenizer, "[1")
    gates = {i: Gate(after(compiler, [opens]), None) for i in range(2)}
    making = {"workers break": lambda: Unwell(threading.Event(), None), "workers cannot be made": made_once()}
    filler = MaskFiller(NARROW, making.get(fault, lambda: Slow(threading.Event(), None)))
    matchers = [cast("GrammarMatcher", gate.next_taker) for gate in gates.values()]
    if fault == "no thread":
        monkeypatch.setattr(filling, "Thread", NoThread)
    if ahead:
        filler.look_ahead(gates, lambda: {0: digit, 1: digit})
        filler.settle()
        for matcher in matchers:
            matcher.take(digit)
            assert matcher.allows(*ids(tokenizer, ","))
        failed = [matcher.reached and matcher.reached.failed for matcher in matchers]
        # Where nobody could look ahead, the step itself will ask.
        assert all(isinstance(each, InternalError) for each in failed) or fault != "workers break"
    else:
        failed = list(filler.fill(matchers).failed.values())
        assert [type(each) for each in failed] == [InternalError] * 2
    monkeypatch.undo()
    if fault != "workers break":
        again = filler.fill(matchers)
        assert (again.failed, again.words.tolist()) == ({}, [[7] * 4] * 2)
    filler.close()


def test_a_filler_that_is_forgotten_leaves_no_thread_behind(matcher: GrammarMatcher) -> None:
    before = set(threading.enumerate())
    filler = MaskFiller(VOCAB)
    filler.fill([matcher])
    (mine,) = set(threading.enumerate()) - before
    del filler
    gc.collect()
    mine.join(LIMIT_S)
    assert not mine.is_alive()
