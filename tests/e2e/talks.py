"""A conversation with tools through each official client, told in one form: who says what, and calls what."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import anthropic
import openai

Schema = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Call:
    """A tool that the model calls."""

    id: str
    name: str
    arguments: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Result:
    """What a call gave, or how it failed."""

    call: Call
    text: str
    failed: bool = False


@dataclass(frozen=True, slots=True)
class Said:
    """One answer of the model."""

    text: str
    thought: str
    calls: list[Call]
    waits: bool
    """Whether its finish reason says that it waits for results."""


class Talk(Protocol):
    """A conversation that a client keeps."""

    def ask(self, prompt: str) -> Said: ...
    def tell(self, results: Sequence[Result]) -> Said: ...


@dataclass
class ChatTalk:
    """OpenAI's chat completions."""

    client: openai.OpenAI
    tools: dict[str, Schema]
    streamed: bool
    thinking: bool
    messages: list[Any] = field(default_factory=list)

    def ask(self, prompt: str) -> Said:
        self.messages.append({"role": "user", "content": prompt})
        return self._answer()

    def tell(self, results: Sequence[Result]) -> Said:
        self.messages += [{"role": "tool", "tool_call_id": r.call.id, "content": r.text} for r in results]
        return self._answer()

    def _answer(self) -> Said:
        fields: Any = {
            "model": "default",
            "messages": self.messages,
            "tools": [
                {"type": "function", "function": {"name": name, "parameters": schema}}
                for name, schema in self.tools.items()
            ],
            "extra_body": {"enable_thinking": self.thinking},
        }
        if self.streamed:
            with self.client.chat.completions.stream(**fields) as stream:
                choice: Any = stream.get_final_completion().choices[0]
        else:
            choice = self.client.chat.completions.create(**fields).choices[0]
        message = choice.message
        self.messages.append(message.model_dump(exclude_none=True, exclude={"parsed"}))
        return Said(
            text=message.content or "",
            thought=getattr(message, "reasoning_content", None) or "",
            calls=[
                Call(call.id, call.function.name, json.loads(call.function.arguments))
                for call in message.tool_calls or []
            ],
            waits=choice.finish_reason == "tool_calls",
        )


@dataclass
class ResponsesTalk:
    """OpenAI's Responses: a whole answer is gone on from by its id, a streamed one is sent back."""

    client: openai.OpenAI
    tools: dict[str, Schema]
    streamed: bool
    thinking: bool
    items: list[Any] = field(default_factory=list)
    previous: str | None = None

    def ask(self, prompt: str) -> Said:
        return self._answer([{"role": "user", "content": prompt}])

    def tell(self, results: Sequence[Result]) -> Said:
        return self._answer(
            [{"type": "function_call_output", "call_id": r.call.id, "output": r.text} for r in results]
        )

    def _answer(self, new: list[Any]) -> Said:
        self.items += new
        fields: Any = {
            "model": "default",
            "tools": [
                {"type": "function", "name": name, "parameters": schema, "strict": False}
                for name, schema in self.tools.items()
            ],
            "reasoning": {"effort": "medium" if self.thinking else "none", "summary": "auto"},
        }
        if self.streamed:
            with self.client.responses.stream(input=self.items, store=False, **fields) as stream:
                answer: Any = stream.get_final_response()
            self.items += [item.to_dict() for item in answer.output]
        else:
            answer = self.client.responses.create(input=new, previous_response_id=self.previous, **fields)
            self.previous = answer.id
        calls = [item for item in answer.output if item.type == "function_call"]
        thoughts = [item for item in answer.output if item.type == "reasoning"]
        assert answer.status == "completed"
        return Said(
            text=answer.output_text,
            thought="".join(part.text for item in thoughts for part in item.summary),
            calls=[Call(item.call_id, item.name, json.loads(item.arguments)) for item in calls],
            waits=bool(calls),
        )


@dataclass
class MessagesTalk:
    """Anthropic's messages."""

    client: anthropic.Anthropic
    tools: dict[str, Schema]
    streamed: bool
    thinking: bool
    messages: list[Any] = field(default_factory=list)

    def ask(self, prompt: str) -> Said:
        return self._answer([{"type": "text", "text": prompt}])

    def tell(self, results: Sequence[Result]) -> Said:
        return self._answer(
            [
                {
                    "type": "tool_result",
                    "tool_use_id": result.call.id,
                    "content": result.text,
                    "is_error": result.failed,
                }
                for result in results
            ]
        )

    def _answer(self, blocks: list[Any]) -> Said:
        self.messages.append({"role": "user", "content": blocks})
        fields: Any = {
            "model": "claude-anything",
            "max_tokens": 2048,
            "messages": self.messages,
            "tools": [{"name": name, "input_schema": schema} for name, schema in self.tools.items()],
            "thinking": {"type": "adaptive" if self.thinking else "disabled"},
        }
        if self.streamed:
            with self.client.messages.stream(**fields) as stream:
                message: Any = stream.get_final_message()
        else:
            message = self.client.messages.create(**fields)
        self.messages.append({"role": "assistant", "content": message.content})
        content = message.content
        return Said(
            text="".join(block.text for block in content if block.type == "text"),
            thought="".join(block.thinking for block in content if block.type == "thinking"),
            calls=[Call(block.id, block.name, block.input) for block in content if block.type == "tool_use"],
            waits=message.stop_reason == "tool_use",
        )


TALKS: dict[str, Callable[..., Talk]] = {
    "chat": ChatTalk,
    "responses": ResponsesTalk,
    "messages": MessagesTalk,
}
