"""Python's literals as its own parser reads them, and without a warning, whatever a model writes.

A warning is an error in all tests here.
"""

from __future__ import annotations

import ast
import json
import warnings
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vllm_mlx.parsing.arguments import Argument
from vllm_mlx.parsing.python_literal import read_literal

pytestmark = pytest.mark.requirement(65)

WARNED = {
    r"['\d+', '\.']": ["\\d+", "\\."],
    r"{'a': '\777', 'b': '\101'}": {"a": "\u01ff", "b": "A"},
    r"""['''\d''', "\'\"\\\x41\N{BULLET}\u00e9\0"]""": ["\\d", "'\"\\A\u2022\u00e9\0"],
    r"[r'\d\777', u'\e']": ["\\d\\777", "\\e"],
    "['a\\\nb']": ["ab"],
    r"""["don't", 'say "\w"']""": ["don't", 'say "\\w"'],
    "[0xFF, 1_000, 1.5e3, -2, None, True] # or so": [255, 1000, 1500.0, -2, None, True],
}
NO_LITERALS = [
    "[1if 1 else 2]",
    "[0xfor 1]",
    "[1or 2]",
    "[1.if 1 else 2]",
    r"[b'\d']",
    r"[f'\d']",
    r"[f'{1if 1 else 2}']",
]
NO_LITERALS += [r"abc'\d'", r"['\d", r"'''\d", "\\", r"['\x4']"]
PIECES = [
    "'",
    '"',
    "'''",
    '"""',
    "\\",
    "\n",
    "\\d",
    "\\777",
    "\\12",
    "r'",
    "b'",
    "1if",
    "0x",
    "or",
    "[",
    "]",
    ",",
    "1",
    " ",
    "#",
]


@pytest.mark.parametrize(("text", "value"), WARNED.items(), ids=list(WARNED))
def test_a_literal_is_what_python_says_it_is(text: str, value: object) -> None:
    assert read_literal(text) == value
    assert json.loads(Argument({"type": ["array", "object"]}).json_text(text)) == value


@pytest.mark.parametrize("text", NO_LITERALS)
def test_what_is_no_literal_is_refused_without_a_warning(text: str) -> None:
    with pytest.raises((ValueError, SyntaxError)) as refused:
        read_literal(text)
    # Python turns a warning that is an error into an error of syntax.
    assert "invalid escape" not in str(refused.value)
    assert "invalid decimal" not in str(refused.value)


@given(st.lists(st.sampled_from(PIECES), max_size=14).map("".join))
def test_any_text_means_what_it_means_to_python(text: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = outcome(ast.literal_eval, text)
    found = outcome(read_literal, text)
    assert found == expected


@pytest.mark.parametrize("text", ["1.", "'\\", "1a", '"""\\\'', "ru'", "#\n", "0x"])
def test_a_long_text_takes_no_longer_than_python_takes(text: str) -> None:
    """The square of its length would take minutes."""
    assert outcome(read_literal, text * 50_000) is None


def outcome(read: Callable[[str], Any], text: str) -> str | None:
    """As JSON; None for what is no literal, or none that JSON has."""
    try:
        return json.dumps(read(text))
    except (ValueError, SyntaxError, TypeError):
        return None
