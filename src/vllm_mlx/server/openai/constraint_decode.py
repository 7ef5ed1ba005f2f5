"""The form that an answer must have, from any of the fields that can say it."""

from __future__ import annotations

from typing import Any

import msgspec
from pydantic import ValidationError

from vllm_mlx.core.constraints import (
    Choice,
    Constraint,
    JsonObject,
    JsonSchema,
    Lark,
    Regex,
    StructuralTag,
    StructuralTags,
)
from vllm_mlx.core.errors import InvalidRequest
from vllm_mlx.core.naming import shorten
from vllm_mlx.server.openai.constraint_schema import ConstraintFields, ResponseFormat, StructuredOutputs

_TYPES = ("text", "json_object", "json_schema", "structural_tag", "regex", "choice", "grammar")
_OUTPUTS = ("json", "regex", "choice", "grammar", "json_object", "structural_tag")


def decode_constraint(body: ConstraintFields) -> dict[str, Any]:
    """The fields of a `GenerateRequest` that hold the form of its answer.

    Raises:
        InvalidRequest: two fields ask for a form, or one asks for a form that there is not.
    """
    found: list[tuple[str, Constraint]] = []
    if body.response_format is not None:
        found += _named("response_format", _from_format(body.response_format, "response_format"))
    if body.structured_outputs is not None:
        found += _named("structured_outputs", _from_outputs(body.structured_outputs))
    if body.guided_json is not None:
        found += _named("guided_json", JsonSchema(_schema(body.guided_json, "guided_json")))
    if body.guided_regex is not None:
        found += _named("guided_regex", Regex(body.guided_regex))
    if body.guided_choice is not None:
        found += _named("guided_choice", _choice(body.guided_choice, "guided_choice"))
    if body.guided_grammar is not None:
        found += _named("guided_grammar", Lark(body.guided_grammar))
    if body.guided_json_object:
        found += _named("guided_json_object", JsonObject())
    # Clients of the servers that these are from send an empty text for none.
    if body.grammar:
        found += _named("grammar", Lark(body.grammar))
    if body.json_schema is not None and body.json_schema != "":
        found += _named("json_schema", JsonSchema(_schema(body.json_schema, "json_schema")))
    if body.regex:
        found += _named("regex", Regex(body.regex))
    if len(found) > 1:
        (first, _), (second, _), *_ = found
        raise InvalidRequest(f"{second}: {first} asks for a form of the answer already", param=second)
    return {"constraint_param": found[0][0], "constraint": found[0][1]} if found else {}


def _named(param: str, constraint: Constraint | None) -> list[tuple[str, Constraint]]:
    return [] if constraint is None else [(param, constraint)]


def _from_format(given: ResponseFormat, param: str) -> Constraint | None:
    match given.type:
        case "text":
            return None
        case "json_object" | "json_schema" if given.schema_body is not None and given.json_schema is None:
            # Where llama.cpp, Together and the Responses API have it; to overlook it would promise too much.
            return JsonSchema(given.schema_body)
        case "json_object":
            return JsonObject()
        case "json_schema":
            if given.json_schema is None or given.json_schema.schema_body is None:
                missing = f"{param}.json_schema" + (".schema" if given.json_schema is not None else "")
                raise InvalidRequest(f"{missing} is missing", param=missing)
            return JsonSchema(given.json_schema.schema_body, given.json_schema.name)
        case "structural_tag":
            return _tags(given, param)
        case "regex":
            return Regex(_given(given.regex, f"{param}.regex"))
        case "choice":
            return _choice(_given(given.choice, f"{param}.choice"), f"{param}.choice")
        case "grammar":
            return Lark(_given(given.grammar, f"{param}.grammar"))
    raise InvalidRequest(
        f"{param}.type is {shorten(given.type)!r}; this server knows {', '.join(_TYPES)}", param=param
    )


def _tags(given: ResponseFormat, param: str) -> StructuralTags:
    if given.format is not None:
        raise InvalidRequest(f"{param}.format: use structures and triggers", param=f"{param}.format")
    structures = _given(given.structures, f"{param}.structures")
    return StructuralTags(
        tuple(StructuralTag(tag.begin, tag.schema_body, tag.end) for tag in structures),
        tuple(_given(given.triggers, f"{param}.triggers")),
    )


def _from_outputs(given: StructuredOutputs) -> Constraint:
    param = "structured_outputs"
    for name, value in (given.model_extra or {}).items():
        if value is not None and value is not False:  # vLLM's own switches, when they are off
            unknown = f"{param}.{shorten(name)}"
            raise InvalidRequest(
                f"{unknown} is unknown; this server knows {', '.join(_OUTPUTS)}", param=unknown
            )
    if given.whitespace_pattern is not None:
        raise InvalidRequest(
            f"{param}.whitespace_pattern: the form of whitespace is the server's",
            param=f"{param}.whitespace_pattern",
        )
    found: list[Constraint] = []
    if given.json_schema is not None:
        found.append(JsonSchema(_schema(given.json_schema, f"{param}.json")))
    if given.regex is not None:
        found.append(Regex(given.regex))
    if given.choice is not None:
        found.append(_choice(given.choice, f"{param}.choice"))
    if given.grammar is not None:
        found.append(Lark(given.grammar))
    if given.json_object:
        found.append(JsonObject())
    if given.structural_tag is not None:
        found.append(_tags(_tag_format(given.structural_tag), f"{param}.structural_tag"))
    if len(found) > 1:
        raise InvalidRequest(f"{param}: only one of its fields may be given", param=param)
    if not found:
        raise InvalidRequest(f"{param} asks for no form; it takes one of {', '.join(_OUTPUTS)}", param=param)
    return found[0]


def _choice(given: list[str], param: str) -> Choice:
    if not given:
        raise InvalidRequest(f"{param} must list at least one text", param=param)
    return Choice(tuple(given))


def _tag_format(given: dict[str, Any] | str) -> ResponseFormat:
    param = "structured_outputs.structural_tag"
    value = _parsed(given, param) if isinstance(given, str) else given
    try:
        return ResponseFormat.model_validate({"type": "structural_tag"} | value)
    except (ValidationError, TypeError):
        raise InvalidRequest(f"{param} must hold structures and triggers", param=param) from None


def _schema(given: dict[str, Any] | bool | str, param: str) -> dict[str, Any] | bool:
    value = _parsed(given, param) if isinstance(given, str) else given
    if not isinstance(value, dict | bool):
        raise InvalidRequest(f"{param} must be a JSON Schema", param=param)
    return value


def _parsed(text: str, param: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        raise InvalidRequest(f"{param} is a text that is no JSON", param=param) from None


def _given(value: Any, param: str) -> Any:
    if value is None:
        raise InvalidRequest(f"{param} is missing", param=param)
    return value
