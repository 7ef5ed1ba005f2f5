"""Forms of answers that are many, large or hopeless, as fields of a request; for tests and a benchmark."""

from __future__ import annotations

from typing import Any


def chain(number: int) -> str:
    """A grammar of so many rules, each of which refers to the next."""
    return "start: a0\n" + "".join(f'a{i}: "x" a{i + 1}\n' for i in range(number)) + f'a{number}: "z"'


def doubling(number: int) -> str:
    """A terminal of 2^number characters."""
    return "start: A0\n" + "".join(f"A{i}: A{i + 1} A{i + 1}\n" for i in range(number)) + f'A{number}: "x"'


ENDLESS = {"guided_grammar": doubling(60)}
"""Takes all the time that a grammar is given."""

HOSTILE: list[dict[str, Any]] = [
    {"guided_grammar": chain(3500)},
    {"guided_grammar": "start: " + "(" * 20_000},
    {"guided_grammar": 'start: "a" start | start start | ""'},
    {"guided_grammar": 'start: %json {"items":' * 3 + "{}}"},
    {"guided_grammar": "start: <[4000000000]>"},
    {"guided_grammar": "start: <[*]>"},
    {"guided_grammar": 'start: "a\x00b"'},
    {"guided_regex": "(" * 8000 + "a" + ")" * 8000},
    {"guided_regex": "(.*a.{60}){30}"},
    {"guided_regex": "a{1,100000}"},
    {"guided_json": {"$defs": {f"d{i}": {"$ref": f"#/$defs/d{i + 1}"} for i in range(20_000)}, "$ref": "#"}},
    {"guided_json": {"$defs": {"a": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}},
    {"guided_json": {"type": "string", "description": "x" * 1_500_000}},
]
HUNDRED_THOUSAND: dict[str, Any] = {"guided_json": {"enum": [f"value-{i}" for i in range(100_000)]}}


def schema(number: int) -> dict[str, Any]:
    """A JSON schema unlike those of other numbers; every fifteenth cannot be enforced.

    Whatever is valid against it is short.
    """
    fields: list[dict[str, Any]] = [
        {"type": "integer", "minimum": 0, "maximum": 9 + number},
        {"enum": [f"value {number} {i}" for i in range(2 + number % 40)]},
        {"type": "string", "pattern": "^[a-f]{1,3}-[0-9]{2}$"},
        {"type": "array", "items": {"type": "boolean"}, "minItems": 1, "maxItems": 2},
        {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/leaf"}]},
    ]
    names = [f"field_{number}_{i}" for i in range(1 + number % 3)]
    properties = {name: fields[(number + i) % len(fields)] for i, name in enumerate(names)}
    leaf = {"type": "object", "properties": {"x": {"const": number}}, "required": ["x"]}
    found: dict[str, Any] = {
        "type": "object",
        "properties": properties,
        "required": names,
        "additionalProperties": False,
        "$defs": {"leaf": leaf | {"additionalProperties": False}},
    }
    if number % 15 == 14:
        found["properties"] = properties | {"never": {"not": {"type": "string"}}}
    return found
