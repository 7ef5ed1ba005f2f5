"""Whether, and with which MCP tools, this server itself runs the tools of a chat."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from vllm_mlx.core.errors import InvalidRequest
from vllm_mlx.core.events import ServedEvent
from vllm_mlx.core.requests import ChatInput, GenerateRequest
from vllm_mlx.mcp.tools import OfferedTool
from vllm_mlx.server.openai.chat_decode import check_choice
from vllm_mlx.server.openai.chat_schema import ChatCompletionRequest
from vllm_mlx.service.port import ModelService
from vllm_mlx.service.tool_loop import ToolLoop


def answer(
    service: ModelService, tool_loop: ToolLoop | None, body: ChatCompletionRequest, request: GenerateRequest
) -> AsyncGenerator[ServedEvent, None]:
    """The events of a chat: of one turn, or with tools that run between turns.

    Raises:
        InvalidRequest: `mcp_tools` asks for what is not there, or for a request that it cannot go with, or
            `tool_choice` for a tool that is not there.
        Unavailable: it names a server that is not ready.
    """
    offered = _offered(tool_loop, body, request)
    if body.mcp_tools and isinstance(request.input, ChatInput):
        names = {tool.name for tool in request.input.tools} | {tool.name for tool in offered}
        check_choice(request.input.tool_choice, names)
    if not offered or tool_loop is None:
        return service.generate(request)
    return tool_loop.run(service.generate, request, offered, parallel=body.parallel_tool_calls is not False)


def _offered(
    tool_loop: ToolLoop | None, body: ChatCompletionRequest, request: GenerateRequest
) -> list[OfferedTool]:
    wanted = body.mcp_tools
    if wanted is None and tool_loop is not None and tool_loop.always:
        return _by_default(tool_loop, request)
    if not wanted:
        return []
    if tool_loop is None:
        raise InvalidRequest("mcp_tools: this server was started without --mcp-config", param="mcp_tools")
    return tool_loop.tools.select(None if wanted is True else wanted)


def _by_default(tool_loop: ToolLoop, request: GenerateRequest) -> list[OfferedTool]:
    """A request that did not ask for them is never refused because of them: its own wishes come first."""
    chat = request.input
    if not isinstance(chat, ChatInput) or chat.continue_final_message or request.sampling.n != 1:
        return []
    if chat.tool_choice.mode in ("none", "named"):
        return []
    own = {tool.name for tool in chat.tools}
    return [tool for tool in tool_loop.tools.select(None) if tool.name not in own]
