"""The exact bytes of every token, read off the decoder of the tokenizer once."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import tokenizers

_BYTE_PIECE = re.compile(r"<0x([0-9A-Fa-f]{2})>")


class ByteTable:
    """Token id to bytes, for decoders that turn each token into bytes by itself.

    These are byte-level BPE (GPT-2, Llama 3, Qwen) and SentencePiece in its two spellings (Llama, Gemma:
    replace, byte fallback, fuse, strip; T5, XLM: metaspace).

    Attributes:
        pieces: by id; an id without a token has no bytes.
    """

    def __init__(self, pieces: list[bytes], opening: list[bytes], *, drop_space: bool) -> None:
        self.pieces = pieces
        # SentencePiece puts a space before a text. Llama's decoder drops one space from the text's start,
        # the metaspace decoder every mark from the first token.
        self._opening = opening
        self._drop_space = drop_space

    @classmethod
    def of(cls, backend: tokenizers.Tokenizer) -> ByteTable | None:
        """The table, or None where a token's text depends on its neighbours (WordPiece, CTC)."""
        steps = _decoder_steps(backend)
        if [step["type"] for step in steps] == ["ByteLevel"]:
            pieces = _by_id(backend, _byte_level_piece)
            return cls(pieces, pieces, drop_space=False)
        reader = _SentencePiece.of(steps)
        if reader is None:
            return None
        pieces = _by_id(backend, reader.piece)
        opening = pieces if reader.mark is None else _by_id(backend, reader.opening_piece)
        return cls(pieces, opening, drop_space=reader.drop_space)

    def at_start(self, token_id: int) -> tuple[bytes, bool]:
        """The bytes of a token that opens a text, and whether the next one still opens it."""
        piece = self._opening[token_id]
        if self._drop_space and piece:
            return piece.removeprefix(b" "), False
        return piece, self._drop_space

    def text(self, token_ids: Iterable[int]) -> str:
        """The text of a whole sequence; bytes that are no UTF-8 become U+FFFD."""
        pieces, size, opening, out = self.pieces, len(self.pieces), True, []
        for token_id in token_ids:
            if 0 <= token_id < size:
                piece = pieces[token_id]
                if opening:
                    piece, opening = self.at_start(token_id)
                out.append(piece)
        return b"".join(out).decode("utf-8", "replace")


class _SentencePiece:
    """The steps of a SentencePiece decoder, as far as they concern one token."""

    def __init__(self) -> None:
        self.drop_space = False
        self.mark: str | None = None  # what the first token loses
        self._replace: list[tuple[str, str]] = []
        self._bytes = False

    @classmethod
    def of(cls, steps: list[dict[str, Any]]) -> _SentencePiece | None:
        """None if a step is none of SentencePiece's."""
        reader = cls()
        fused = False
        for step in steps:
            if not reader._take(step, fused):
                return None
            fused = fused or step["type"] == "Fuse"
        return reader if steps else None

    def _take(self, step: Mapping[str, Any], fused: bool) -> bool:
        kind = step["type"]
        if kind == "Replace" and not fused and "String" in step["pattern"]:
            self._replace.append((step["pattern"]["String"], step["content"]))
        elif kind == "ByteFallback" and not fused:
            self._bytes = True
        elif kind == "Metaspace" and not fused:
            self._replace.append((step["replacement"], " "))
            self.mark = None if step.get("prepend_scheme") == "never" else step["replacement"]
        elif kind == "Strip" and fused and (step["content"], step["start"], step["stop"]) == (" ", 1, 0):
            self.drop_space = True
        else:
            return bool(kind == "Fuse")
        return True

    def piece(self, token: str) -> bytes:
        found = _BYTE_PIECE.fullmatch(token) if self._bytes else None
        if found is not None:
            return bytes([int(found[1], 16)])
        for old, new in self._replace:
            token = token.replace(old, new)
        return token.encode("utf-8")

    def opening_piece(self, token: str) -> bytes:
        return self.piece(token if self.mark is None else token.replace(self.mark, ""))


def _decoder_steps(backend: tokenizers.Tokenizer) -> list[dict[str, Any]]:
    if backend.decoder is None:
        return []
    spec: dict[str, Any] = json.loads(backend.decoder.__getstate__())
    return list(spec["decoders"]) if spec["type"] == "Sequence" else [spec]


def _by_id(backend: tokenizers.Tokenizer, piece: Callable[[str], bytes]) -> list[bytes]:
    size = max(backend.get_vocab(with_added_tokens=True).values(), default=-1) + 1
    # Not by the vocabulary's spelling: an added token is decoded from its normalised form.
    tokens = (backend.id_to_token(token_id) for token_id in range(size))
    return [b"" if token is None else piece(token) for token in tokens]


def _byte_of_char() -> dict[str, int]:
    """GPT-2's alphabet: printable Latin-1 stands for itself, every other byte for a letter from U+0100 on."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    hidden = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + at): byte for at, byte in enumerate(hidden)}


_BYTES = _byte_of_char()


def _byte_level_piece(token: str) -> bytes:
    try:
        return bytes([_BYTES[char] for char in token])
    except KeyError:  # an added token, written as it is
        return token.encode("utf-8")
