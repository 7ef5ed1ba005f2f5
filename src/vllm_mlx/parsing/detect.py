"""Which output format a model speaks, read off its chat template and its config, never off its name."""

from __future__ import annotations

from typing import NamedTuple

from vllm_mlx.parsing.format import OutputFormat
from vllm_mlx.parsing.registry import FORMATS


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
        `plain` where nothing fits: markup that nobody understands is shown as the model wrote it.
    """
    formats = [FORMATS.get(name) for name in FORMATS]
    fitting = [fmt for fmt in formats if _speaks(template or "", fmt)]
    best = max(fitting, key=lambda fmt: sum(map(len, fmt.requires)), default=None)
    if best is None or not best.calls:
        typed = next((fmt for fmt in formats if model_type and model_type in fmt.model_types), None)
        if typed is not None:
            return Detected(typed, "config")
    return Detected(best, "template") if best is not None else Detected(FORMATS.get("plain"), "default")


def _speaks(template: str, fmt: OutputFormat) -> bool:
    return (
        bool(fmt.requires)
        and all(mark in template for mark in fmt.requires)
        and not any(mark in template for mark in fmt.excludes)
    )
