"""Which output format a model speaks, read off its chat template and its config, never off its name."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from vllm_mlx.config import InvalidSetting
from vllm_mlx.parsing.format import OutputFormat
from vllm_mlx.parsing.registry import FORMATS
from vllm_mlx.registry import UnknownName

AUTO = "auto"


class Detected(NamedTuple):
    """A format, and what it was chosen by: "template", "config" or, where neither tells, "default"."""

    format: OutputFormat
    source: str


def detect_format(template: str | None, model_type: str = "") -> Detected:
    """The format whose marks the template holds; of several, the one that asks for most.

    Args:
        template: the chat template's source; None for a model without one.
        model_type: as config.json has it; it counts where the template shows no way of calling tools.

    Returns:
        `generic` where a template shows tools and no way of calling them that is known, and `plain` where
        nothing fits: markup that nobody understands is shown as the model wrote it.
    """
    formats = [FORMATS.get(name) for name in FORMATS]
    marks = {fmt.name: _marks(template or "", fmt) for fmt in formats}
    best = max((fmt for fmt in formats if marks[fmt.name]), key=lambda fmt: marks[fmt.name], default=None)
    if best is None or not best.calls:
        typed = next((fmt for fmt in formats if model_type and model_type in fmt.model_types), None)
        if typed is not None:
            return Detected(typed, "config")
        if template and "tools" in template:
            return Detected(FORMATS.get("generic"), "default")
    return Detected(best, "template") if best is not None else Detected(FORMATS.get("plain"), "default")


class Chosen(NamedTuple):
    """The format that a model is served with, and whose parts it has.

    Attributes:
        format: joined from the two parts.
        tools: the name of the format that reads calls, and what it was chosen by ("flag", "template",
            "config", "default").
        reasoning: the same of the thoughts; the name is None where none are told apart.
    """

    format: OutputFormat
    tools: tuple[str, str]
    reasoning: tuple[str | None, str]


def choose_format(
    template: str | None, model_type: str, *, tool_call_parser: str = AUTO, reasoning_parser: str = AUTO
) -> Chosen:
    """The detected format, with the parts that the command line names put in their place.

    Raises:
        InvalidSetting: no format has a name that is given, it has no thoughts to tell apart, or the format of
            the calls has its own way to tell them.
    """
    detected = detect_format(template, model_type)
    fmt, by = detected
    thinks_by = by
    thinker = fmt
    if tool_call_parser != AUTO:
        fmt, by = _named("tool_call_parser", tool_call_parser), "flag"
        if thinker.reasoning is None:
            thinker, thinks_by = fmt, by
    if reasoning_parser != AUTO:
        thinker, thinks_by = _thinker(reasoning_parser), "flag"
        _check_pair(fmt, thinker)
    joined = fmt
    if thinker is not fmt:
        joined = msgspec.structs.replace(
            fmt,
            reasoning=thinker.reasoning,
            channels=fmt.channels or thinker.channels,
            # Other families' calls are found beside those of channels.
            calls=fmt.calls if fmt.channels or not thinker.channels else (thinker.calls[0], *fmt.calls),
            dropped=tuple(dict.fromkeys((*fmt.dropped, *thinker.dropped))),
        )
    thoughts = None if joined.reasoning is None else thinker.name
    return Chosen(joined, (fmt.name, by), (thoughts, thinks_by))


def check_names(tool_call_parser: str, reasoning_parser: str) -> None:
    """See that both flags name formats that go together, before anything is loaded.

    Raises:
        InvalidSetting: they do not; where a name is none, the message lists those there are.
    """
    fmt = None if tool_call_parser == AUTO else _named("tool_call_parser", tool_call_parser)
    thinker = None if reasoning_parser == AUTO else _thinker(reasoning_parser)
    if fmt is not None and thinker is not None:
        _check_pair(fmt, thinker)


def _check_pair(fmt: OutputFormat, thinker: OutputFormat) -> None:
    """Channels tell apart what is thought, if anything is, and leave nothing to another format."""
    if fmt.channels and thinker is not fmt and (fmt.reasoning or thinker.reasoning):
        own = fmt.name if fmt.reasoning else "plain"
        raise InvalidSetting(
            "reasoning_parser",
            f"must be auto or {own} beside calls of {fmt.name}, where channels part the answer",
        )


def _named(setting: str, name: str) -> OutputFormat:
    try:
        return FORMATS.get(name)
    except UnknownName as error:
        known = f"must be auto or one of {', '.join(FORMATS)}, not {name!r}{FORMATS.hint(name)}"
        raise InvalidSetting(setting, known) from error


def _thinker(name: str) -> OutputFormat:
    """A format with thoughts, or `plain` for one who wants none told apart."""
    fmt = _named("reasoning_parser", name)
    if fmt.reasoning is None and fmt.name != "plain":
        raise InvalidSetting("reasoning_parser", f"{name!r} is a format without thoughts")
    return fmt


def _marks(template: str, fmt: OutputFormat) -> int:
    """How many characters the marks have that make the template speak this format; 0 if it does not."""
    if any(mark in template for mark in fmt.excludes):
        return 0
    sets = (fmt.requires, *fmt.or_requires)
    return max(sum(map(len, marks)) if all(mark in template for mark in marks) else 0 for marks in sets)
