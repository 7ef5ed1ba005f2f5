"""The JSON type of a value."""

from __future__ import annotations

from collections.abc import Mapping


def json_type(value: object) -> str:
    """`null`, `boolean`, `number`, `array`, `object`, or `string` for all else."""
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int() | float():
            return "number"
        case list() | tuple():
            return "array"
        case Mapping():
            return "object"
    return "string"
