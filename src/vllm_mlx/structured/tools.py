"""From the tools on offer to a grammar of the calls that a model may or must write."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vllm_mlx.core.errors import InvalidRequest
from vllm_mlx.core.tools import ToolChoice, ToolSpec
from vllm_mlx.parsing.format import OutputFormat
from vllm_mlx.parsing.syntax import CallSyntax, HeaderCalls, JsonCalls, XmlCalls
from vllm_mlx.structured import lark
from vllm_mlx.structured.disjoint import value_types
from vllm_mlx.structured.grammar import Answer, text_with
from vllm_mlx.structured.lark import SpecialId
from vllm_mlx.structured.schema import Schema, read_schema

MAX_CALLS = 64
"""Calls of one answer where they are forced; a model that does not stop would go on to its last token."""

_LIMITING = {"pattern", "format", "minLength", "maxLength", "enum", "allOf", "anyOf", "$ref"}
"""What may make a text invalid."""
_ANY_ARGUMENTS: dict[str, Any] = {"type": "object"}


def calls_grammar(
    output_format: OutputFormat,
    tools: Sequence[ToolSpec],
    choice: ToolChoice,
    special_id: SpecialId,
    *,
    parallel: bool = True,
    answer: Answer | None = None,
    only_strict: bool = False,
) -> str | None:
    """The grammar that tools and the choice among them ask for; None if they leave everything open.

    Where calls are required the text is calls from its first character. Where they are allowed and an answer
    has a form, the text is either. Otherwise text is free until a call opens.

    Args:
        answer: the form of an answer that is no call.
        only_strict: arguments of tools that are not strict may be any object.

    Raises:
        InvalidRequest: no such tool, a schema that cannot be enforced, or a format whose calls cannot be
            described.
    """
    forced = choice.mode in ("required", "named")
    if choice.mode == "none" or not (forced or answer or not parallel or any(tool.strict for tool in tools)):
        return None
    if choice.mode == "named":
        tools = [tool for tool in tools if tool.name == choice.name]
        if not tools:
            raise InvalidRequest(f"tool_choice: there is no tool {choice.name!r}", param="tool_choice")
    if not tools:
        raise InvalidRequest("tool_choice: a call is required, but there are no tools", param="tool_choice")
    if not output_format.calls or output_format.channels is not None:
        raise _undescribed(output_format)
    syntax = output_format.calls[0]
    writer = _Writer(output_format, syntax, special_id)
    bodies = [writer.body(tool, f"tool_{i}", only_strict=only_strict) for i, tool in enumerate(tools)]
    rules = [f"call: {writer.mark(syntax.call_open)} ({' | '.join(bodies)}) {writer.mark(syntax.call_close)}"]
    more = f" ({writer.mark(syntax.separator)} call){{0,{MAX_CALLS - 1}}}" if parallel else ""
    rules += [f"calls: {writer.mark(syntax.block_open)} call{more} {writer.mark(syntax.block_close)}"]
    rules += writer.rules
    if forced:
        return "\n".join(("start: calls", *rules))
    if answer is not None:
        return "\n".join((f"start: calls | {answer.body}", *answer.terminals, *rules))
    return _free_text(writer, bodies, parallel=parallel)


def _free_text(writer: _Writer, bodies: Sequence[str], *, parallel: bool) -> str:
    """Text in which each opening of calls is followed by calls."""
    syntax = writer.syntax
    opening = (syntax.block_open or syntax.call_open).rstrip()
    if not opening:
        raise _undescribed(writer.format, "; they begin like any text")
    after = (syntax.block_open + syntax.call_open).removeprefix(opening)
    first = f"{writer.mark(after)} ({' | '.join(bodies)}) {writer.mark(syntax.call_close)}"
    rules = [f"first: {first}"]
    body = "first"
    if syntax.block_open:
        more = f"{writer.mark(syntax.separator + syntax.call_open)} ({' | '.join(bodies)})"
        rules.append(f"more: {more} {writer.mark(syntax.call_close)}")
        body += f"{' more*' if parallel else ''} {writer.mark(syntax.block_close)}"
    text = text_with([(opening, body)], writer.special_id, most=None if parallel else 1)
    return "\n".join((text, *rules, *writer.rules))


def _undescribed(output_format: OutputFormat, reason: str = "") -> InvalidRequest:
    return InvalidRequest(
        f"tool_choice: calls in this model's output format ({output_format.name}) cannot be put as a grammar"
        + reason,
        param="tool_choice",
    )


class _Writer:
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

    def body(self, tool: ToolSpec, name: str, *, only_strict: bool) -> str:
        """The name of the rule of a tool's calls, between what opens and what closes one."""
        arguments = _arguments(tool, only_strict=only_strict)
        match self.syntax:
            case JsonCalls():
                right = self._json(self.syntax, tool.name, arguments)
            case HeaderCalls():
                right = self._header(self.syntax, tool.name, arguments)
            case XmlCalls():
                right = self._xml(self.syntax, tool, arguments, name)
            case _:
                raise _undescribed(self.format)
        self.rules.append(f"{name}: {right}")
        return name

    def _json(self, syntax: JsonCalls, name: str, arguments: dict[str, Any]) -> str:
        defs = arguments.pop("$defs", {})
        members: dict[str, Any] = {syntax.name_key: {"const": name}, syntax.arguments_key: arguments}
        if syntax.index_key:
            members = {syntax.index_key: {"type": "string", "pattern": "^[0-9]{1,3}$"}, **members}
        call = _closed(members)
        if syntax.wrapper_key:
            call = _closed({syntax.wrapper_key: call})
        return lark.json_value(call | {"$defs": defs})

    def _header(self, syntax: HeaderCalls, name: str, arguments: dict[str, Any]) -> str:
        before_index, *after_index = syntax.after_name.split("{index}")
        parts = [self.mark(syntax.before_name + name + before_index)]
        parts += [f"/[0-9]{{1,3}}/ {self.mark(rest)}" for rest in after_index]
        return " ".join((*parts, lark.json_value(arguments)))

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
        parts = [self.mark(syntax.before_name + tool.name + syntax.after_name)]
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
        end = self.mark(syntax.after_value)
        kinds = value_types(schema, defs)
        if "string" not in kinds:
            after = syntax.after_json_key or syntax.after_key
            value = lark.json_value(schema | {"$defs": defs} if isinstance(schema, dict) else schema)
            return f"{self.mark(syntax.before_key + key + after)} {value} {end}"
        before = self.mark(syntax.before_key + key + syntax.after_key)
        words = _words(schema)
        if words is not None:
            return f"{before} ({lark.one_of_texts(words)}) {end}"
        if tool.strict and not _takes_any_text(schema, defs):
            raise _not_in(self.format, tool, f"the text of {key!r} without a pattern, a format or a length")
        if end == lark.literal(syntax.after_value):
            self.rules.append(f"{rule}_text[lazy]: {lark.ANY_TEXT} {end}")
            return f"{before} {rule}_text"
        return f"{before} {lark.ANY_TEXT} {end}"


def _arguments(tool: ToolSpec, *, only_strict: bool) -> dict[str, Any]:
    """The schema of a tool's arguments, which are an object whatever it says."""
    if tool.parameters is None or (only_strict and not tool.strict):
        return dict(_ANY_ARGUMENTS)
    try:
        plain = read_schema(tool.parameters)
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
