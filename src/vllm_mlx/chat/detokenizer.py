"""Token ids to text while they are generated, never splitting a character."""

from __future__ import annotations

import codecs
from collections.abc import Collection, Iterable
from typing import Protocol

from tokenizers.decoders import DecodeStream

from vllm_mlx.chat.bytetable import ByteTable
from vllm_mlx.chat.tokenizer import Tokenizer

_UTF8 = codecs.getincrementaldecoder("utf-8")


class _Decoder(Protocol):
    def step(self, token_id: int) -> str: ...

    def finish(self) -> str: ...


class Detokenizer:
    """One choice's text. Whatever the cuts, the parts make the `decode` of all ids.

    Args:
        tokenizer: the model's.
        skip_special_tokens: leave control tokens out.
        visible: control tokens that are shown all the same, as text: the tags of an output format.
        continues: the ids go on after a prompt, so that the space before the first word stays (it matters
            to SentencePiece alone, whose `decode` drops it at the start of a text).
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        *,
        skip_special_tokens: bool = True,
        visible: Collection[str] = (),
        continues: bool = False,
    ) -> None:
        hidden = tokenizer.special_ids if skip_special_tokens else frozenset()
        self._hidden = hidden - {tokenizer.added_id(text) for text in visible}
        table = tokenizer.byte_table
        self._decoder: _Decoder = (
            _Streamed(tokenizer) if table is None else _Bytes(table, opening=not continues)
        )

    def feed(self, token_ids: Iterable[int]) -> str:
        """The text that these ids complete."""
        return "".join(self.feed_each(token_ids))

    def feed_each(self, token_ids: Iterable[int]) -> list[str]:
        """The same, id by id: "" for one that is hidden or ends inside a character."""
        hidden, step = self._hidden, self._decoder.step
        return ["" if token_id in hidden else step(token_id) for token_id in token_ids]

    def finish(self) -> str:
        """The rest: U+FFFD where the last character was never completed."""
        return self._decoder.finish()


class _Bytes:
    """By a byte table and an incremental UTF-8 decoder."""

    def __init__(self, table: ByteTable, *, opening: bool) -> None:
        self._table = table
        self._pieces = table.pieces
        self._opening = opening
        self._utf8 = _UTF8("replace")

    def step(self, token_id: int) -> str:
        if not 0 <= token_id < len(self._pieces):
            return ""
        piece = self._pieces[token_id]
        if self._opening:
            piece, self._opening = self._table.at_start(token_id)
        return self._utf8.decode(piece)

    def finish(self) -> str:
        return self._utf8.decode(b"", True)


class _Streamed:
    """By the library's own stream, for decoders that look at a token's neighbours."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._stream = DecodeStream(skip_special_tokens=False)
        self._ids: list[int] = []
        self._shown: list[str] = []

    def step(self, token_id: int) -> str:
        if not 0 <= token_id < self._tokenizer.vocab_size:
            return ""
        self._ids.append(token_id)
        text = self._stream.step(self._tokenizer.backend, token_id) or ""
        self._shown.append(text)
        return text

    def finish(self) -> str:
        whole, shown = self._tokenizer.decode(self._ids), "".join(self._shown)
        return whole[len(shown) :] if whole.startswith(shown) else ""
