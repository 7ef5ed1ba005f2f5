"""Tools of a messages request, and whether the model must call one."""

from __future__ import annotations

from vllm_mlx.core.errors import InvalidRequest
from vllm_mlx.core.naming import listed, repeated, shorten
from vllm_mlx.core.tools import ToolChoice, ToolSpec
from vllm_mlx.server.anthropic.blocks_decode import wrong
from vllm_mlx.server.anthropic.client_tools import known_tool
from vllm_mlx.server.anthropic.messages_schema import InputTool, ToolChoiceField

MAX_TOOLS = 1024


def decode_tools(tools: list[InputTool]) -> tuple[ToolSpec, ...]:
    """The functions on offer.

    Raises:
        InvalidRequest: too many, two of one name, or one that this server would have to run.
    """
    if len(tools) > MAX_TOOLS:
        raise InvalidRequest(f"at most {MAX_TOOLS} tools are allowed", param="tools")
    specs = tuple(_tool(tool, f"tools[{i}]") for i, tool in enumerate(tools))
    twice = repeated(spec.name for spec in specs)
    if twice is not None:
        raise wrong("tools", f"must have names of their own; two are {shorten(twice)!r}")
    return specs


def decode_choice(
    choice: ToolChoiceField | None, tools: tuple[ToolSpec, ...], *, more: bool = False
) -> ToolChoice:
    """Whether tools may or must be called.

    Args:
        more: there may be others than these, so that the choice is not checked here.

    Raises:
        InvalidRequest: the tool that must be called is not on offer.
    """
    if choice is None or choice.type == "auto":
        return ToolChoice("auto")
    if choice.type == "none":
        return ToolChoice("none")
    if not tools and not more:
        raise wrong("tool_choice", f"of type {choice.type!r} needs tools")
    if choice.type == "any":
        return ToolChoice("required")
    if not choice.name:
        raise wrong("tool_choice.name", "is missing")
    names = [tool.name for tool in tools]
    if not more and choice.name not in names:
        raise wrong("tool_choice.name", f"is {shorten(choice.name)!r}, but the tools are: {listed(names)}")
    return ToolChoice("named", choice.name)


def one_call_at_most(choice: ToolChoiceField | None) -> bool:
    """Whether the client wants no second tool call in one answer."""
    return choice is not None and bool(choice.disable_parallel_tool_use)


def _tool(tool: InputTool, where: str) -> ToolSpec:
    if tool.type not in (None, "custom"):
        known = known_tool(tool.type or "")
        if known is None:
            reason = "is not a tool of this server; a tool that your program runs can be described as custom"
            raise wrong(f"{where}.type", f"{shorten(tool.type or '')!r} {reason}")
        return known
    if not tool.name:
        raise wrong(f"{where}.name", "is missing")
    if tool.input_schema is None:
        raise wrong(f"{where}.input_schema", "is missing")
    return ToolSpec(
        name=tool.name, description=tool.description, parameters=tool.input_schema, strict=bool(tool.strict)
    )
