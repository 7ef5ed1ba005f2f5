"""Tools on offer and the choice among them; namespaces, flat for the model, are unfolded in its calls."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from vllm_mlx.core.errors import InvalidRequest
from vllm_mlx.core.naming import listed, repeated, shorten
from vllm_mlx.core.tools import ToolChoice, ToolSpec
from vllm_mlx.server.responses import wire
from vllm_mlx.server.responses.schema import (
    MAX_TOOLS,
    CountInputRequest,
    FunctionTool,
    InputTool,
    ToolChoiceObject,
    ToolName,
)

_BETWEEN = "__"
"""Between a namespace and a name; a function's name may hold letters, digits, `_` and `-` only."""


_NO_NAME = "is missing; in this API a function's name stands beside its type"


class Toolbox(msgspec.Struct, frozen=True):
    """What the model may call, and how its calls are named to the client.

    Attributes:
        specs: the functions, as the model sees them.
        choice: whether it must call one.
        names: a name as the model knows it, to namespace and name as the client does.
    """

    specs: tuple[ToolSpec, ...]
    choice: ToolChoice
    names: dict[str, tuple[str, str]]

    def client_name(self, name: str) -> tuple[str | None, str]:
        """Namespace, if it has one, and name of a function that the model called."""
        return self.names.get(name, (None, name))


def decode_tools(body: CountInputRequest, *, more: bool = False) -> Toolbox:
    """The tools of a request.

    Args:
        more: there may be others than these, so that the choice is not checked here.

    Raises:
        InvalidRequest: a tool that this server has not, two of one name, or a choice of what is not on offer.
    """
    specs: list[ToolSpec] = []
    names: dict[str, tuple[str, str]] = {}
    for i, tool in enumerate(body.tools or ()):
        where = f"tools[{i}]"
        if tool.type == "namespace":
            for name, spec in _namespace(tool, where):
                names[spec.name] = name
                specs.append(spec)
        else:
            specs.append(_function(tool, where))
    if len(specs) > MAX_TOOLS:
        raise wrong("tools", f"hold more than {MAX_TOOLS} functions")
    twice = repeated(spec.name for spec in specs)
    if twice is not None:
        raise wrong("tools", f"must have names of their own; two are {shorten(twice)!r}")
    return _choose(body.tool_choice, tuple(specs), names, more=more)


def model_name(namespace: str | None, name: str) -> str:
    """A function's name as the model knows it."""
    return name if namespace is None else namespace + _BETWEEN + name


def echoed(tools: Sequence[InputTool] | None) -> list[wire.FunctionTool | wire.NamespaceTool]:
    """The tools as an answer repeats them."""
    return [
        wire.NamespaceTool(tool.name, tool.description or "", tuple(map(_echoed_function, tool.tools or ())))
        if tool.type == "namespace"
        else _echoed_function(tool)
        for tool in tools or ()
    ]


def _echoed_function(tool: FunctionTool) -> wire.FunctionTool:
    return wire.FunctionTool(tool.name, tool.description, tool.parameters, bool(tool.strict))


def _namespace(tool: InputTool, where: str) -> list[tuple[tuple[str, str], ToolSpec]]:
    if not tool.name:
        raise wrong(f"{where}.name", "is missing")
    found = []
    for i, function in enumerate(tool.tools or ()):
        spec = _function(function, f"{where}.tools[{i}]")
        flat = msgspec.structs.replace(spec, name=model_name(tool.name, spec.name))
        found.append(((tool.name, spec.name), flat))
    return found


def _function(tool: FunctionTool, where: str) -> ToolSpec:
    _refuse_others(tool.type, where)
    if not tool.name:
        raise wrong(f"{where}.name", _NO_NAME)
    return ToolSpec(
        name=tool.name, description=tool.description, parameters=tool.parameters, strict=bool(tool.strict)
    )


def _refuse_others(kind: str, where: str) -> None:
    if kind == "custom":
        raise wrong(f"{where}.type", "is 'custom'; tools of free text are not supported: make it a function")
    if kind == "mcp":
        raise wrong(
            f"{where}.type",
            "is 'mcp', but this server connects to no MCP servers for a request; "
            "the field mcp_tools offers the tools of its own",
        )
    if kind != "function":
        raise wrong(
            f"{where}.type",
            f"is {shorten(kind)!r}; this server has no tools of its own: leave it out, "
            "or describe what your program can do as a function",
        )


def _choose(
    choice: str | ToolChoiceObject | None,
    specs: tuple[ToolSpec, ...],
    names: dict[str, tuple[str, str]],
    *,
    more: bool,
) -> Toolbox:
    if isinstance(choice, ToolChoiceObject):
        if choice.type == "allowed_tools":
            return _among(choice, specs, names, more=more)
        name = _named(choice, "tool_choice") if more else _offered(choice, specs, "tool_choice")
        return Toolbox(specs, ToolChoice("named", name), names)
    if choice in ("required", "any"):
        return Toolbox(specs, ToolChoice("required") if more else _required(specs), names)
    return Toolbox(specs, ToolChoice("none" if choice == "none" else "auto"), names)


def _among(
    choice: ToolChoiceObject, specs: tuple[ToolSpec, ...], names: dict[str, tuple[str, str]], *, more: bool
) -> Toolbox:
    """The model sees the allowed tools alone: what it does not know it cannot call."""
    if choice.mode is None:
        raise wrong("tool_choice.mode", "is missing")
    places = [(tool, f"tool_choice.tools[{i}]") for i, tool in enumerate(choice.tools or ())]
    named = {_named(tool, at) if more else _offered(tool, specs, at) for tool, at in places}
    if more:
        return Toolbox(specs, ToolChoice(choice.mode, allowed=tuple(sorted(named))), names)
    left = tuple(spec for spec in specs if spec.name in named)
    return Toolbox(left, _required(left) if choice.mode == "required" else ToolChoice("auto"), names)


def _required(specs: tuple[ToolSpec, ...]) -> ToolChoice:
    if not specs:
        raise wrong("tool_choice", "is 'required', but there are no tools")
    return ToolChoice("required")


def _named(tool: ToolName, where: str) -> str:
    _refuse_others(tool.type, where)
    if not tool.name:
        raise wrong(f"{where}.name", _NO_NAME)
    return model_name(tool.namespace, tool.name)


def _offered(tool: ToolName, specs: tuple[ToolSpec, ...], where: str) -> str:
    name = _named(tool, where)
    names = [spec.name for spec in specs]
    if name not in names:
        raise wrong(f"{where}.name", f"is {shorten(name)!r}, but the functions in tools are: {listed(names)}")
    return name


def wrong(field: str, reason: str) -> InvalidRequest:
    """The error about a field."""
    return InvalidRequest(f"{field} {reason}", param=field)
