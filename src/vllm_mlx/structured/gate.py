"""What one text may go on with, by the rules of its thought and by its grammar: a plain state machine."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum, auto
from typing import NamedTuple, Protocol, Self

from vllm_mlx.core.constraints import ThinkingRules
from vllm_mlx.core.errors import InternalError, InvalidGrammar
from vllm_mlx.core.spelling import BY_IDS, Spelling


class Matcher(Protocol):
    """A grammar, and how far one text has come in it."""

    def take(self, token_id: int) -> None:
        """Go on by one token.

        Raises:
            InvalidGrammar: the grammar does not allow it, or is too complex to say.
        """
        ...

    def allows(self, token_id: int) -> bool:
        """Whether this token may come next."""
        ...

    def copy(self) -> Self:
        """Another one at the same place."""
        ...

    @property
    def complete(self) -> bool:
        """Whether the text may end here."""
        ...

    @property
    def exhausted(self) -> bool:
        """Whether nothing may follow."""
        ...


class Allowed(NamedTuple):
    """Which tokens may come next.

    Attributes:
        only: this one alone, whatever the rest says.
        matcher: those that it allows; None for all.
        also: these as well.
        never: all the same, none of these.
    """

    only: int | None = None
    matcher: Matcher | None = None
    also: tuple[int, ...] = ()
    never: tuple[int, ...] = ()


class _Place(Enum):
    START = auto()  # the model may open a thought before the grammar begins, and has not done otherwise
    THOUGHT = auto()
    AFTER = auto()  # between the thought and the grammar, where the family puts line breaks
    ANSWER = auto()


class Gate:
    """Follows one choice's output token by token and says what may come next.

    The grammar holds for what follows the thought. Where the prompt does not end inside one, a model that
    opens thoughts may begin with one; as long as the tag and the grammar go on alike, as Harmony's parts do,
    it is either. Without a grammar a thought may be opened at any time. A thought of
    as many tokens as the budget has is closed by force, token by token, or, if the closing tag has begun,
    with the rest of it. What the family writes between a closing tag and the answer may stand there, unless
    the grammar itself begins with it. Later thoughts of the text share the budget. A text with a grammar
    cannot end while it thinks.

    It changes only with tokens that were read, so whoever is preempted, or computed again, finds it right.

    A tag of several tokens may come in other ones than those that the tokenizer makes of it alone: its first
    letters at the end of a token, its last at the beginning of one. With a spelling it is found all the same;
    what a token says after a closing tag is the answer's, but for white space.

    Attributes:
        binds: whether there is a grammar: then it always waits, and bans nothing besides.
        next_taker: the grammar, where it alone is to take the next token, unless that ends the text.

    Args:
        matcher: at the beginning of the grammar; None for no grammar.
        thinking: None where output is never thought.
        end_ids: ids that end the text.
        spelling: what tokens spell; without it a tag is the ids of the rules.
    """

    def __init__(
        self,
        matcher: Matcher | None,
        thinking: ThinkingRules | None,
        end_ids: Sequence[int] = (),
        spelling: Spelling | None = None,
    ) -> None:
        self.binds = matcher is not None
        self._matcher = matcher
        self._rules = thinking or ThinkingRules(close_ids=())
        tags = [ids for ids in (self._rules.open_ids, self._rules.close_ids) if ids]
        long = any(len(ids) > 1 for ids in tags)
        # A vocabulary that hides control tokens spells nothing for them.
        spells = spelling if spelling is not None and long and all(map(spelling.tag, tags)) else None
        self._spelling = spells or BY_IDS
        self._opening = self._spelling.tag(self._rules.open_ids)
        self._closing = self._spelling.tag(self._rules.close_ids)
        self.end_ids = tuple(end_ids)
        self._place = _Place.ANSWER
        self._forced: tuple[int, ...] = ()
        self._after_forced = _Place.ANSWER
        self._recent = ""  # the end of what was said, as far as it may be the beginning of a tag
        self._after: tuple[int, ...] = ()
        self._num_thought = 0
        self._num_opened = 0
        self._fresh = matcher
        if self._rules.in_thought:
            self._think()
        elif matcher is not None and self._rules.open_ids and self._rules.budget != 0:
            self._place = _Place.START
        self.next_taker = self._next_taker()

    @property
    def finished(self) -> bool:
        """Whether the grammar lets nothing follow."""
        return self.next_taker is not None and self.next_taker.exhausted

    def waits(self, num_unread: int) -> bool:
        """Whether the next token may depend on what so many tokens on their way turn out to be."""
        if self._matcher is not None or self._forced:
            return True
        budget = self._rules.budget
        if budget is None:
            return False
        if self._place is _Place.THOUGHT:
            return self._num_thought + num_unread >= budget
        return self._num_thought >= budget and len(self._rules.open_ids) > 1

    @property
    def banned_ids(self) -> tuple[int, ...]:
        """Ids that must come neither next nor after it, whether it waits or not: without a grammar, and with
        the budget spent, the one that opens a thought.
        """
        budget = self._rules.budget
        if self._matcher is not None or budget is None or self._num_thought < budget:
            return ()
        free = self._place is _Place.ANSWER and not self._forced
        return self._rules.open_ids if free and len(self._rules.open_ids) == 1 else ()

    def allowed(self) -> Allowed | None:
        """What may come next, all tokens before it being known; None for anything."""
        if self._forced:
            return Allowed(only=self._forced[0])
        if self._matcher is None:
            return self._without_reopening()
        if self._place is _Place.THOUGHT:
            return Allowed(never=self.end_ids) if self.end_ids else None
        also = self.end_ids if self._matcher.complete else ()
        if self._place is _Place.START:
            also += self._rules.open_ids[self._num_opened : self._num_opened + 1]
        elif self._place is _Place.AFTER:
            also += self._after[:1]
        return Allowed(None, self._matcher, also)

    def take(self, token_id: int) -> None:
        """The text went on with this token.

        Raises:
            InvalidGrammar: see `Matcher`.
            InternalError: it is not the one that was forced.
        """
        if self.next_taker is not None:  # nearly always
            self.next_taker.take(token_id)
            return
        try:
            self._take(token_id)
        finally:
            self.next_taker = self._next_taker()

    def _take(self, token_id: int) -> None:
        if self._forced:
            if token_id != self._forced[0]:
                raise InternalError("a forced token was not taken")
            self._forced = self._forced[1:]
            if not self._forced:
                self._go(self._after_forced)
        elif self._place is _Place.THOUGHT:
            self._take_thought(token_id)
        elif self._matcher is None:
            if self._ends_tag(token_id, self._opening) is not None:
                self._think()
        elif self._place is _Place.START and token_id == self._rules.open_ids[self._num_opened]:
            self._take_opening(token_id)
        elif (
            self._place is _Place.AFTER and token_id == self._after[0] and not self._matcher.allows(token_id)
        ):
            self._go_after(self._after[1:])
        else:
            self._place = _Place.ANSWER
            self._matcher.take(token_id)

    def _next_taker(self) -> Matcher | None:
        return self._matcher if self._place is _Place.ANSWER and not self._forced else None

    def _take_thought(self, token_id: int) -> None:
        rest = self._ends_tag(token_id, self._closing)
        if rest is None:
            self._num_thought += 1
            self._close_if_spent()
        elif rest:
            self._go(_Place.ANSWER)
            self._begin_answer(rest)
        else:
            self._go(_Place.AFTER)

    def _ends_tag(self, token_id: int, tag: str) -> str | None:
        """What stands after the tag, if this token ends one; else None."""
        said = self._recent + self._spelling.of((token_id,))
        _, found, rest = said.partition(tag) if tag else (said, "", "")
        self._recent = "" if found else said[max(0, len(said) - len(tag) + 1) :]
        return rest if found else None

    def _begin_answer(self, rest: str) -> None:
        """The token that closed the thought says something of the answer, too."""
        said = rest.lstrip()
        if self._matcher is None or not said:
            return
        token_ids = self._spelling.ids(said)
        if token_ids is None:
            raise InvalidGrammar("the token that ended the thought begins no answer of this form")
        for token_id in token_ids:
            self._matcher.take(token_id)

    def _without_reopening(self) -> Allowed | None:
        """Without budget left, the last token of an opening tag is out."""
        ids, budget = self._rules.open_ids, self._rules.budget
        if self._place is _Place.THOUGHT or budget is None or self._num_thought < budget or not ids:
            return None
        said = self._recent + self._spelling.of(ids[-1:])
        return Allowed(never=ids[-1:]) if said.endswith(self._opening) else None

    def _take_opening(self, token_id: int) -> None:
        """One more token of the opening tag: it is one for sure once it is whole, or no answer begins so."""
        assert self._matcher is not None
        self._num_opened += 1
        rest = self._rules.open_ids[self._num_opened :]
        if not rest or not self._matcher.allows(token_id):
            self._matcher = self._fresh
            self._force(rest, _Place.THOUGHT)
            return
        if self._matcher is self._fresh:
            self._matcher = self._matcher.copy()
        self._matcher.take(token_id)

    def _think(self) -> None:
        self._go(_Place.THOUGHT)
        self._close_if_spent()

    def _close_if_spent(self) -> None:
        rules = self._rules
        if rules.budget is None or self._num_thought < rules.budget:
            return
        tag = self._closing
        begun = next((n for n in range(len(tag) - 1, 0, -1) if self._recent.endswith(tag[:n])), 0)
        rest = self._spelling.ids(tag[begun:]) if begun else None
        if rest is not None:
            self._force(rest, _Place.AFTER)
        elif rules.forced_ids:
            self._force(rules.forced_ids, _Place.ANSWER)
        else:
            self._force(rules.close_ids, _Place.AFTER)

    def _force(self, ids: tuple[int, ...], then: _Place) -> None:
        self._forced, self._after_forced = ids, then
        if not ids:
            self._go(then)

    def _go(self, place: _Place) -> None:
        self._place, self._recent = place, ""
        if place is _Place.AFTER:
            self._go_after(self._rules.after_ids)

    def _go_after(self, rest: tuple[int, ...]) -> None:
        self._after = rest
        self._place = _Place.AFTER if rest and self._matcher is not None else _Place.ANSWER
