"""No markup: every character is the answer."""

from __future__ import annotations

from vllm_mlx.parsing.format import OutputFormat

FORMAT = OutputFormat(name="plain")
