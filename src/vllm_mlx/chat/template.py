"""A conversation to a prompt, through the model's chat template."""

from __future__ import annotations

import inspect
from typing import NamedTuple

import msgspec
from jinja2.exceptions import SecurityError, TemplateError, TemplateSyntaxError, UndefinedError
from transformers import PreTrainedTokenizerBase

from vllm_mlx.chat.render import message_dicts, tool_dicts
from vllm_mlx.chat.tokenizer import Tokenizer
from vllm_mlx.chat.wordings import (
    CallWriter,
    Wording,
    alternating,
    arguments_as_text,
    calls_as_content,
    results_are_lost,
    shown_by_python,
    tools_as_content,
    with_thoughts_for,
    wordings,
)
from vllm_mlx.core.errors import ContextOverflow, InvalidRequest, ModelLoadError
from vllm_mlx.core.messages import Message, Text, ToolCall, ToolResult
from vllm_mlx.core.requests import ChatInput
from vllm_mlx.core.tools import ToolSpec

_MAX_REASON = 300
MAX_VARIABLES = 256

# What a request may not set: arguments of the library's own function (`tokenize` and `chat_template` among
# them: CVE-2025-62426), and names that the sandbox gives to every template. `documents` is meant for callers.
_RESERVED = (
    frozenset(inspect.signature(PreTrainedTokenizerBase.apply_chat_template).parameters)
    | {"messages", "conversations", "compiled_template", "args"}
    | {"raise_exception", "strftime_now", "namespace", "dict", "range", "lipsum", "cycler", "joiner", "loop"}
) - {"documents"}

_FALLBACK_ROLES = {"system": "System", "developer": "System", "user": "User", "assistant": "Assistant"}


class Prompt(NamedTuple):
    """A rendered conversation.

    Attributes:
        text: what the template wrote.
        token_ids: the same as the model reads it.
        thinking: the text ends inside an open reasoning block, so that the model goes on thinking.
    """

    text: str
    token_ids: list[int]
    thinking: bool


