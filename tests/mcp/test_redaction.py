"""What a log line may show: no secret, whatever its spelling, and at a bounded cost."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vllm_mlx.mcp import redaction
from vllm_mlx.mcp.redaction import LOOKED_AT_CHARS, MAX_TEXT_CHARS, MAX_VALUES, hide, redacted

pytestmark = pytest.mark.requirement(80)


@pytest.mark.parametrize(
    "text",
    [
        "Server=x;Password=hunter2",
        "Password: hunter2",
        "the password = 'hunter2 hunter2'",
        "X-Api-Key: hunter2",
        "OPENAI_API_KEY=hunter2",
        "MY_SECRET=hunter2 and",
        "db.token:hunter2",
        "client_secret: hunter2",
        "passcode=hunter2",
        "Authorization: Digest a, hunter2",
        "Cookie: a=b; hunter2",
        "authorization: bearer hunter2",
        "github_pat_hunter2hunter2hunter2",
        "https://hunter2@host/path",
        "postgres://user:a:hunter2@host/path",
        "postgres://user:a@hunter2@host/path",
        "http://h/?access_token=hunter2&page=2",
        '{"password": "hunter2 \\" hunter2", "n": 1}',
        '{"a": "{\\"password\\": \\"hunter2\\"}"}',
        "{'password': 'hunter2'}",
        'os.environ["API_KEY"] = "hunter2"',
        "token => hunter2",
        "password=" + "x" * 500 + "hunter2",
    ],
)
def test_a_secret_in_a_text_is_hidden_by_the_name_before_it_or_its_form(text: str) -> None:
    assert "hunter2" not in hide(text, shown=1000)
    assert "***" in hide(text, shown=1000)


@pytest.mark.parametrize(
    "text",
    ["max_tokens: 5", "monkey: banana", "compass: north", "https://host/a?b=c@d", "a key of mine", "x"],
)
def test_a_text_without_secrets_stays(text: str) -> None:
    assert hide(text) == text


def test_a_query_goes_on_behind_its_secret() -> None:
    assert hide("?token=a1&page=2") == "?token=***&page=2"


@pytest.mark.parametrize(
    "value",
    [
        {"passcode": "hunter2"},
        {"OPENAI_API_KEY": "hunter2"},
        {"ssh_key": "hunter2"},
        {"headers": [{"name": "Authorization", "value": "hunter2"}]},
        {"vars": [{"value": "hunter2", "key": "DB_PASSWORD"}]},
        {"x" * 1000 + "password": "hunter2"},
    ],
)
def test_a_secret_in_an_object_is_hidden_by_its_name(value: Any) -> None:
    assert "hunter2" not in repr(redacted(value))


def test_a_secret_that_holds_another_is_hidden_as_a_whole() -> None:
    for secrets in (("abcdef", "abcdefXYZ123"), ("abcdefXYZ123", "abcdef"), ("abcdef", "efXYZ123")):
        assert hide("see abcdefXYZ123.", secrets) == "see ***."
    assert redacted([1234567, 7654321], ("1234567",)) == ["***", 7654321]


@given(st.integers(0, 120), st.integers(6, 2000), st.text("x &=", max_size=50))
def test_a_known_secret_is_hidden_wherever_the_text_is_cut(start: int, length: int, after: str) -> None:
    secret = ("s3cr3t-" * length)[:length]
    shown = hide("=" * start + secret + after, ("another", secret))
    assert "s3c" not in shown
    assert len(shown) <= MAX_TEXT_CHARS + 8


@given(st.text("pasword=:\"'\\ /@&[{,k", max_size=200) | st.text(max_size=200))
def test_what_is_shown_of_any_text_is_bounded(text: str) -> None:
    assert len(hide(text)) <= 4 * MAX_TEXT_CHARS
    assert hide(text, shown=0) in ("", "...")


class Counted:
    """A pattern that counts the characters it is given."""

    def __init__(self, pattern: Any) -> None:
        self.pattern, self.chars = pattern, 0

    def finditer(self, text: str) -> Any:
        self.chars += len(text)
        return self.pattern.finditer(text)


HOSTILE = [
    "://" + "a:" * 200_000,
    "bearer " * 60_000,
    "password=" * 40_000,
    "-----BEGIN " * 40_000,
    "key" * 100_000,
]


@pytest.mark.parametrize("text", HOSTILE)
def test_few_characters_of_a_large_object_are_looked_at(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    counted = [Counted(redaction._ALONE), Counted(redaction._AFTER_A_NAME)]
    monkeypatch.setattr(redaction, "_ALONE", counted[0])
    monkeypatch.setattr(redaction, "_AFTER_A_NAME", counted[1])
    wide = {f"{i}": {f"{j}": [{"a": text}] * 99 for j in range(99)} for i in range(99)}
    redacted(wide)
    for pattern in counted:
        # Each value may have a key as well.
        assert 0 < pattern.chars <= 2 * MAX_VALUES * (MAX_TEXT_CHARS + LOOKED_AT_CHARS)


@pytest.mark.parametrize(
    "text", [*HOSTILE, "password='" + "\\" * 300_000, "://a@" * 60_000, "eyJ" + "a." * 200_000]
)
def test_a_search_for_secrets_takes_no_square_of_the_text(text: str) -> None:
    """A square would take minutes here, and the run would be ended."""
    hide(text, shown=len(text))
