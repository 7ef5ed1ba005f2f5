"""What tokens spell, so that a tag is found whichever tokens it came in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol


class Spelling(Protocol):
    """Tokens as pieces of one text."""

    def of(self, token_ids: Sequence[int]) -> str:
        """What these tokens spell."""
        ...

    def tag(self, token_ids: Sequence[int]) -> str:
        """The tag that these tokens are."""
        ...

    def ids(self, text: str) -> tuple[int, ...] | None:
        """Tokens that spell exactly this; None if none are known."""
        ...


class _ByIds:
    """Each token is a letter of its own: a tag is one sequence of ids and no other."""

    def of(self, token_ids: Sequence[int]) -> str:
        return "".join(map(chr, token_ids))

    def tag(self, token_ids: Sequence[int]) -> str:
        return self.of(token_ids)

    def ids(self, text: str) -> tuple[int, ...] | None:
        return tuple(map(ord, text))


BY_IDS: Final = _ByIds()


class Vocabulary(Protocol):
    """What is needed of a tokenizer."""

    def token_bytes(self, token_id: int) -> bytes: ...

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]: ...


class ByBytes:
    """A letter for each byte: tokens may begin or end amid a tag, as `.</` and `>` with line breaks do."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary

    def of(self, token_ids: Sequence[int]) -> str:
        return b"".join(map(self._vocabulary.token_bytes, token_ids)).decode("latin-1")

    def tag(self, token_ids: Sequence[int]) -> str:
        return self.of(token_ids).strip()  # some tokenizers put a space before a text's first word

    def ids(self, text: str) -> tuple[int, ...] | None:
        try:
            wanted = text.encode("latin-1").decode()
        except UnicodeDecodeError:  # half a character
            return None
        token_ids = tuple(self._vocabulary.encode(wanted, add_special_tokens=False))
        # A tokenizer may add a space, or write some texts in another way.
        return token_ids if self.of(token_ids) == text else None
