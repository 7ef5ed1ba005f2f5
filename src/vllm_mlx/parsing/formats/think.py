"""Reasoning between think tags and no tool calls, as the DeepSeek-R1 distillates write."""

from __future__ import annotations

from vllm_mlx.parsing.format import OutputFormat, Tags

FORMAT = OutputFormat(name="think", reasoning=Tags("<think>", "</think>"), requires=("<think>",))