class ChatTemplate:
    """Renders conversations for one model; any thread may call it.

    A model without a template gets lines of "User: ..." and "Assistant: ...", and no tools. Control tokens
    that a message spells out are read as control tokens, as the Hugging Face convention has it. A template
    that refuses the conversation gets it in plainer words (see `chat.wordings`) before the caller gets the
    refusal. Time and size are the caller's to bound.

    Args:
        tokenizer: the model's.
        reasoning_tags: open and close tag of the thought, where the output format has them.
        write_calls: writes earlier calls into the text of a template that has no place for them.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        reasoning_tags: tuple[str, str] | None = None,
        write_calls: CallWriter | None = None,
    ) -> None:
        self._tokenizer = tokenizer
        self._tags = reasoning_tags
        self._write_calls = write_calls

    @property
    def source(self) -> str | None:
        """The template's text (the one for tools, if there are two); None without a template."""
        return self._tokenizer.chat_template(tools=True)

    def render(self, chat: ChatInput, context_tokens: int | None = None) -> Prompt:
        """Render and tokenise.

        Args:
            context_tokens: a conversation far longer is refused before it is worked on.

        Raises:
            InvalidRequest: the conversation is empty, a reserved variable is set, or the template refuses.
            ContextOverflow: the conversation is far longer than `context_tokens`.
            ModelLoadError: the template itself is broken.
        """
        self._check(chat)
        if context_tokens is not None and len(chat.messages) > context_tokens:
            raise ContextOverflow(
                f"This model's context is {context_tokens} tokens, but the conversation has "
                f"{len(chat.messages)} messages.",
                param="messages",
            )
        source = self._source(chat)
        text = self._text(chat, source, opens_turn=not chat.continue_final_message)
        ids = self._tokenizer.encode(
            text, add_special_tokens=source is None, context_tokens=context_tokens, param="messages"
        )
        return Prompt(text, ids, self._ends_thinking(chat, text))

    def marked_tokens(self, chat: ChatInput, prompt: Prompt) -> int:
        """Tokens of the prompt up to the caller's cache mark; 0 without one.

        The marked part is rendered as a conversation of its own, and the mark lies where the two texts part.
        Where the template cannot write that part alone, it is 0 too.

        Args:
            prompt: what `render` made of the conversation.
        """
        if chat.cache_mark is None:
            return 0
        marked = chat.cache_mark
        if all(message.role == "system" for message in marked):
            marked = (*marked, Message("user", (Text(""),)))  # most templates want somebody to speak
        alone = msgspec.structs.replace(chat, messages=marked, continue_final_message=False)
        try:
            text = self._text(alone, self._source(chat), opens_turn=False)
        except InvalidRequest:
            return 0
        rest = prompt.text[_common_chars(text, prompt.text) :]
        return max(0, len(prompt.token_ids) - len(self._tokenizer.encode(rest, add_special_tokens=False)))

    def _source(self, chat: ChatInput) -> str | None:
        return self._tokenizer.chat_template(tools=bool(_offered(chat)))

    def _text(self, chat: ChatInput, source: str | None, *, opens_turn: bool) -> str:
        tools = tool_dicts(_offered(chat))
        if source is None:
            return self._fallback(chat, bool(tools), opens_turn)
        turns = message_dicts(chat.messages, developer_role="developer" in source)
        turns = with_thoughts_for(turns, source)
        if self._write_calls is not None and "tool_calls" not in source:
            turns = calls_as_content(turns, self._write_calls)
        if self._write_calls is not None and tools and "tools" not in source:
            turns = tools_as_content(turns, tools, self._write_calls)
        return self._render(chat, Wording(turns, tools or None), source, opens_turn=opens_turn)

    def thinking_open(self, prompt: str) -> bool:
        """Whether a rendered prompt ends right after an opened reasoning tag."""
        return self._tags is not None and prompt.rstrip().endswith(self._tags[0])

    def _check(self, chat: ChatInput) -> None:
        if not chat.messages:
            raise InvalidRequest("messages must not be empty", param="messages")
        if len(chat.template_kwargs) > MAX_VARIABLES:
            raise InvalidRequest(
                f"chat_template_kwargs may hold at most {MAX_VARIABLES} variables",
                param="chat_template_kwargs",
            )
        for name in chat.template_kwargs:
            if not isinstance(name, str) or name in _RESERVED or name.startswith("_"):
                raise InvalidRequest(
                    f"chat_template_kwargs may not set {str(name)[:40]!r}", param="chat_template_kwargs"
                )
        if chat.continue_final_message:
            last = chat.messages[-1]
            if last.role != "assistant" or any(isinstance(p, ToolCall | ToolResult) for p in last.parts):
                raise InvalidRequest(
                    "continue_final_message needs a last message of the assistant without tool calls",
                    param="messages",
                )

    def _render(self, chat: ChatInput, usual: Wording, source: str, *, opens_turn: bool) -> str:
        refusal: InvalidRequest | None = None
        for wording in wordings(usual):
            try:
                text = self._apply(chat, wording, source, opens_turn=opens_turn)
                if results_are_lost(wording.turns, source, text):
                    wording = wording._replace(turns=alternating(wording.turns))
                    text = self._apply(chat, wording, source, opens_turn=opens_turn)
                if shown_by_python(wording.turns, text):
                    wording = wording._replace(turns=arguments_as_text(wording.turns))
                    text = self._apply(chat, wording, source, opens_turn=opens_turn)
                return text
            except InvalidRequest as error:
                refusal = refusal or error
        assert refusal is not None
        raise refusal

    def _apply(self, chat: ChatInput, wording: Wording, source: str, *, opens_turn: bool) -> str:
        variables = dict(chat.template_kwargs)
        if wording.tools and "xml_tools" in source and not variables.keys() & {"xml_tools", "python_tools"}:
            # SmolLM3 has two kinds of tools, each with a name of its own, and hides those in `tools`.
            variables["xml_tools"] = wording.tools
        try:
            return self._tokenizer.apply_template(
                wording.turns,
                tools=wording.tools,
                add_generation_prompt=opens_turn,
                continue_final_message=_continued_field(chat),
                variables=variables,
            )
        except TemplateSyntaxError as error:
            raise ModelLoadError("The model's chat template has a syntax error.") from error
        except (UndefinedError, SecurityError) as error:
            raise _refused("it asks for something that the conversation does not have") from error
        except TemplateError as error:  # the template's own raise_exception
            raise _refused(_bounded(str(error))) from error
        except (
            TypeError,
            ValueError,
            LookupError,
            AttributeError,
            ArithmeticError,
            RecursionError,
        ) as error:
            raise _refused(f"it failed with {type(error).__name__}") from error

    def _fallback(self, chat: ChatInput, tools: bool, opens_turn: bool) -> str:
        if tools:
            raise InvalidRequest(
                "The model has no chat template and so cannot be given tools.", param="tools"
            )
        lines = [
            f"{_FALLBACK_ROLES.get(turn['role'], 'Tool')}: {turn['content']}"
            for turn in message_dicts(chat.messages, developer_role=False)
        ]
        if opens_turn:
            lines.append("Assistant:")
        return "\n".join(lines)

    def _ends_thinking(self, chat: ChatInput, prompt: str) -> bool:
        if self._tags is None:
            return False
        field = _continued_field(chat)
        if field == "content":
            said = chat.messages[-1].text()
            if said:
                return said.rfind(self._tags[0]) > said.rfind(self._tags[1])
        return field == "reasoning_content" or self.thinking_open(prompt)


def _offered(chat: ChatInput) -> tuple[ToolSpec, ...]:
    """`none` promises that no tool is called; a model that sees none can keep that promise."""
    return chat.tools if chat.tool_choice.mode != "none" else ()


def _common_chars(one: str, other: str) -> int:
    """How many characters two texts share from their beginning; halving is much faster than walking."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _continued_field(chat: ChatInput) -> str | bool:
    """Which part of the last message goes on: its thought, if it has not begun to answer."""
    if not chat.continue_final_message:
        return False
    parts = chat.messages[-1].parts
    return "content" if not parts or any(isinstance(part, Text) for part in parts) else "reasoning_content"


def _refused(reason: str) -> InvalidRequest:
    return InvalidRequest(f"The model's chat template refused the conversation: {reason}", param="messages")


def _bounded(text: str) -> str:
    """A template's message in one short printable line."""
    line = "".join(char if char.isprintable() else " " for char in text[: 2 * _MAX_REASON])
    return line if len(line) <= _MAX_REASON else line[: _MAX_REASON - 3] + "..."
