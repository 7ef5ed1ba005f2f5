"""The library that knows grammars: a model's vocabulary in its terms, and matchers."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from pathlib import Path
from typing import Any, Final, NamedTuple
from weakref import ref

import numpy as np
from llguidance import LLTokenizer, TokenizerWrapper

from vllm_mlx.chat.tokenizer import Tokenizer
from vllm_mlx.core.errors import AppError, InvalidGrammar
from vllm_mlx.core.spelling import ByBytes
from vllm_mlx.structured.check import END_NAME, TOO_MANY_STATES, new_matcher, takes_too_many_states
from vllm_mlx.structured.masks import Filled

NOT_ALLOWED: Final = "the output left its grammar"

_num_users = attrgetter("num_users")

_MESSAGE_CHARS: Final = 300
_NOTHING: Final = "the grammar lets nothing follow that the model could say"


class Vocabulary:
    """The tokens of a model, as `TokenizerWrapper` wants to see them.

    One id more than the model has stands for the end of a text. So the library never marks one of the
    model's own ids as an end: which of them end a text differs from request to request.

    Attributes:
        tokens: the bytes of each id; none for ids without a token, which no grammar then allows.
        special_token_ids: ids that no text spells; grammars name them.
    """

    def __init__(self, tokenizer: Tokenizer, vocab_size: int) -> None:
        self.tokens = [tokenizer.token_bytes(token_id) for token_id in range(vocab_size)] + [END_NAME]
        special = sorted(token_id for token_id in tokenizer.special_ids if token_id < vocab_size)
        self.special_token_ids = [*special, vocab_size]
        self.eos_token_id = vocab_size
        self.bos_token_id: int | None = None
        self._tokenizer = tokenizer

    def __call__(self, text: str) -> list[int]:
        return self._tokenizer.encode(text, add_special_tokens=False)


class Foreseen(NamedTuple):
    """What was found out of the place behind a token before anyone took that token.

    Attributes:
        token_id: -1 for the place where a grammar begins.
        filled: the masks of several matchers, all of the place behind their tokens.
        row: its own among them.
        exhausted: see `Matcher`; None where it was not asked.
        refused: why the grammar does not go on with the token.
    """

    token_id: int
    filled: Filled
    row: int
    exhausted: bool | None = None
    refused: str | None = None

    @property
    def failed(self) -> AppError | None:
        """Why there is no mask."""
        return self.filled.failed.get(self.row)

    @property
    def complete(self) -> bool | None:
        """See `Matcher`; None where no mask says it."""
        return None if self.row in self.filled.failed else self.filled.ends[self.row]


class Lexer:
    """The library's matcher at the beginning of a grammar, with a lexer of its own; no one moves it."""

    def __init__(self, origin: Any) -> None:
        self.origin = origin
        self._users: set[ref[GrammarMatcher]] = set()

    def add(self, user: GrammarMatcher) -> None:
        """A matcher has it, as long as it lives."""
        # What a WeakSet does, but each request asks every lexer for the number.
        self._users.add(ref(user, self._users.discard))

    @property
    def num_users(self) -> int:
        """How many matchers have it."""
        return len(self._users)


class Lexers:
    """The lexers of one grammar.

    What the library's `deep_copy` gives shares its lexer with what was copied, behind a lock (llguidance 1.9,
    `Parser::clone`): masks of rows with one lexer are found one after the other, by however many threads. So
    a grammar that many rows have is compiled several times, and its rows are spread.

    Attributes:
        beginning: what is known of the place where the grammar begins.
    """

    def __init__(self, origin: Any, beginning: Foreseen | None = None) -> None:
        self.beginning = beginning
        self._all = [Lexer(origin)]

    def __len__(self) -> int:
        return len(self._all)

    def add(self, other: GrammarMatcher) -> None:
        """Have the lexer of the same grammar, compiled again, too; any thread may."""
        self._all.append(other.lexer)

    def leave(self, most: int) -> None:
        """Have so many from now on, at most; who uses another one keeps it."""
        del self._all[most:]

    @property
    def num_users(self) -> int:
        """How many matchers there are, at whatever place."""
        return sum(each.num_users for each in self._all)

    def freest(self) -> Lexer:
        """The one that has the fewest users."""
        return min(self._all, key=_num_users)


