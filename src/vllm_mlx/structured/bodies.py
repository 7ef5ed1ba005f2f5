"""The part of a call that its tool decides, between what opens and what closes one, as rules of a grammar."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from vllm_mlx.core.errors import InvalidRequest
from vllm_mlx.core.tools import ToolSpec
from vllm_mlx.parsing.format import OutputFormat
from vllm_mlx.parsing.syntax import (
    PLACEHOLDERS,
    BraceCalls,
    CallSyntax,
    HeaderCalls,
    JsonCalls,
    NamedCalls,
    PythonicCalls,
    XmlCalls,
    fill,
)
from vllm_mlx.structured import lark
from vllm_mlx.structured.disjoint import value_types
from vllm_mlx.structured.lark import SpecialId
from vllm_mlx.structured.loosening import Exactness
from vllm_mlx.structured.notation import (
    NAMED_ARGUMENTS,
    PYTHON,
    PYTHON_JSON_WORDS,
    Undescribed,
    ValueWriter,
    braces,
)
from vllm_mlx.structured.schema import Schema, read_schema

_LIMITING = {"pattern", "format", "minLength", "maxLength", "enum", "allOf", "anyOf", "$ref"}
"""What may make a text invalid."""
_ANY_ARGUMENTS: dict[str, Any] = {"type": "object"}
_NAME_HERE = "\ue000"
"""Stands for the name while the texts around it are filled in; no format has this character."""


class BodyWriter:
    """Writes the rules of one format's calls.

    Attributes:
        rules: what the bodies refer to.
    """

    def __init__(self, output_format: OutputFormat, syntax: CallSyntax, special_id: SpecialId) -> None:
        self.format = output_format
        self.syntax = syntax
        self.special_id = special_id
        self.rules: list[str] = []

    def mark(self, text: str) -> str:
        return lark.markup(text, self.special_id)

    def body(self, tool: ToolSpec, name: str, exactness: Exactness | None) -> str:
        """The name of the rule of a tool's calls, between what opens and what closes one.

        Args:
            exactness: how the schema is read if the tool is not strict; None for any object.

        Raises:
            InvalidRequest: the tool is strict, and this way of writing cannot guarantee what it asks for.
        """
        arguments = _arguments(tool, "exact" if tool.strict else exactness)
        match self.syntax:
            case JsonCalls():
                right = self._json(self.syntax, tool.name, arguments)
            case HeaderCalls():
                right = self._header(self.syntax, tool.name, arguments)
            case XmlCalls():
                right = self._xml(self.syntax, tool, arguments, name)
            case PythonicCalls() | BraceCalls():
                right = self._other_notation(self.syntax, tool, arguments, name)
        self.rules.append(f"{name}: {right}")
        return name

    def _json(self, syntax: JsonCalls, name: str, arguments: dict[str, Any]) -> str:
        defs = arguments.pop("$defs", {})
        members: dict[str, Any] = {syntax.name_key: {"const": name}, syntax.arguments_key: arguments}
        if not syntax.name_key:
            members = {name: arguments}
        if syntax.index_key:
            members = {syntax.index_key: {"type": "string", "pattern": "^[0-9]{1,3}$"}, **members}
        call = _closed(members)
        if syntax.wrapper_key:
            call = _closed({syntax.wrapper_key: call})
        return lark.json_value(call | {"$defs": defs})

    def _header(self, syntax: HeaderCalls, name: str, arguments: dict[str, Any]) -> str:
        return f"{self._named(syntax, name)} {lark.json_value(arguments)}"

    def _named(self, syntax: NamedCalls, name: str) -> str:
        # The name comes last: what looks like a placeholder in it is its own.
        text = syntax.around_name.replace("{name}", _NAME_HERE)
        return " ".join(
            fill(
                text,
                lambda held: f"/{PLACEHOLDERS[held]}/",
                lambda rest: self.mark(rest.replace(_NAME_HERE, name)),
            )
        )

    def _xml(self, syntax: XmlCalls, tool: ToolSpec, arguments: dict[str, Any], name: str) -> str:
        """Arguments in the order of the schema, each at most once."""
        more = arguments.keys() - {"type", "properties", "required", "$defs"}
        if tool.strict and (
            more != {"additionalProperties"} or arguments["additionalProperties"] is not False
        ):
            raise _not_in(self.format, tool, "properties, required and additionalProperties: false, no more")
        properties: dict[str, Schema] = arguments.get("properties", {})
        required = arguments.get("required", [])
        properties = properties | {key: True for key in required if key not in properties}
        parts = [self._named(syntax, tool.name)]
        for i, (key, schema) in enumerate(properties.items()):
            rule = f"{name}_{i}"
            self.rules.append(f"{rule}: {self._xml_argument(syntax, tool, key, schema, arguments, rule)}")
            parts.append(rule if key in required else f"{rule}?")
        return " ".join(parts)

    def _xml_argument(
        self,
        syntax: XmlCalls,
        tool: ToolSpec,
        key: str,
        schema: Schema,
        arguments: dict[str, Any],
        rule: str,
    ) -> str:
        defs = arguments.get("$defs", {})
        if isinstance(schema, dict) and schema.keys() == {"$ref"}:
            schema = defs[schema["$ref"].rpartition("/")[2]]
        after_value = syntax.after_value.replace("{key}", key)
        end = self.mark(after_value)
        kinds = value_types(schema, defs)
        if "string" not in kinds:
            value = lark.json_value(schema | {"$defs": defs} if isinstance(schema, dict) else schema)
            return f"{self._before_json(syntax, key, kinds)} {value} {end}"
        before = self.mark(syntax.before_key + key + syntax.after_key)
        words = _words(schema)
        if words is not None:
            return f"{before} ({lark.one_of_texts(words)}) {end}"
        if tool.strict and not _takes_any_text(schema, defs):
            raise _not_in(self.format, tool, f"the text of {key!r} without a pattern, a format or a length")
        # Its first tag would make a text that holds one an object.
        stop = syntax.inner_mark or after_value
        text, rules = lark.text_until(stop, f"{rule}_text", self.special_id)
        self.rules += rules
        rest = after_value.removeprefix(stop)
        return f"{before} {text} {self.mark(rest)}"

    def _before_json(self, syntax: XmlCalls, key: str, kinds: Iterable[str]) -> str:
        """The key of a value that is no string; its type is one of those that the schema allows."""
        before, *after = (syntax.after_json_key or syntax.after_key).split("{type}")
        opening = self.mark(syntax.before_key + key + before)
        if not after:
            return opening
        types = sorted({"number" if kind == "integer" else kind for kind in kinds})
        return f"{opening} ({lark.one_of_texts(types)}) {self.mark(after[0])}"

    def _other_notation(
        self, syntax: PythonicCalls | BraceCalls, tool: ToolSpec, arguments: dict[str, Any], name: str
    ) -> str:
        try:
            return self._members(syntax, tool, arguments, name)
        except Undescribed as problem:
            if tool.strict:
                raise InvalidRequest(
                    f"tools: {tool.name!r} cannot be strict with this model's output format "
                    f"({self.format.name}): no grammar of it can have {problem}",
                    param="tools",
                ) from None
            return self._members(syntax, tool, dict(_ANY_ARGUMENTS), name)

    def _members(
        self, syntax: PythonicCalls | BraceCalls, tool: ToolSpec, arguments: dict[str, Any], name: str
    ) -> str:
        match syntax:
            case PythonicCalls():
                notation = PYTHON_JSON_WORDS if syntax.json_words else PYTHON
                before, form = tool.name, NAMED_ARGUMENTS
            case BraceCalls():
                notation = braces(syntax.quote)
                before, form = syntax.before_name + tool.name, notation.mapping
        defs = arguments.get("$defs", {})
        writer = ValueWriter(notation, name, defs, self.special_id, exact=tool.strict)
        members = writer.members(arguments, form)
        self.rules += writer.rules
        return f"{self.mark(before)} {members}"


def _arguments(tool: ToolSpec, exactness: Exactness | None) -> dict[str, Any]:
    """The schema of a tool's arguments, which are an object whatever it says."""
    if tool.parameters is None:  # as OpenAI has it
        return {**_ANY_ARGUMENTS, "properties": {}, "additionalProperties": False}
    if exactness is None:
        return dict(_ANY_ARGUMENTS)
    try:
        plain = read_schema(tool.parameters, exactness)
    except InvalidRequest as error:
        if not tool.strict:
            return dict(_ANY_ARGUMENTS)
        raise InvalidRequest(f"tools: {tool.name!r}: {error.message}", param="tools") from None
    return _ANY_ARGUMENTS | plain if isinstance(plain, dict) else dict(_ANY_ARGUMENTS)


def _closed(members: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": members,
        "required": list(members),
        "additionalProperties": False,
    }


def _words(schema: Schema) -> list[str] | None:
    """The texts that a schema lists, if it lists nothing else."""
    if not isinstance(schema, dict):
        return None
    values = [schema["const"]] if "const" in schema else schema.get("enum", ())
    words = [value for value in values if isinstance(value, str)]
    return words if words and len(words) == len(values) else None


def _takes_any_text(schema: Schema, defs: dict[str, Schema]) -> bool:
    if not isinstance(schema, dict):
        return schema
    if "anyOf" in schema and schema.keys() == {"anyOf"}:
        return any(_takes_any_text(branch, defs) for branch in schema["anyOf"] if branch != {"type": "null"})
    return not (schema.keys() & _LIMITING)


def _not_in(output_format: OutputFormat, tool: ToolSpec, reason: str) -> InvalidRequest:
    return InvalidRequest(
        f"tools: {tool.name!r} cannot be strict with this model's output format ({output_format.name}): "
        f"it can guarantee {reason}",
        param="tools",
    )
