"""The table of output formats; the names are what the command line accepts."""

from __future__ import annotations

from vllm_mlx.parsing.format import OutputFormat
from vllm_mlx.registry import Registry

_HERE = "vllm_mlx.parsing.formats"

FORMATS: Registry[OutputFormat] = Registry(
    "output format",
    {
        "hermes": f"{_HERE}.hermes:FORMAT",
        "qwen": f"{_HERE}.hermes:FORMAT",
        "qwen3": f"{_HERE}.hermes:FORMAT",
        "think": f"{_HERE}.think:FORMAT",
        "deepseek_r1": f"{_HERE}.think:FORMAT",
        "plain": f"{_HERE}.plain:FORMAT",
    },
)
