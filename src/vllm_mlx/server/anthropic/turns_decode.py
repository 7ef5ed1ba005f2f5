"""System prompt and turns of a messages request, to a conversation."""

from __future__ import annotations

from typing import Literal, NamedTuple

from vllm_mlx.core.messages import Message, Part, Reasoning, Text, ToolCall, ToolResult
from vllm_mlx.core.naming import listed, shorten
from vllm_mlx.server.anthropic.blocks_decode import BETWEEN, assistant_part, plain_text, user_part, wrong
from vllm_mlx.server.anthropic.messages_schema import CountTokensRequest, InputMessage

_Speaker = Literal["system", "user", "assistant"]

_BILLING = "x-anthropic-billing-header:"
"""Claude Code opens its system prompt with a line for Anthropic's accounts. It may differ each time, so that
no prefix of the prompt could be used again, and tells the model nothing."""


class Conversation(NamedTuple):
    """The turns, and those of them up to the caller's last cache mark (None without a mark)."""

    turns: tuple[Message, ...]
    cache_mark: tuple[Message, ...] | None


def decode_conversation(body: CountTokensRequest) -> Conversation:
    """The conversation. Consecutive turns of one role are one turn, as Anthropic has it.

    Raises:
        InvalidRequest: no turn at all, content other than text, or calls and results that do not match.
    """
    if not body.messages:
        raise wrong("messages", "must not be empty")
    reader = _Reader()
    reader.read_system(body)
    last_user = max((i for i, message in enumerate(body.messages) if message.role == "user"), default=-1)
    for i, message in enumerate(body.messages):
        cleared = message.role == "system" and message.clear_at == "next_user_message" and i < last_user
        if not cleared:
            reader.read(message, f"messages[{i}]")
    if body.cache_control is not None:
        reader.mark()
    return reader.conversation()


class _Reader:
    """Turns while they are read."""

    def __init__(self) -> None:
        self._turns: list[tuple[_Speaker, list[Part]]] = []
        self._calls = _Calls()
        # Turns before the one that holds the mark, and parts of that one up to it.
        self._mark: tuple[int, int] | None = None

    def read_system(self, body: CountTokensRequest) -> None:
        if isinstance(body.system, str):
            self._system(body.system)
        for i, block in enumerate(() if isinstance(body.system, str) else body.system or ()):
            self._system(plain_text(block, f"system[{i}]"))
            if block.cache_control is not None:
                self.mark()
        # Templates write tools and system prompt in one place: a mark on a tool ends with both.
        if self._mark is None and any(tool.cache_control is not None for tool in body.tools or ()):
            self.mark()

    def read(self, message: InputMessage, where: str) -> None:
        if message.clear_at is not None and message.role != "system":
            raise wrong(f"{where}.clear_at", "is for system turns alone")
        if message.role == "assistant" and self._turns and self._turns[-1][0] != "assistant":
            self._calls.all_answered(where, "follows a tool_use block whose tool_result is missing")
        if isinstance(message.content, str):
            self._add(message.role, Text(message.content))
            return
        self._enter(message.role)
        for i, block in enumerate(message.content):
            place = f"{where}.content[{i}]"
            match message.role:
                case "user":
                    part: Part | None = user_part(block, place)
                case "assistant":
                    part = assistant_part(block, place)
                case "system":
                    part = Text(plain_text(block, place))
            if part is not None:
                self._calls.note(part, place)
                # What this server ran in an answer stands in the answer; models read it as a turn between.
                self._add("user" if isinstance(part, ToolResult) else message.role, part)
            if block.cache_control is not None:
                self.mark()

    def mark(self) -> None:
        """All that was read so far is worth keeping."""
        self._mark = (len(self._turns) - 1, len(self._turns[-1][1])) if self._turns else (0, 0)

    def conversation(self) -> Conversation:
        if self._turns and self._turns[-1][0] != "assistant":
            self._calls.all_answered("messages", "end without the tool_result of a tool_use block")
        turns = [_message(speaker, parts) for speaker, parts in self._turns]
        return Conversation(_without_empty_prefill(turns), self._marked(turns))

    def _marked(self, turns: list[Message]) -> tuple[Message, ...] | None:
        if self._mark is None:
            return None
        whole, parts = self._mark
        last = [_message(speaker, all_[:parts]) for speaker, all_ in self._turns[whole : whole + 1]]
        return (*turns[:whole], *last)

    def _system(self, text: str) -> None:
        text = text.partition("\n")[2].lstrip("\n") if text.startswith(_BILLING) else text
        if text:
            self._add("system", Text(text))

    def _add(self, role: _Speaker, part: Part) -> None:
        parts = self._enter(role)
        if role == "system" and self._turns[-1][0] == "user" and isinstance(part, Text):
            part = Text(f"<system>\n{part.text}\n</system>")
        parts.append(part)

    def _enter(self, role: _Speaker) -> list[Part]:
        """The parts of the turn that goes on, or of a new one.

        Most templates take a system prompt at the beginning only, or drop a later one without a word: one in
        mid-conversation is told with the user's turn.
        """
        speaker = "user" if role == "system" and self._turns and self._turns[-1][0] != "system" else role
        if not self._turns or self._turns[-1][0] != speaker:
            self._turns.append((speaker, []))
        return self._turns[-1][1]


class _Calls:
    """Tool calls met so far: each id once, a result for each, and each result for a call."""

    def __init__(self) -> None:
        self._made: set[str] = set()
        self._open: dict[str, None] = {}

    def note(self, part: Part, where: str) -> None:
        if isinstance(part, ToolCall):
            if part.id in self._made:
                raise wrong(f"{where}.id", f"is {shorten(part.id)!r}, that of an earlier tool_use block")
            self._made.add(part.id)
            self._open[part.id] = None
        elif isinstance(part, ToolResult):
            given = shorten(part.call_id)
            if part.call_id not in self._made:
                unknown = f"is {given!r}, that of no earlier tool_use block"
                raise wrong(f"{where}.tool_use_id", f"{unknown}; waiting are: {listed(self._open)}")
            if part.call_id not in self._open:
                raise wrong(f"{where}.tool_use_id", f"is {given!r}, which has its tool_result already")
            del self._open[part.call_id]

    def all_answered(self, where: str, otherwise: str) -> None:
        """Between a call and the next answer of the assistant must stand its result."""
        if self._open:
            raise wrong(where, f"{otherwise}: {listed(self._open)}")


def _message(speaker: _Speaker, parts: list[Part]) -> Message:
    return Message(speaker, tuple(parts if speaker == "assistant" else _paragraphs(parts)))


def _without_empty_prefill(turns: list[Message]) -> tuple[Message, ...]:
    last = turns[-1]
    if last.role != "assistant":
        return tuple(turns)
    if any(isinstance(part, ToolCall) for part in last.parts):
        raise wrong("messages", "end with a tool_use block, whose tool_result is missing")
    if any(part.text for part in last.parts if isinstance(part, Text | Reasoning)):
        return tuple(turns)
    if len(turns) == 1:
        raise wrong("messages", "have no content")
    return tuple(turns[:-1])


def _paragraphs(parts: list[Part]) -> list[Part]:
    """Neighbouring texts as one, with space between them."""
    joined: list[list[str] | ToolResult] = []
    for part in parts:
        if not isinstance(part, Text):
            assert isinstance(part, ToolResult)
            joined.append(part)
        elif joined and isinstance(joined[-1], list):
            joined[-1].append(part.text)
        else:
            joined.append([part.text])
    return [Text(BETWEEN.join(item)) if isinstance(item, list) else item for item in joined]
