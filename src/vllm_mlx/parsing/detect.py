"""Which output format a model speaks, read off its chat template and never off its name."""

from __future__ import annotations

from vllm_mlx.parsing.format import OutputFormat
from vllm_mlx.parsing.registry import FORMATS


def detect_format(template: str | None) -> OutputFormat:
    """The format whose marks the template holds; of several, the one that asks for most.

    Args:
        template: the chat template's source; None for a model without one.

    Returns:
        `plain` where nothing fits: markup that nobody understands is shown as the model wrote it.
    """
    text = template or ""
    fitting = [fmt for fmt in map(FORMATS.get, FORMATS) if _speaks(text, fmt)]
    return max(fitting, key=lambda fmt: sum(map(len, fmt.requires)))


def _speaks(template: str, fmt: OutputFormat) -> bool:
    return all(mark in template for mark in fmt.requires) and not any(
        mark in template for mark in fmt.excludes
    )
