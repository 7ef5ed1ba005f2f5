"""Reasoning between think tags and no tool calls, as the DeepSeek-R1 distillates write."""

from __future__ import annotations

from vllm_mlx.parsing.format import THINK, OutputFormat

FORMAT = OutputFormat(name="think", reasoning=THINK, requires=("<think>",))
