"""The OpenAPI description: request schemas of routes that read their bodies themselves, errors, keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

_REF = "#/components/schemas/{model}"
_KEYS = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "x-api-key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
}
_FASTAPIS_OWN = ("HTTPValidationError", "ValidationError")
"""Schemas of an error answer that this server never gives."""


def json_body(schema: type[BaseModel]) -> dict[str, Any]:
    """The `openapi_extra` of a route whose body is checked by `schema`."""
    reference = {"$ref": _REF.format(model=schema.__name__)}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": reference}}}}


def complete(
    app: FastAPI, schemas: Sequence[type[BaseModel]], errors: Mapping[str, Sequence[type[BaseModel]]]
) -> None:
    """Put what FastAPI cannot know into the app's OpenAPI document.

    Args:
        schemas: bodies that routes refer to; what they use comes with them.
        errors: path prefix to the shapes of an error there; the longest prefix wins.
    """
    plain = app.openapi
    named = [*schemas, *dict.fromkeys(shape for shapes in errors.values() for shape in shapes)]

    def openapi() -> dict[str, Any]:
        document = plain()
        if "securitySchemes" in document.get("components", {}):
            return document  # FastAPI keeps it, as it was completed
        _, definitions = models_json_schema([(schema, "validation") for schema in named], ref_template=_REF)
        components = document.setdefault("components", {})
        components["schemas"] = {
            name: schema
            for name, schema in (components.get("schemas", {}) | definitions["$defs"]).items()
            if name not in _FASTAPIS_OWN
        }
        components["securitySchemes"] = _KEYS
        document["security"] = [{}, *({name: []} for name in _KEYS)]
        for path, methods in document["paths"].items():
            shapes = errors[max(filter(path.startswith, errors), key=len)]
            for operation in methods.values():
                operation["responses"].pop("422", None)
                operation["responses"]["default"] = _error(shapes)
        return document

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way to extend the document


def _error(shapes: Sequence[type[BaseModel]]) -> dict[str, Any]:
    references = [{"$ref": _REF.format(model=shape.__name__)} for shape in shapes]
    schema = references[0] if len(references) == 1 else {"anyOf": references}
    return {"description": "An error", "content": {"application/json": {"schema": schema}}}
