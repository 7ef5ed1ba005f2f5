"""The names of blocks."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from vllm_mlx.kvcache.hashing import child_name, root_name


def test_a_name_depends_on_model_salt_and_which_of_them_holds_a_character() -> None:
    pairs = [("a", ""), ("", "a"), ("ab", "c"), ("a", "bc"), ("abc", ""), ("a\0", "b"), ("a", "\0b")]
    assert len({root_name(*pair) for pair in pairs}) == len(pairs)


def test_names_are_the_same_in_every_process() -> None:
    name = child_name(root_name("model", "salt"), [1, 2, 70000])
    assert len(name) >= 16
    assert name.hex()[:16] == "d0aa3e6e5672aa42"


tokens = st.lists(st.integers(0, 3), min_size=2, max_size=2)


@given(st.lists(tokens, max_size=4), st.lists(tokens, max_size=4))
def test_chains_are_equal_exactly_when_all_tokens_before_are(
    one: list[list[int]], two: list[list[int]]
) -> None:
    def chain(blocks: list[list[int]]) -> bytes:
        name = root_name("m", "")
        for block in blocks:
            name = child_name(name, block)
        return name

    assert (chain(one) == chain(two)) == (one == two)


def test_a_salt_may_hold_any_text() -> None:
    assert root_name("m", "\ud800") != root_name("m", "?")
