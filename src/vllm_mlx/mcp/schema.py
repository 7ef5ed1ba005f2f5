"""Checks tools' JSON Schemas, and arguments against them, in bounded time and without fetching anything."""

from __future__ import annotations

from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import msgspec
from jsonschema import Draft202012Validator, SchemaError, ValidationError
from jsonschema.exceptions import best_match
from jsonschema.protocols import Validator
from jsonschema.validators import extend, validator_for
from referencing import Registry
from referencing.exceptions import Unresolvable

MAX_SCHEMA_BYTES = 64 * 1024
MAX_REFERENCES = 20_000
"""References followed in one check; schemas that double at each of them take more."""

_MAX_SHOWN = 200

_followed: ContextVar[list[int]] = ContextVar("followed")


class _TooComplex(Exception):
    """The check follows more references than are reasonable."""


def schema_problem(schema: dict[str, Any]) -> str | None:
    """Why a schema cannot be used; None if it can."""
    try:
        if len(msgspec.json.encode(schema)) > MAX_SCHEMA_BYTES:
            return f"its schema is larger than {MAX_SCHEMA_BYTES} bytes"
        if schema.get("type", "object") != "object":
            return "its schema is not of an object"
        kind = validator_for(schema, default=Draft202012Validator)
        kind.check_schema(schema)
    except (SchemaError, RecursionError, Unresolvable, ValueError, TypeError, AttributeError):
        return "its schema is no valid JSON Schema"
    if any(not reference.startswith("#") for reference in _references(schema)):
        return "its schema refers to another document"
    return None


class CannotCheck(Exception):
    """The schema does not say what is valid, or not in bounded time; the text says why."""


def argument_problem(schema: dict[str, Any], arguments: dict[str, Any]) -> str | None:
    """What is wrong with arguments, in one sentence that repeats nothing long; None if nothing is."""
    try:
        error = argument_error(schema, arguments)
    except CannotCheck as problem:
        return str(problem)
    return None if error is None else _sentence(error)


def argument_error(schema: dict[str, Any], arguments: dict[str, Any]) -> ValidationError | None:
    """The most telling error of arguments; None if there is none.

    Patterns are left to whoever runs the tool, who checks its arguments anyway: Python's regular expressions
    can take for ever, and hold all other streams up meanwhile.

    Raises:
        CannotCheck: see there.
    """
    kind = validator_for(schema, default=Draft202012Validator)
    bounded = extend(
        kind,
        {
            "pattern": _pass,
            "patternProperties": _pass,
            "additionalProperties": _additional(kind.VALIDATORS["additionalProperties"]),
            "unevaluatedProperties": _pass,
            **{
                word: _counted(kind.VALIDATORS[word])
                for word in ("$ref", "$dynamicRef", "$recursiveRef")
                if word in kind.VALIDATORS
            },
        },
    )
    _followed.set([0])
    try:
        # An empty registry: a reference leads into the schema itself, or nowhere.
        return best_match(bounded(schema, registry=Registry()).iter_errors(arguments))
    except (_TooComplex, RecursionError):
        raise CannotCheck("the tool's schema is too complex to check them") from None
    except Unresolvable:
        raise CannotCheck("the tool's schema has a reference that leads nowhere") from None
    except Exception as error:  # noqa: BLE001  (a number beyond floats, for one; the library fails as it likes)
        raise CannotCheck(f"the tool's schema cannot be held against them ({type(error).__name__})") from None


def _sentence(error: ValidationError) -> str:
    where = ".".join(str(step) for step in error.absolute_path)
    message = error.message
    if len(message) > _MAX_SHOWN:
        message = f"breaks the schema's `{error.validator}`"
    return (f"{where}: {message}" if where else message)[:_MAX_SHOWN]


def _references(value: Any) -> Iterator[str]:
    pending = [value]
    while pending:
        part = pending.pop()
        if isinstance(part, dict):
            for word in ("$ref", "$dynamicRef", "$recursiveRef"):
                if isinstance(part.get(word), str):
                    yield part[word]
            pending.extend(part.values())
        elif isinstance(part, list):
            pending.extend(part)


def _pass(validator: Validator, value: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
    return iter(())


def _additional(check: Any) -> Any:
    """Which properties are additional follows from patterns too; with those it is left to the server."""

    def bounded(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
        if not schema.get("patternProperties"):
            yield from check(validator, value, instance, schema) or ()

    return bounded


def _counted(check: Any) -> Any:
    def bounded(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
        count = _followed.get()
        count[0] += 1
        if count[0] > MAX_REFERENCES:
            raise _TooComplex
        yield from check(validator, value, instance, schema) or ()

    return bounded
