"""Messages and tools as the plain dicts that Hugging Face chat templates read."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

from vllm_mlx.core.errors import InvalidRequest
from vllm_mlx.core.messages import Message, Part, Reasoning, Text, ToolCall, ToolResult
from vllm_mlx.core.structure import check_structure
from vllm_mlx.core.tools import ToolSpec


def message_dicts(messages: Iterable[Message], *, developer_role: bool) -> list[dict[str, Any]]:
    """The conversation for a template; no value in it is None.

    A turn with tool results becomes one `tool` turn a result. A result without a name takes the one of the
    call it answers.

    Args:
        developer_role: the template knows `developer`; elsewhere it is called `system`.

    Raises:
        InvalidRequest: the arguments of a tool call nest too deep or hold too many values.
    """
    names: dict[str, str] = {}
    out: list[dict[str, Any]] = []
    for message in messages:
        names.update((part.id, part.name) for part in message.parts if isinstance(part, ToolCall))
        for turn in _turns(message.parts):
            if isinstance(turn, ToolResult):
                out.append(_result_dict(turn, names))
            else:
                out.append(_turn_dict(message, turn, developer_role))
    return out


def tool_dicts(tools: Iterable[ToolSpec]) -> list[dict[str, Any]]:
    """Function tools in OpenAI's shape. A function without parameters gets an empty object schema."""
    return [{"type": "function", "function": _function_dict(tool)} for tool in tools]


def _turns(parts: Sequence[Part]) -> list[ToolResult | list[Part]]:
    turns: list[ToolResult | list[Part]] = []
    for part in parts:
        if isinstance(part, ToolResult):
            turns.append(part)
        elif turns and isinstance(turns[-1], list):
            turns[-1].append(part)
        else:
            turns.append([part])
    return turns or [[]]


def _turn_dict(message: Message, parts: list[Part], developer_role: bool) -> dict[str, Any]:
    role = "system" if message.role == "developer" and not developer_role else message.role
    # Templates add strings to the content without asking: an empty text is safer than none.
    turn: dict[str, Any] = {"role": role, "content": _joined(parts, Text)}
    if message.name is not None:
        turn["name"] = message.name
    reasoning = _joined(parts, Reasoning)
    if reasoning:
        turn["reasoning_content"] = reasoning
    calls = [_call_dict(part) for part in parts if isinstance(part, ToolCall)]
    if calls:
        turn["tool_calls"] = calls
    return turn


def _joined(parts: list[Part], kind: type[Text] | type[Reasoning]) -> str:
    return "".join(part.text for part in parts if isinstance(part, kind))


def _result_dict(result: ToolResult, names: dict[str, str]) -> dict[str, Any]:
    turn = {"role": "tool", "content": result.text, "tool_call_id": result.call_id}
    name = result.name if result.name is not None else names.get(result.call_id)
    return turn if name is None else {**turn, "name": name}


def _call_dict(call: ToolCall) -> dict[str, Any]:
    function = {"name": call.name, "arguments": _arguments(call.arguments)}
    return {"type": "function", "id": call.id, "function": function}


def _arguments(text: str) -> Any:
    """The arguments as an object, which templates write in their own way; the text if they are none."""
    if not text.lstrip().startswith("{"):
        return text
    try:
        # They came as a text: the bounds of the body that held them have not seen what is in it.
        check_structure(text.encode(errors="replace"))
    except InvalidRequest as error:
        raise InvalidRequest(
            f"The arguments of a tool call are refused: {error.message}", param="messages", code=error.code
        ) from None
    try:
        value = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return text
    return value if isinstance(value, dict) else text


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _function_dict(tool: ToolSpec) -> dict[str, Any]:
    function: dict[str, Any] = {"name": tool.name}
    if tool.description is not None:
        function["description"] = tool.description
    function["parameters"] = (
        {"type": "object", "properties": {}} if tool.parameters is None else tool.parameters
    )
    if tool.strict:
        function["strict"] = True
    return function
