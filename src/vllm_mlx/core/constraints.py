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


Constraint = JsonObject | JsonSchema | Regex | Choice | Lark | StructuralTags