class GrammarMatcher:
    """A `Matcher`. Only one thread at a time may use it.

    The library's matcher can be lent to another thread, and come back one token further than the text is, or
    not at all. Whoever then needs one that stands where the text does gets a new one, led there from the
    beginning.

    Attributes:
        reached: what was foreseen of the place where the text is.

    Args:
        raw: the library's, at the beginning of the grammar, or where `taken` led.
        lexers: of the grammar.
        lexer: the one of `raw`.
    """

    def __init__(self, raw: Any, lexers: Lexers, lexer: Lexer, taken: Sequence[int] = ()) -> None:
        self.lexers = lexers
        self.lexer = lexer
        self._raw = raw
        self._taken = list(taken)
        self._ahead: Foreseen | None = None
        self.reached = None if taken else lexers.beginning

    @property
    def _here(self) -> Any:
        """The library's, where the text is."""
        if self._raw is None or self._ahead is not None:
            self._raw, self._ahead = self.lexer.origin.deep_copy(), None
            self._raw.consume_tokens(self._taken)
        return self._raw

    def copy(self) -> GrammarMatcher:
        """Another one at the same place; at the beginning, over the lexer that has the fewest users."""
        lexer = self.lexer if self._taken else self.lexers.freest()
        here = self._here if self._taken else lexer.origin
        copy = GrammarMatcher(here.deep_copy(), self.lexers, lexer, self._taken)
        lexer.add(copy)
        return copy

    def lend(self) -> Any:
        """The library's, for another thread."""
        raw, self._raw = self._here, None
        return raw

    def give_back(self, raw: Any) -> None:
        """It is where it was lent, and nobody else uses it any more."""
        self._raw = raw

    def foresee(self, raw: Any | None, foreseen: Foreseen) -> None:
        """It went on by a token that the text will probably go on with; None if it does not come back."""
        self._raw, self._ahead = raw, foreseen

    def take(self, token_id: int) -> None:
        ahead = self._ahead
        if ahead is not None and ahead.token_id == token_id:
            self.reached, self._ahead, refused = ahead, None, ahead.refused
        else:
            raw, self.reached = self._here, None
            refused = None if raw.consume_token(token_id) else message_of(raw) or NOT_ALLOWED
        if refused is not None:
            raise InvalidGrammar(refused)
        self._taken.append(token_id)

    def allows(self, token_id: int) -> bool:
        return bool(self._here.validate_tokens([token_id]))

    @property
    def complete(self) -> bool:
        known = self.reached.complete if self.reached is not None else None
        return bool(self._here.is_accepting()) if known is None else known

    @property
    def exhausted(self) -> bool:
        known = self.reached.exhausted if self.reached is not None else None
        return bool(self._here.is_stopped()) if known is None else known


class Compiler:
    """Compiles grammars for one vocabulary; any thread may.

    Attributes:
        spelling: what the vocabulary's tokens spell.
    """

    def __init__(self, tokenizer: Tokenizer, vocab_size: int) -> None:
        self.spelling = ByBytes(tokenizer)
        self._vocab_size = vocab_size
        self._tokenizer = LLTokenizer(TokenizerWrapper(Vocabulary(tokenizer, vocab_size)))

    @classmethod
    def load(cls, folder: Path, vocab_size: int) -> Compiler:
        """For the model in a folder.

        Args:
            vocab_size: the model's; it may be larger than the tokenizer's.
        """
        return cls(Tokenizer.load(folder), vocab_size)

    def compile(self, text: str) -> GrammarMatcher:
        """A matcher at the beginning of the grammar.

        Raises:
            InvalidGrammar: the text is no grammar, one that is too complex, or one that nothing meets.
        """
        raw = new_matcher(self._tokenizer, text)
        if raw.is_error():
            raise InvalidGrammar(message_of(raw))
        # The first mask is the most expensive by far, and proves that the text can begin at all.
        mask = np.frombuffer(raw.compute_bitmask(), np.uint32).copy()
        if raw.is_error():
            raise InvalidGrammar(message_of(raw))
        filled = Filled.of(mask[None], self._vocab_size)
        if filled.empty[0] and not raw.is_accepting():
            raise InvalidGrammar(_NOTHING)
        beginning = Foreseen(-1, filled, 0, raw.is_stopped())
        lexers = Lexers(raw.deep_copy(), beginning)
        return GrammarMatcher(raw, lexers, lexers.freest())


def message_of(raw: Any) -> str:
    """What the library says is wrong, in one short line."""
    lines = [line.strip() for line in str(raw.get_error()).splitlines() if line.strip()]
    message = lines[0] if lines else ""
    if takes_too_many_states(message):
        return TOO_MANY_STATES
    return message if len(message) <= _MESSAGE_CHARS else message[:_MESSAGE_CHARS] + "..."
