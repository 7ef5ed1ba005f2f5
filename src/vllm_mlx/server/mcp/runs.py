"""Whether, and with which MCP tools, this server itself runs the tools of a request; for all dialects."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from collections.abc import Set as AbstractSet
from typing import Final

import msgspec

from vllm_mlx.core.errors import InvalidRequest
from vllm_mlx.core.events import ServedEvent
from vllm_mlx.core.naming import listed, shorten
from vllm_mlx.core.requests import ChatInput, GenerateRequest
from vllm_mlx.core.tools import ToolChoice
from vllm_mlx.mcp.tools import OfferedTool
from vllm_mlx.service.port import ModelService
from vllm_mlx.service.tool_loop import ToolLoop, first_turn

_MAX_NAMES: Final = 1024
"""In `mcp_tools`; each is looked up while everyone waits."""


async def answer(
    service: ModelService,
    tool_loop: ToolLoop | None,
    request: GenerateRequest,
    wanted: bool | list[str] | None,
    *,
    between: str = "",
) -> AsyncGenerator[ServedEvent, None]:
    """The events of an answer: of one turn, or with tools that run between turns.

    Args:
        wanted: the request's `mcp_tools`.
        between: what parts the texts of two turns, where the dialect has one text for all of them.

    Raises:
        InvalidRequest: `mcp_tools` asks for what is not there, or for a request that it cannot go with, or
            `tool_choice` for a tool that is not there.
        Unavailable: it names a server that is not ready, or wants all and none is.
    """
    request, offered = await _completed(tool_loop, request, wanted)
    if not offered or tool_loop is None:
        return service.generate(request)
    return tool_loop.run(service.generate, request, offered, between=between)


async def first_chat(
    tool_loop: ToolLoop | None, request: GenerateRequest, wanted: bool | list[str] | None
) -> ChatInput:
    """The chat that the model reads first where `answer` gets the same, to be counted or shown.

    Args:
        request: with a chat.
        wanted: the request's `mcp_tools`.

    Raises:
        AppError: as `answer`.
    """
    request, offered = await _completed(tool_loop, request, wanted)
    chat = (first_turn(request, offered) if offered else request).input
    assert isinstance(chat, ChatInput)
    return chat


def may_add_tools(tool_loop: ToolLoop | None, wanted: bool | list[str] | None) -> bool:
    """Whether a request may get tools besides its own: then only `answer` knows what it can choose from.

    Args:
        wanted: the request's `mcp_tools`.
    """
    return bool(wanted) or (wanted is None and tool_loop is not None and tool_loop.always)


def check_choice(choice: ToolChoice, names: AbstractSet[str]) -> None:
    """Whether there is what must be called.

    Args:
        names: of all tools on offer.

    Raises:
        InvalidRequest: there is not.
    """
    if choice.mode == "required" and not names:
        raise InvalidRequest("tool_choice requires a call, but there are no tools", param="tool_choice")
    if choice.name is not None:
        check_known({choice.name}, names)


def check_known(wanted: AbstractSet[str], names: AbstractSet[str]) -> None:
    """Whether there are tools by these names.

    Raises:
        InvalidRequest: one is missing.
    """
    for name in sorted(wanted - names):
        raise InvalidRequest(
            f"tool_choice: there is no tool {shorten(name)!r}; the tools are: {listed(sorted(names))}",
            param="tool_choice",
        )


async def _completed(
    tool_loop: ToolLoop | None, request: GenerateRequest, wanted: bool | list[str] | None
) -> tuple[GenerateRequest, list[OfferedTool]]:
    """The request and the tools that this server adds, once its choice is known to be among them all.

    Of its own tools and of those only the allowed ones are left.
    """
    offered, chat = await _selected(tool_loop, request, wanted), request.input
    if not may_add_tools(tool_loop, wanted) or not isinstance(chat, ChatInput):
        return request, offered
    allowed = chat.tool_choice.allowed
    if allowed is not None:
        check_known(set(allowed), _names(chat, offered))
        offered = [tool for tool in offered if tool.name in allowed]
        left = tuple(tool for tool in chat.tools if tool.name in allowed)
        chat = msgspec.structs.replace(chat, tools=left)
        request = msgspec.structs.replace(request, input=chat)
    check_choice(chat.tool_choice, _names(chat, offered))
    return request, offered


def _names(chat: ChatInput, offered: Sequence[OfferedTool]) -> set[str]:
    return {tool.name for tool in chat.tools} | {tool.name for tool in offered}


async def _selected(
    tool_loop: ToolLoop | None, request: GenerateRequest, wanted: bool | list[str] | None
) -> list[OfferedTool]:
    if wanted is None and tool_loop is not None and tool_loop.always:
        return _by_default(tool_loop, request)
    if not wanted:
        return []
    if tool_loop is None:
        raise InvalidRequest("mcp_tools: this server was started without --mcp-config", param="mcp_tools")
    if wanted is not True and len(wanted) > _MAX_NAMES:
        raise InvalidRequest(f"mcp_tools: at most {_MAX_NAMES} names are allowed", param="mcp_tools")
    names = None if wanted is True else wanted
    await tool_loop.tools.settle(names)
    return tool_loop.tools.select(names)


def _by_default(tool_loop: ToolLoop, request: GenerateRequest) -> list[OfferedTool]:
    """A request that did not ask for them is never refused or held up because of them: its own wishes come
    first, so one that names a tool of its own gets no others."""
    chat = request.input
    if not isinstance(chat, ChatInput) or chat.continue_final_message or request.sampling.n != 1:
        return []
    own = {tool.name for tool in chat.tools}
    if chat.tool_choice.mode == "none" or chat.tool_choice.name in own:
        return []
    return [tool for tool in tool_loop.tools.tools() if tool.name not in own]
