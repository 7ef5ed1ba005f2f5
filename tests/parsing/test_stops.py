from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vllm_mlx.parsing.stops import StopMatcher, StopStep

TEXTS = st.text("ab\n<é😀", max_size=40)
STOPS = st.lists(st.text("ab\n<é😀", min_size=1, max_size=5), max_size=4)


def naive(text: str, stops: list[str]) -> tuple[str, str | None]:
    """The text before the stop string that is completed first; the longest of several."""
    for end in range(len(text) + 1):
        done = [stop for stop in stops if text[:end].endswith(stop)]
        if done:
            longest = max(done, key=len)
            return text[: end - len(longest)], longest
    return text, None


def run(pieces: list[str], stops: list[str]) -> tuple[str, str | None]:
    matcher = StopMatcher(stops)
    out = "".join(matcher.feed(piece)[0] for piece in pieces)
    return out + matcher.finish().text, matcher.matched


@given(st.lists(TEXTS, max_size=8), STOPS)
def test_any_cutting_of_the_text_gives_the_whole_texts_answer(pieces: list[str], stops: list[str]) -> None:
    assert run(pieces, stops) == naive("".join(pieces), stops)


@given(TEXTS, STOPS)
def test_character_by_character_gives_the_whole_texts_answer(text: str, stops: list[str]) -> None:
    assert run(list(text), stops) == naive(text, stops)


@given(st.lists(TEXTS, max_size=8), STOPS)
def test_no_part_of_a_stop_string_leaks_before_it_is_complete(pieces: list[str], stops: list[str]) -> None:
    matcher = StopMatcher(stops)
    shown = ""
    answer, _ = naive("".join(pieces), stops)
    for piece in pieces:
        shown += matcher.feed(piece)[0]
        assert answer.startswith(shown)


def test_text_that_cannot_become_a_stop_string_is_not_held_back() -> None:
    matcher = StopMatcher(["\n\nUser:"])
    assert matcher.feed("Hello\n") == ("Hello", None)
    assert matcher.feed("you\n\nUse") == ("\nyou", None)
    assert matcher.feed("ful") == ("\n\nUseful", None)


def test_a_failed_beginning_that_holds_a_new_beginning_is_found() -> None:
    assert run(["aab", "aab", "aac"], ["aabaac"]) == ("aab", "aabaac")


def test_the_string_completed_first_wins_and_the_longest_of_those() -> None:
    assert run(["xabc"], ["abc", "b"]) == ("xa", "b")
    assert run(["xabc"], ["c", "abc", "bc"]) == ("x", "abc")


def test_nothing_follows_a_match() -> None:
    matcher = StopMatcher(["END"])
    assert matcher.feed("a END b") == ("a ", "END")
    assert matcher.feed("more") == ("", "END")
    assert matcher.finish() == StopStep("", 0, 0, "END")


def test_without_stop_strings_everything_passes_at_once() -> None:
    matcher = StopMatcher([])
    assert matcher.feed_tokens(["a", "", "b"]) == StopStep("ab", 3, 3, None)


def test_tokens_after_the_one_that_completes_the_stop_string_are_not_confirmed() -> None:
    step = StopMatcher(["STOP"]).feed_tokens(["Hi", " ST", "OP and", " more", " yet"])
    assert step == StopStep("Hi ", 2, 3, "STOP")


def test_a_token_is_shown_with_its_first_character_and_one_without_text_goes_with_the_next() -> None:
    matcher = StopMatcher(["STOP"])
    assert matcher.feed_tokens(["S", "", "T"]) == StopStep("", 0, 3, None)
    assert matcher.feed_tokens(["x", "S"]) == StopStep("STx", 4, 2, None)
    assert matcher.finish() == StopStep("S", 1, 0, None)


@given(st.lists(st.text("abS", max_size=3), max_size=12), STOPS, st.data())
def test_counts_of_tokens_do_not_depend_on_how_the_steps_were_cut(
    tokens: list[str], stops: list[str], data: st.DataObject
) -> None:
    def totals(steps: list[list[str]]) -> tuple[str, int, int, str | None]:
        matcher = StopMatcher(stops)
        parts = [matcher.feed_tokens(step) for step in steps]
        parts.append(matcher.finish())
        return (
            "".join(part.text for part in parts),
            sum(part.shown for part in parts),
            sum(part.confirmed for part in parts),
            matcher.matched,
        )

    cut = data.draw(st.integers(0, len(tokens)))
    text, shown, confirmed, matched = totals([tokens])
    assert totals([tokens[:cut], tokens[cut:]]) == (text, shown, confirmed, matched)
    assert totals([[token] for token in tokens]) == (text, shown, confirmed, matched)
    assert shown <= confirmed
    if matched is None:
        assert shown == confirmed == len(tokens)
    else:
        assert "".join(tokens[:confirmed]).find(matched) >= 0
        assert matched not in "".join(tokens[: confirmed - 1])
        assert "".join(tokens[:shown]).startswith(text)
        assert len("".join(tokens[: max(0, shown - 1)])) < max(1, len(text))


@pytest.mark.parametrize(
    ("unit", "stops"),
    [
        ("a", ["a" * 50 + "b"]),
        ("ab", ["ab" * 20 + "c", "ba" * 20 + "c"]),
        ("xyz", ["q"]),
        ("\n", ["\n\n\n\nz"]),
    ],
)
def test_the_work_grows_linearly_with_the_text(
    unit: str, stops: list[str], lines_executed: Callable[[Callable[[], object]], int]
) -> None:
    def work(n: int) -> int:
        matcher = StopMatcher(stops)
        return lines_executed(lambda: [matcher.feed(piece) for piece in unit * n])

    assert work(1200) <= 2.2 * work(600)


def test_long_stop_strings_cost_a_constant_a_character(
    lines_executed: Callable[[Callable[[], object]], int],
) -> None:
    def work(length: int) -> int:
        matcher = StopMatcher(["a" * length + "b"])
        matcher.feed("a")  # the automaton is built once
        return lines_executed(lambda: matcher.feed("a" * 3000 + "x"))

    assert work(1000) <= 1.5 * work(100)
