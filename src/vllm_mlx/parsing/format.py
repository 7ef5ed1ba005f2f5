"""How one model family marks reasoning and tool calls, as plain data."""

from __future__ import annotations

from typing import Literal, NamedTuple

import msgspec

BodyKind = Literal["json"]


class Tags(NamedTuple):
    """A pair of markers around a block."""

    open: str
    close: str


class OutputFormat(msgspec.Struct, frozen=True, kw_only=True):
    """One family's markup; a new family is a new value, not new code.

    Attributes:
        name: what the registry and the command line call it.
        reasoning: the tags around the thought, if the family thinks.
        tool: the tags around a tool call, if the family calls tools.
        body: how a call is written between its tags; see `parsing.bodies`.
        requires: a chat template that speaks this format contains all of these strings.
        excludes: and none of these; they belong to another format with the same tags.
    """

    name: str
    reasoning: Tags | None = None
    tool: Tags | None = None
    body: BodyKind = "json"
    requires: tuple[str, ...] = ()
    excludes: tuple[str, ...] = ()

    def markers(self) -> frozenset[str]:
        """Every tag; a detokeniser must show them even where the vocabulary calls them special."""
        return frozenset((*(self.reasoning or ()), *(self.tool or ())))
