"""How exactly a schema is read, and what must open where a part of it is left out."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Literal

Exactness = Literal["exact", "loose", "shape"]
"""`loose` leaves out what is refused, `shape` also what only a compiler can judge."""

SHAPE = frozenset(
    ("type", "enum", "const", "anyOf", "oneOf", "$ref", "properties", "required", "additionalProperties")
) | {"items", "additionalItems", "prefixItems", "minItems", "maxItems"}
"""What a grammar can have wherever it stands."""

_SPOKEN_OF = {
    "properties": "additionalProperties",
    "patternProperties": "additionalProperties",
    "items": "items",
    "prefixItems": "items",
}
"""What allows some, and what speaks of the others: alone the second would refuse what the first allows."""
_NAMES_MORE = frozenset(
    ("patternProperties", "unevaluatedProperties", "minProperties", "allOf", "anyOf", "oneOf", "if", "then")
) | {
    "else",
    "not",
    "dependencies",
    "$ref",
    "$dynamicRef",
    "$recursiveRef",
    "dependentRequired",
    "dependentSchemas",
}
"""What may ask for properties that are not listed beside it."""


def open_up(plain: dict[str, Any], left_out: Collection[str]) -> None:
    """Let a plain schema allow all that was allowed with the keywords that it now lacks."""
    for keyword in left_out:
        plain.pop(_SPOKEN_OF.get(keyword, ""), None)
    if "properties" in plain and not _NAMES_MORE.isdisjoint(left_out):
        plain.setdefault("additionalProperties", True)  # not every notation writes others unasked
