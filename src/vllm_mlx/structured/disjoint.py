"""Two questions to a plain schema: can a value fit two branches, and is any value finite."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

from vllm_mlx.core.json_type import json_type

Schema = dict[str, Any] | bool
_Values = frozenset[tuple[str, str]]

_ALL = frozenset(("null", "boolean", "number", "string", "array", "object"))
_MAX_STEPS = 200_000
"""Comparisons of schemas; what is not proven by then is taken for unproven."""


def nothing_fits_two(branches: Sequence[Schema], defs: dict[str, Schema]) -> bool:
    """Whether it is certain that no value is valid against two of the branches."""
    prover = _Prover(defs)
    return all(prover.disjoint(one, other, 8) for one, other in combinations(branches, 2))


class _Prover:
    def __init__(self, defs: dict[str, Schema]) -> None:
        self._defs = defs
        self._steps = 0
        # By identity, as the schemas outlive the prover: each of many branches meets every other.
        self._types_of: dict[int, frozenset[str]] = {}
        self._values_of: dict[int, _Values | None] = {}

    def disjoint(self, one: Schema, other: Schema, depth: int) -> bool:
        self._steps += 1
        if depth == 0 or self._steps > _MAX_STEPS:
            return False
        one, other = self._resolved(one), self._resolved(other)
        if one is False or other is False:
            return True
        if one is True or other is True:
            return False
        for a, b in ((one, other), (other, one)):
            if "anyOf" in a and all(self.disjoint(branch, b, depth - 1) for branch in a["anyOf"]):
                return True
            if "allOf" in a and any(self.disjoint(part, b, depth - 1) for part in a["allOf"]):
                return True
        if not (self._types(one) & self._types(other)):
            return True
        values, others = self._values(one), self._values(other)
        if values is not None and others is not None and values.isdisjoint(others):
            return True
        return self._by_a_property(one, other, depth)

    def _types(self, schema: dict[str, Any]) -> frozenset[str]:
        if id(schema) not in self._types_of:
            self._types_of[id(schema)] = _types(schema)
        return self._types_of[id(schema)]

    def _values(self, schema: dict[str, Any]) -> _Values | None:
        if id(schema) not in self._values_of:
            self._values_of[id(schema)] = _values(schema)
        return self._values_of[id(schema)]

    def _by_a_property(self, one: dict[str, Any], other: dict[str, Any], depth: int) -> bool:
        if self._types(one) & self._types(other) != {"object"}:
            return False
        mine, yours = one.get("properties", {}), other.get("properties", {})
        return any(
            name in mine and name in yours and self.disjoint(mine[name], yours[name], depth - 1)
            for name in (*one.get("required", ()), *other.get("required", ()))
        )

    def _resolved(self, schema: Schema) -> Schema:
        """Follows references that stand alone; others are conditions like any other, and left out."""
        seen: set[str] = set()
        while isinstance(schema, dict) and schema.keys() == {"$ref"} and schema["$ref"] not in seen:
            seen.add(schema["$ref"])
            schema = self._defs[schema["$ref"].rpartition("/")[2]]
        return schema


def value_types(schema: Schema, defs: dict[str, Schema], depth: int = 8) -> frozenset[str]:
    """The types of values that may be valid; `integer` counts as `number`."""
    if not isinstance(schema, dict) or depth == 0:
        return _ALL if schema else frozenset()
    types = _types(schema)
    if "$ref" in schema:
        types &= value_types(defs[schema["$ref"].rpartition("/")[2]], defs, depth - 1)
    if "anyOf" in schema:
        types &= frozenset().union(*(value_types(branch, defs, depth - 1) for branch in schema["anyOf"]))
    for part in schema.get("allOf", ()):
        types &= value_types(part, defs, depth - 1)
    return types


def _types(schema: dict[str, Any]) -> frozenset[str]:
    values = [schema["const"]] if "const" in schema else schema.get("enum")
    if values is not None:
        return frozenset(map(json_type, values))
    named = schema.get("type", _ALL)
    names = {named} if isinstance(named, str) else set(named)
    return frozenset("number" if name == "integer" else name for name in names)


def _values(schema: dict[str, Any]) -> _Values | None:
    values = [schema["const"]] if "const" in schema else schema.get("enum")
    return None if values is None else frozenset((json_type(value), repr(value)) for value in values)


def can_end(schema: Schema, defs: dict[str, Schema]) -> bool:
    """Whether some value is finite: a schema that requires itself again and again has none."""
    ending: set[str] = set()
    grown = True
    while grown:
        grown = False
        for name, definition in reversed(defs.items()):  # what was found last leads nowhere else, as a rule
            if name not in ending and _ends(definition, ending):
                ending.add(name)
                grown = True
    return _ends(schema, ending)


def _ends(schema: Schema, ending: set[str]) -> bool:
    if isinstance(schema, bool):
        return schema
    if "$ref" in schema and schema["$ref"].rpartition("/")[2] not in ending:
        return False
    if not all(_ends(part, ending) for part in schema.get("allOf", ())):
        return False
    if "anyOf" in schema and not any(_ends(branch, ending) for branch in schema["anyOf"]):
        return False
    if "const" in schema or "enum" in schema:
        return True
    named = schema.get("type", "null")
    return any(_ends_as(name, schema, ending) for name in ([named] if isinstance(named, str) else named))


def _ends_as(name: str, schema: dict[str, Any], ending: set[str]) -> bool:
    if name == "object":
        known, others = schema.get("properties", {}), schema.get("additionalProperties", True)
        open_to_others = "patternProperties" in schema
        return all(
            _ends(known.get(required, True if open_to_others else others), ending)
            for required in schema.get("required", ())
        )
    if name == "array":
        first, least = schema.get("prefixItems", []), schema.get("minItems", 0)
        must = [*first[:least], *([schema.get("items", True)] if least > len(first) else [])]
        return all(_ends(item, ending) for item in must)
    return True
