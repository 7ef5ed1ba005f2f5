"""How one model family marks reasoning and tool calls, as plain data."""

from __future__ import annotations

import re

import msgspec

from vllm_mlx.parsing.syntax import CallSyntax, Channels

TAG = r"\]<\][^<>\[\]]*\[>\[|<[^<>]*>|\[[^\[\]]*\]"
"""A regular expression of one tag, whichever family's."""
_PIECE = re.compile(rf"{TAG}|[^\s<\[]+")


class Reasoning(msgspec.Struct, frozen=True, kw_only=True):
    """How a thought is written.

    Attributes:
        open: the tag before it.
        close: the tag after it.
        begin: what the family writes to begin a thought, the tag and its line breaks.
        end: what it writes to end one; closing a thought by force means writing this.
    """

    open: str
    close: str
    begin: str
    end: str


THINK = Reasoning(open="<think>", close="</think>", begin="<think>\n", end="\n</think>\n\n")
"""The tags that most families share."""


class OutputFormat(msgspec.Struct, frozen=True, kw_only=True):
    """One family's markup; a new family is a new value, not new code.

    Attributes:
        name: what the registry and the command line call it.
        reasoning: the tags around the thought, if the family thinks.
        calls: how tool calls are written; the first is the family's own way, the others are read as well.
        channels: for families whose whole text is in labelled parts; these say where the calls are, and the
            first of `calls` how one is written.
        dropped: markup that says nothing to a reader, also where it might have opened a call.
        answer_open: what the family writes before an answer, where neither the prompt nor the end of the
            thought has written it.
        answer_close: what it writes between an answer, perhaps an empty one, and calls.
        stops: special tokens that end a turn, whether or not the model's files say so.
        requires: a chat template that speaks this format contains all of these strings.
        or_requires: or all of one of these sets, where a family's templates have little in common.
        excludes: and none of these; they belong to another format with the same tags.
        model_types: config.json's `model_type` of models whose template does not tell, or that have none.
    """

    name: str
    reasoning: Reasoning | None = None
    calls: tuple[CallSyntax, ...] = ()
    channels: Channels | None = None
    dropped: tuple[str, ...] = ()
    answer_open: str = ""
    answer_close: str = ""
    stops: tuple[str, ...] = ()
    requires: tuple[str, ...] = ()
    or_requires: tuple[tuple[str, ...], ...] = ()
    excludes: tuple[str, ...] = ()
    model_types: tuple[str, ...] = ()

    def markers(self) -> frozenset[str]:
        """Every tag; a detokeniser must show them even where the vocabulary calls them special."""
        texts = [*self.dropped]
        if self.reasoning is not None:
            texts += self.reasoning.open, self.reasoning.close
        if self.channels is not None:
            texts += *self.channels.opens, *self.channels.closes, self.channels.header_end
        for calls in self.calls:
            texts += (value for value in msgspec.structs.astuple(calls) if isinstance(value, str))
        return frozenset(tag for text in texts for tag in (text, *split_tags(text)) if tag.strip())


def split_tags(text: str) -> tuple[str, ...]:
    """The tags and words of a piece of markup, without the white space between them."""
    return tuple(_PIECE.findall(text))
