"""Text to token ids and back, over the tokenizer of a model folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tokenizers
from transformers import AutoTokenizer

from vllm_mlx.chat.bytetable import ByteTable
from vllm_mlx.core.errors import ContextOverflow, InvalidRequest, ModelLoadError

_VOCABULARY_FILES = ("tokenizer.json", "*.model", "vocab.json", "vocab.txt", "*.tiktoken", "tekken.json")

_USUAL_CHARS_PER_TOKEN = 4
_FAR_OVER = 2
_PIECE_CHARS = 32 * 1024


class Tokenizer:
    """A model's tokenizer, frozen at loading: any thread may call any method at any time.

    Encoding lets other threads run. Decoding joins the exact bytes of the
    tokens, so that a streamed text, a whole text and a token's own bytes always agree. This differs from the
    library's `decode` in two ways: where SentencePiece byte tokens are not UTF-8, only the bad bytes become
    U+FFFD and not the whole run; and `clean_up_tokenization_spaces` (made for WordPiece) is not applied.

    Args:
        hf_tokenizer: a fast tokenizer of `transformers`; it is made the owner's and must not be changed.

    Attributes:
        vocab_size: one more than the highest id with a token; a model may have more rows than that.
        special_ids: ids that are control tokens and no text.
        eos_ids: ids that the tokenizer itself names as the end of a text (none or one).
        byte_table: None where the decoder has no such table (WordPiece).
        backend: the Rust tokenizer.

    Raises:
        ModelLoadError: the tokenizer has no Rust form.
    """

    def __init__(self, hf_tokenizer: Any) -> None:
        backend = getattr(hf_tokenizer, "backend_tokenizer", None)
        if not isinstance(backend, tokenizers.Tokenizer):
            raise ModelLoadError("The model's tokenizer has no fast form (tokenizer.json).")
        # A stored truncation or padding would silently cut or fill prompts; changing them later is not safe
        # beside other threads.
        backend.no_truncation()
        backend.no_padding()
        self.backend = backend
        self.hf_tokenizer = hf_tokenizer
        self.byte_table = ByteTable.of(backend)
        vocabulary = backend.get_vocab(with_added_tokens=True)
        self.vocab_size = max(vocabulary.values(), default=-1) + 1
        self._added = {added.content: token_id for token_id, added in self._added_tokens().items()}
        self.special_ids = frozenset(
            token_id for token_id, added in self._added_tokens().items() if added.special
        )
        eos = hf_tokenizer.eos_token_id
        self.eos_ids: tuple[int, ...] = () if eos is None else (int(eos),)

    @classmethod
    def load(cls, folder: str | Path) -> Tokenizer:
        """Load from a model folder; nothing in it is executed and nothing is fetched.

        Raises:
            ModelLoadError: there is no folder, no tokenizer in it, or one that cannot be read.
        """
        if not Path(folder).is_dir():
            raise ModelLoadError("The model folder does not exist.")
        # Without a vocabulary file the library makes up an empty tokenizer of the model's kind.
        if not any(any(Path(folder).glob(pattern)) for pattern in _VOCABULARY_FILES):
            raise ModelLoadError("The model folder has no tokenizer (tokenizer.json).")
        try:
            hf_tokenizer = AutoTokenizer.from_pretrained(
                str(folder), trust_remote_code=False, local_files_only=True
            )
        # A broken folder fails in many ways, some of them bare Exceptions from Rust.
        except Exception as error:
            raise ModelLoadError(
                f"The model folder has no tokenizer that can be loaded ({type(error).__name__})."
            ) from error
        return cls(hf_tokenizer)

    def encode(
        self,
        text: str,
        *,
        add_special_tokens: bool,
        context_tokens: int | None = None,
        param: str = "prompt",
    ) -> list[int]:
        """The ids of a text; control tokens written out in it are read as such.

        Args:
            add_special_tokens: put the ids around it that the model expects around a raw text (BOS).
            context_tokens: a text with more than twice as many tokens is refused, and not read to its end:
                30 MB of text would take minutes and 10 GB.
            param: the field of the request that a refusal names.

        Raises:
            InvalidRequest: the text is not Unicode (a lone surrogate), or the vocabulary cannot write it.
            ContextOverflow: the text is far longer than `context_tokens`.
        """
        if context_tokens is not None and self._is_far_over(text, context_tokens):
            raise ContextOverflow(
                f"This model's context is {context_tokens} tokens, but the prompt alone has more than "
                f"{_FAR_OVER * context_tokens} tokens.",
                param=param,
            )
        return self._encode(text, add_special_tokens)

    def _is_far_over(self, text: str, context_tokens: int) -> bool:
        """Count tokens in pieces: where a text is cut, one token becomes two at most, far from a factor."""
        if len(text) <= _USUAL_CHARS_PER_TOKEN * context_tokens:
            return False
        tokens = 0
        for start in range(0, len(text), _PIECE_CHARS):
            tokens += len(self._encode(text[start : start + _PIECE_CHARS], add_special_tokens=False))
            if tokens > _FAR_OVER * context_tokens + start // _PIECE_CHARS:
                return True
        return False

    def _encode(self, text: str, add_special_tokens: bool) -> list[int]:
        try:
            # The batch call, unlike the single one, lets other threads run meanwhile; the fast one counts
            # no offsets.
            [encoding] = self.backend.encode_batch_fast([text], add_special_tokens=add_special_tokens)
            ids: list[int] = encoding.ids
        except (UnicodeEncodeError, TypeError) as error:
            raise InvalidRequest("The text holds a lone surrogate, which is not valid Unicode.") from error
        except Exception as error:  # Rust's errors are bare Exceptions
            raise InvalidRequest("The model's vocabulary cannot express the text.") from error
        return ids

    def decode(self, token_ids: Sequence[int], *, skip_special_tokens: bool = False) -> str:
        """The text of a whole sequence. Ids above the vocabulary have none.

        Raises:
            InvalidRequest: an id is negative.
        """
        if any(token_id < 0 for token_id in token_ids):
            raise InvalidRequest("token ids must not be negative")
        if skip_special_tokens:
            token_ids = [token_id for token_id in token_ids if token_id not in self.special_ids]
        if self.byte_table is not None:
            return self.byte_table.text(token_ids)
        known = [token_id for token_id in token_ids if token_id < self.vocab_size]
        return str(self.backend.decode(known, skip_special_tokens=False))

    def token_bytes(self, token_id: int) -> bytes:
        """The exact bytes of one token, perhaps a part of a character; none for an unknown id."""
        if not 0 <= token_id < self.vocab_size:
            return b""
        if self.byte_table is not None:
            return self.byte_table.pieces[token_id]
        return str(self.backend.decode([token_id], skip_special_tokens=False)).encode("utf-8")

    def token_text(self, token_id: int) -> str:
        """One token by itself, U+FFFD where it is a part of a character."""
        return self.token_bytes(token_id).decode("utf-8", "replace")

    def added_id(self, text: str) -> int | None:
        """The id of a token that was added to the vocabulary as a whole (tags, control tokens)."""
        return self._added.get(text)

    @property
    def special_tokens(self) -> dict[str, int]:
        """Control tokens by name; other texts the model spells."""
        return {name: token_id for name, token_id in self._added.items() if token_id in self.special_ids}

    def chat_template(self, *, tools: bool = False) -> str | None:
        """The source of the model's chat template; the one for tools where the model has two."""
        template = self.hf_tokenizer.chat_template
        if isinstance(template, dict):
            chosen = template.get("tool_use") if tools else None
            template = chosen if chosen is not None else template.get("default")
        return template if isinstance(template, str) else None

    def apply_template(
        self,
        messages: list[dict[str, Any]],
        *,
        tools: list[dict[str, Any]] | None = None,
        add_generation_prompt: bool = True,
        continue_final_message: bool | str = False,
        variables: dict[str, Any] | None = None,
    ) -> str:
        """Render the model's chat template in `transformers`' sandbox.

        Raises:
            Whatever the template raises: see `ChatTemplate`, which makes it an answer for the caller.
        """
        return str(
            self.hf_tokenizer.apply_chat_template(
                messages,
                tools=tools,
                tokenize=False,
                add_generation_prompt=add_generation_prompt,
                continue_final_message=continue_final_message,
                **(variables or {}),
            )
        )

    def _added_tokens(self) -> dict[int, tokenizers.AddedToken]:
        added: dict[int, tokenizers.AddedToken] = self.backend.get_added_tokens_decoder()
        return added
