"""Gives an argument that was written as plain text the type that its tool's JSON Schema asks for."""

from __future__ import annotations

import ast
import json
import math
from collections.abc import Mapping
from typing import Any

Schema = Mapping[str, Any]
_MAX_DEPTH = 64
_WORDS = {"true": True, "false": False, "null": None, "none": None}
_TYPES = ("null", "boolean", "integer", "number", "array", "object", "string")


def member_schema(schema: Schema | None, key: str) -> dict[str, Any] | None:
    """The schema of one argument with its reference followed; None where the tool does not say."""
    if not isinstance(schema, Mapping):
        return None
    properties = schema.get("properties")
    found = properties.get(key) if isinstance(properties, Mapping) else None
    if found is None:
        found = schema.get("additionalProperties")
    if not isinstance(found, Mapping):
        return None
    # A definition stands beside `properties`, so each argument takes them along.
    definitions = {name: schema[name] for name in ("$defs", "definitions") if name in schema}
    return {**definitions, **_followed(found, schema)}


def only_text(schema: Schema | None) -> bool:
    """Whether every value is a string, so that text can be passed on before it is complete."""
    return schema is not None and _types(schema, schema, 0) == {"string"}


def takes_no_text(schema: Schema | None) -> bool:
    """Whether the schema says which types there are, and text is none of them."""
    types = _types(schema, schema, 0) if schema is not None else set()
    return bool(types) and "string" not in types


def json_text(text: str, schema: Schema | None) -> str:
    """The argument as JSON text.

    What fits the schema's types best is taken, in the order null, boolean, integer, number, array, object,
    string; strings inside arrays and objects are typed the same way. Text that fits none of them stays a
    string, so that the caller sees what the model wrote. Without a schema the text is read as JSON if it is
    JSON, else it is a string.
    """
    return json.dumps(_typed(text, schema, schema or {}, 0, outer=True), ensure_ascii=False)


def typed_json(text: str, schema: Schema | None) -> str:
    """A JSON value in which strings that cannot be strings have the type that the schema asks for.

    A text that is no JSON, or has the right types already, comes back as it is.
    """
    value = _read(text, None)
    typed = _typed(value, schema, schema or {}, 0)
    return text if value is None or typed == value else json.dumps(typed, ensure_ascii=False)


def _typed(value: Any, schema: Schema | None, root: Schema, depth: int, *, outer: bool = False) -> Any:
    """The value with the schema's types; `outer` for the text as the model wrote it."""
    if schema is None or depth > _MAX_DEPTH:
        return _read(value, value) if outer else value
    schema = _followed(schema, root)
    types = _types(schema, root, depth)
    if isinstance(value, str):
        if not outer and ("string" in types or not types):
            return value
        value = _from_text(value, types or set(_TYPES), _enum(schema))
    if isinstance(value, list):
        items = schema.get("items")
        items = items if isinstance(items, Mapping) else None
        return [_typed(one, items, root, depth + 1) for one in value]
    if isinstance(value, dict):
        members = {"$defs": {}, **schema}
        return {key: _typed(one, member_schema(members, key), root, depth + 1) for key, one in value.items()}
    return value


def _from_text(text: str, types: set[str], enum: list[Any]) -> Any:
    if text in enum:
        return text
    bare = text.strip()
    if not types - {"string"}:
        return text
    value = _read(bare, text)
    if isinstance(value, str) and bare[:1] in ("[", "{"):
        value = _read_python(bare, text)
    if "boolean" in types or "null" in types:
        value = _WORDS.get(bare.lower(), value) if isinstance(value, str) else value
    if isinstance(value, float) and value.is_integer() and "number" not in types and "integer" in types:
        value = int(value)
    return value if _type_of(value) & types else text


def _read_python(text: str, otherwise: str) -> Any:
    """A list or a mapping as Python shows it: templates that do not ask for JSON teach models to write so."""
    try:
        value = ast.literal_eval(text)
        json.dumps(value, allow_nan=False)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        return otherwise
    return value


def _read(text: str, otherwise: Any) -> Any:
    """The text as JSON, if it is JSON that a client can read."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return otherwise
    return otherwise if isinstance(value, float) and not math.isfinite(value) else value


def _type_of(value: Any) -> set[str]:
    match value:
        case None:
            return {"null"}
        case bool():
            return {"boolean"}
        case int():
            return {"integer", "number"}
        case float():
            return {"number"}
        case list():
            return {"array"}
        case dict():
            return {"object"}
    return {"string"}


def _types(schema: Schema, root: Schema, depth: int) -> set[str]:
    """Every JSON type that the schema allows; empty where it does not say."""
    if depth > _MAX_DEPTH:
        return set()
    schema = _followed(schema, root)
    told = schema.get("type")
    if isinstance(told, str):
        return {told}
    if isinstance(told, list):
        return {one for one in told if isinstance(one, str)}
    if values := _enum(schema):
        return set().union(*map(_type_of, values))
    types: set[str] = set()
    for keyword in ("anyOf", "oneOf", "allOf"):
        branches = schema.get(keyword)
        for branch in branches if isinstance(branches, list) else ():
            if isinstance(branch, Mapping):
                types |= _types(branch, root, depth + 1)
    return types or ({"object"} if "properties" in schema else {"array"} if "items" in schema else set())


def _enum(schema: Schema) -> list[Any]:
    values = schema.get("enum")
    if isinstance(values, list):
        return values
    return [schema["const"]] if "const" in schema else []


def _followed(schema: Schema, root: Schema) -> Schema:
    """The schema behind a chain of references into the tool's own definitions."""
    for _ in range(_MAX_DEPTH):
        reference = schema.get("$ref")
        if not isinstance(reference, str) or not reference.startswith("#/"):
            return schema
        found: Any = root
        for part in reference[2:].split("/"):
            found = found.get(part) if isinstance(found, Mapping) else None
        if not isinstance(found, Mapping):
            return {}
        schema = found
    return {}
