"""Hermes, Qwen2.5 and Qwen3: think tags, and one JSON object with name and arguments a tool call."""

from __future__ import annotations

from vllm_mlx.parsing.format import OutputFormat, Tags

FORMAT = OutputFormat(
    name="hermes",
    reasoning=Tags("<think>", "</think>"),
    tool=Tags("<tool_call>", "</tool_call>"),
    body="json",
    requires=("<tool_call>", "arguments"),
    excludes=("<function=", "<parameter=", "<arg_key>"),
)
