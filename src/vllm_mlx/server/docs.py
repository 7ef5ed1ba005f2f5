"""The OpenAPI description: bodies that routes read and answers that they encode themselves, errors, keys."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, get_args

import msgspec
from fastapi import FastAPI
from msgspec import UnsetType
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

_PLACE = "#/components/schemas/"
_REF = _PLACE + "{model}"
_KEYS = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "x-api-key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
}
_FASTAPIS_OWN = ("HTTPValidationError", "ValidationError")
"""Schemas of an error answer that this server never gives."""
_DIALECTS = {"openai": "OpenAI", "anthropic": "Anthropic", "responses": "Responses"}
"""What goes before a name that several dialects use, by their folders."""


def json_body(schema: type[BaseModel]) -> dict[str, Any]:
    """The `openapi_extra` of a route whose body is checked by `schema`."""
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": _ref(schema)}}}}


class AnswerTypes:
    """The msgspec types that answers are encoded from: what is described is what is sent.

    Args:
        prefix: what goes before their names in the document, where every dialect has a `Usage`.
        kinds: types and unions of types; what they use comes with them.
    """

    def __init__(self, prefix: str, *kinds: Any) -> None:
        self._prefix = prefix
        self._kinds = kinds

    def of(
        self, body: Any, *, events: Any = None, error: type[BaseModel] | None = None
    ) -> dict[int | str, dict[str, Any]]:
        """The `responses` of a route.

        Args:
            body: what a whole answer is encoded from.
            events: what the `data` of each event is encoded from, where the route can stream.
            error: an event that ends a stream early, where it is none of `events`.
        """
        content = {"application/json": {"schema": self._schema(body)}}
        if events is not None:
            data = self._schema(events)
            if error is not None:
                data = {"anyOf": [*data.get("anyOf", [data]), _ref(error)]}
            content["text/event-stream"] = {"schema": {"description": "The data of one event.", **data}}
        return {200: {"content": content}}

    def schemas(self) -> dict[str, Any]:
        """The schemas of all types, by their names in the document."""
        _, found = msgspec.json.schema_components(self._kinds, ref_template=_PLACE + self._prefix + "{name}")
        for struct in set(_structs(self._kinds)):
            schema = found[struct.__name__]
            schema["required"] = [name for name in schema["properties"] if name not in _left_out(struct)]
            for field in schema["properties"].values():
                field.pop("default", None)  # is sent as well: nobody has to fill it in
        return {self._prefix + name: schema for name, schema in found.items()}

    def _schema(self, kind: Any) -> dict[str, Any]:
        if kind not in self._kinds:
            raise ValueError(f"{kind} must be among the types that are described")
        members = get_args(kind)
        references = [{"$ref": f"{_PLACE}{self._prefix}{each.__name__}"} for each in members or [kind]]
        return {"anyOf": references} if members else references[0]


def encoded_list(prefix: str, *kinds: type[msgspec.Struct]) -> msgspec.Meta:
    """Annotates a `Raw` field that holds a list already encoded: its items are of these `kinds`.

    They must also be among the `AnswerTypes` of that prefix.
    """
    references = [{"$ref": f"{_PLACE}{prefix}{kind.__name__}"} for kind in kinds]
    return msgspec.Meta(extra_json_schema={"type": "array", "items": {"anyOf": references}})


def _structs(kinds: Sequence[Any]) -> Iterator[type[msgspec.Struct]]:
    """The structs among types, and all that they use. None uses itself."""
    for kind in kinds:
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            yield kind
            yield from _structs([field.type for field in msgspec.structs.fields(kind)])
        else:
            yield from _structs(get_args(kind))


def _left_out(struct: type[msgspec.Struct]) -> set[str]:
    """The fields that an answer may lack."""
    sparse = struct.__struct_config__.omit_defaults
    return {
        field.encode_name
        for field in msgspec.structs.fields(struct)
        if UnsetType in get_args(field.type) or (sparse and not field.required)
    }


def complete(
    app: FastAPI,
    schemas: Sequence[type[BaseModel]],
    errors: Mapping[str, Sequence[type[BaseModel]]],
    answers: Sequence[AnswerTypes],
) -> None:
    """Put what FastAPI cannot know into the app's OpenAPI document.

    Args:
        schemas: bodies that routes refer to; what they use comes with them.
        errors: path prefix to the shapes of an error there; the longest prefix wins.
        answers: the types of answers that routes refer to.
    """
    plain = app.openapi
    named = [*schemas, *dict.fromkeys(shape for shapes in errors.values() for shape in shapes)]

    @functools.cache
    def openapi() -> dict[str, Any]:
        document = plain()
        _add_schemas(document, named, answers)
        document["components"]["securitySchemes"] = _KEYS
        document["security"] = [{}, *({name: []} for name in _KEYS)]
        for path, methods in document["paths"].items():
            shapes = errors[max(filter(path.startswith, errors), key=len)]
            for operation in methods.values():
                _add_errors(operation["responses"], shapes)
        return _with_short_names(document)

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way to extend the document


def _add_schemas(
    document: dict[str, Any], named: Sequence[type[BaseModel]], answers: Sequence[AnswerTypes]
) -> None:
    _, definitions = models_json_schema([(schema, "validation") for schema in named], ref_template=_REF)
    components = document.setdefault("components", {})
    schemas = components.get("schemas", {}) | definitions["$defs"]
    for types in answers:
        for name, schema in types.schemas().items():
            if schemas.setdefault(name, schema) is not schema:
                raise ValueError(f"two schemas are named {name}")
    components["schemas"] = {name: schema for name, schema in schemas.items() if name not in _FASTAPIS_OWN}


def _with_short_names(document: dict[str, Any]) -> dict[str, Any]:
    """The document with a dialect's name where pydantic put a module's path, to tell two schemas apart."""
    text = json.dumps(document)
    taken = document["components"]["schemas"]
    for name in [name for name in taken if "__" in name]:
        _, _, dialect, *_, last = name.split("__")
        short = _DIALECTS[dialect] + last
        if short in taken:
            raise ValueError(f"two schemas are named {short}")
        text = text.replace(f'"{name}"', f'"{short}"').replace(f'{_PLACE}{name}"', f'{_PLACE}{short}"')
    renamed: dict[str, Any] = json.loads(text)
    return renamed


def _ref(schema: type[BaseModel]) -> dict[str, str]:
    return {"$ref": _REF.format(model=schema.__name__)}


def _add_errors(responses: dict[str, Any], shapes: Sequence[type[BaseModel]]) -> None:
    """What else a route answers: any error, and by name the one that a route always answers."""
    references = [_ref(shape) for shape in shapes]
    schema = references[0] if len(references) == 1 else {"anyOf": references}
    error = {"description": "An error", "content": {"application/json": {"schema": schema}}}
    responses.pop("422", None)  # FastAPI's idea
    always = [status for status in responses if status.startswith("4")]
    responses |= dict.fromkeys([*always, "default"], error)
