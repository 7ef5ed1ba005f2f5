"""What form an answer must have: the caller's words, before they become a grammar."""

from __future__ import annotations

from typing import Any

import msgspec


class JsonObject(msgspec.Struct, frozen=True, tag="json_object"):
    """Any JSON object."""


class JsonSchema(msgspec.Struct, frozen=True, tag="json_schema"):
    """JSON that is valid against a schema.

    Attributes:
        schema: a JSON Schema as the caller wrote it: an object, or `true` for any JSON at all.
        name: what the caller calls it; the model never sees it.
    """

    schema: dict[str, Any] | bool
    name: str | None = None


class Regex(msgspec.Struct, frozen=True, tag="regex"):
    """Text that the whole of a regular expression matches."""

    pattern: str


class Choice(msgspec.Struct, frozen=True, tag="choice"):
    """One of these texts."""

    options: tuple[str, ...]


class Lark(msgspec.Struct, frozen=True, tag="grammar"):
    """Text of a grammar in llguidance's variant of Lark; its start symbol is `start`."""

    text: str


class StructuralTag(msgspec.Struct, frozen=True):
    """After `begin` the text is JSON valid against `schema`, and then comes `end`."""

    begin: str
    schema: dict[str, Any] | bool
    end: str


class StructuralTags(msgspec.Struct, frozen=True, tag="structural_tags"):
    """Free text until one of `triggers` is written; each begins one or several of the tags."""

    tags: tuple[StructuralTag, ...]
    triggers: tuple[str, ...]


class ThinkingRules(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How thought stands in an output, in token ids: where it ends is for the engine to find.

    Attributes:
        close_ids: the closing tag.
        open_ids: the opening tag, if the model may open a thought by itself.
        in_thought: the prompt ends inside a thought.
        budget: most tokens of thought, tags not counted; None for no bound.
        forced_ids: what is written once the budget is spent: a text that ends the thought, closing tag
            included; the tag alone if empty.
        after_ids: what the family writes between a closing tag and the answer, such as line breaks. It may
            stand there whatever form the answer must have.
    """

    close_ids: tuple[int, ...]
    open_ids: tuple[int, ...] = ()
    in_thought: bool = False
    budget: int | None = None
    forced_ids: tuple[int, ...] = ()
    after_ids: tuple[int, ...] = ()


Constraint = JsonObject | JsonSchema | Regex | Choice | Lark | StructuralTags
