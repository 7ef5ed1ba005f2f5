"""Instructions and items of a conversation, to the turns that the model reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from vllm_mlx.core.messages import Message, Part, Reasoning, Role, Text, ToolCall, ToolResult
from vllm_mlx.core.naming import listed, shorten
from vllm_mlx.server.media import TEXT_ONLY, placeholder
from vllm_mlx.server.responses.schema import ContentPart, InputItem
from vllm_mlx.server.responses.tools_decode import model_name, wrong
from vllm_mlx.server.signatures import unseal

T = TypeVar("T")

_MEDIA = frozenset({"input_image", "input_file", "input_audio", "computer_screenshot"})
_TEXTS = frozenset({"input_text", "output_text", "text", "reasoning_text", "summary_text"})
_BETWEEN = "\n\n"
"""Parts and items are paragraphs of their own; templates would glue them together."""


def decode_items(
    instructions: str | None, items: Sequence[InputItem], where: Sequence[str]
) -> tuple[Message, ...]:
    """The conversation.

    Neighbouring items of one side are one turn: thought, text and calls of the assistant; texts of the user;
    instructions and what system and developer say after them. Many templates allow no other form.

    Args:
        where: what to call each item in an error.

    Raises:
        InvalidRequest: no item at all, content other than text, or an output that answers no call.
    """
    if not items:
        raise wrong("input", "must not be empty")
    turns = _Turns()
    if instructions:
        turns.add("system", Text(instructions))
    calls: dict[str, bool] = {}
    for item, place in zip(items, where, strict=True):
        match item.type:
            case None | "message":
                _add_message(turns, item, place)
            case "reasoning":
                thought = _thought(item, place)
                if thought:
                    turns.add("assistant", Reasoning(thought))
            case "function_call":
                turns.add("assistant", _call(item, place, calls))
            case "function_call_output":
                turns.add("tool", _result(item, place, calls))
            case "mcp_call":
                call, result = _run(item, place, calls)
                turns.add("assistant", call)
                turns.add("tool", result)
            case kind:
                raise wrong(f"{place}.type", f"{shorten(kind)!r} is not supported")
    _all_answered(items, calls)
    return turns.messages()


class _Turns:
    """Turns while their parts come in."""

    def __init__(self) -> None:
        self._turns: list[tuple[Role, list[Part]]] = []
        self._has_text = False

    def add(self, role: Role, part: Part) -> None:
        if not self._turns or not _of_one_side(self._turns[-1][0], role):
            self._turns.append((role, []))
            self._has_text = False
        if isinstance(part, Text) and part.text:
            part = Text(_BETWEEN + part.text) if self._has_text else part
            self._has_text = True
        self._turns[-1][1].append(part)

    def messages(self) -> tuple[Message, ...]:
        return tuple(Message(role, tuple(parts)) for role, parts in self._turns)


_GUIDES = ("system", "developer")


def _of_one_side(one: Role, other: Role) -> bool:
    return one == other or (one in _GUIDES and other in _GUIDES)


def _add_message(turns: _Turns, item: InputItem, where: str) -> None:
    role: Role = _given(item.role, f"{where}.role")
    if item.content is None:
        raise wrong(f"{where}.content", "is missing")
    for text in _texts(item.content, f"{where}.content") or [""]:
        turns.add(role, Text(text))


def _thought(item: InputItem, where: str) -> str:
    """The thought itself, open or sealed; else its summary. What others have sealed cannot be read."""
    content = "".join(_texts(item.content or (), f"{where}.content"))
    sealed = unseal(item.encrypted_content or "") or ""
    return content or sealed or _BETWEEN.join(_texts(item.summary or (), f"{where}.summary"))


def _call(item: InputItem, where: str, calls: dict[str, bool]) -> ToolCall:
    call_id = _given(item.call_id, f"{where}.call_id")
    if call_id in calls:
        raise wrong(f"{where}.call_id", f"is {shorten(call_id)!r}, that of an earlier function_call")
    calls[call_id] = True
    name = model_name(item.namespace, _given(item.name, f"{where}.name"))
    return ToolCall(call_id, name, item.arguments or "{}")


def _run(item: InputItem, where: str, calls: dict[str, bool]) -> tuple[ToolCall, ToolResult]:
    """A call that this server ran in an earlier answer, and what came of it."""
    call_id = _given(item.id, f"{where}.id")
    if call_id in calls:
        raise wrong(f"{where}.id", f"is {shorten(call_id)!r}, that of an earlier call")
    calls[call_id] = False
    call = ToolCall(call_id, _given(item.name, f"{where}.name"), item.arguments or "{}")
    output, error = ran(item, where)
    return call, ToolResult(call_id, output or error or "")


def ran(item: InputItem, where: str) -> tuple[str, None] | tuple[None, str]:
    """What an `mcp_call` brought: its output, or why it failed.

    Raises:
        InvalidRequest: neither is there.
    """
    if item.output is not None:
        return _BETWEEN.join(_outputs(item.output, f"{where}.output")), None
    if item.error is None and item.status != "incomplete":
        raise wrong(f"{where}.output", "is missing")
    error = item.error
    if isinstance(error, dict):  # of the tool, of MCP, or of HTTP
        error = error.get("content") or error.get("message")
    return None, str(error or "")


def _result(item: InputItem, where: str, calls: dict[str, bool]) -> ToolResult:
    call_id = _given(item.call_id, f"{where}.call_id")
    given = shorten(call_id)
    if call_id not in calls:
        known = listed([one for one, waits in calls.items() if waits])
        unknown = f"is {given!r}, that of no earlier function_call"
        raise wrong(f"{where}.call_id", f"{unknown}; waiting are: {known}")
    if not calls[call_id]:
        raise wrong(f"{where}.call_id", f"is {given!r}, which has its function_call_output already")
    calls[call_id] = False
    if item.output is None:
        raise wrong(f"{where}.output", "is missing")
    return ToolResult(call_id, _BETWEEN.join(_outputs(item.output, f"{where}.output")))


def _all_answered(items: Sequence[InputItem], calls: dict[str, bool]) -> None:
    """Each call has its output, as OpenAI has it; one that was cut off cannot have been made."""
    for item in items:
        if item.type == "function_call" and item.status != "incomplete" and calls[item.call_id or ""]:
            call_id = shorten(item.call_id or "")
            raise wrong("input", f"holds no function_call_output for the function_call {call_id!r}")


def _outputs(output: str | Sequence[ContentPart], where: str) -> list[str]:
    if isinstance(output, str):
        return [output]
    return [unread_media(part) or _text(part, f"{where}[{i}]") for i, part in enumerate(output)]


def unread_media(part: ContentPart) -> str | None:
    """What stands for a part that is no text; None for one that is."""
    return placeholder(part.type.removeprefix("input_")) if part.type in _MEDIA else None


def _texts(content: str | Sequence[ContentPart], where: str) -> list[str]:
    if isinstance(content, str):
        return [content]
    return [_text(part, f"{where}[{i}]") for i, part in enumerate(content)]


def _text(part: ContentPart, where: str) -> str:
    if part.type in _MEDIA:
        raise wrong(f"{where}.type", f"is {part.type!r}, but {TEXT_ONLY}")
    if part.type == "refusal":
        return _present(part.refusal, f"{where}.refusal")
    if part.type not in _TEXTS:
        raise wrong(f"{where}.type", f"{shorten(part.type)!r} is not supported here")
    return _present(part.text, f"{where}.text")


def _present(text: str | None, field: str) -> str:
    if text is None:
        raise wrong(field, "is missing")
    return text


def _given(value: T | None, field: str) -> T:
    if value is None or value == "":
        raise wrong(field, "is missing")
    return value
