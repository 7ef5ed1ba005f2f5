"""Hermes, Qwen2.5 and Qwen3: think tags, and one JSON object with name and arguments a tool call."""

from __future__ import annotations

from vllm_mlx.parsing.format import THINK, OutputFormat
from vllm_mlx.parsing.syntax import JsonCalls

CALLS = JsonCalls(call_open="<tool_call>\n", call_close="\n</tool_call>", separator="\n")

FORMAT = OutputFormat(
    name="hermes",
    reasoning=THINK,
    calls=(CALLS,),
    requires=("<tool_call>", "arguments"),
    excludes=("<function=", "<parameter=", "<arg_key>", "]<]minimax[>["),
)
