"""Tencent Hunyuan A13B: a JSON list between tags, and the answer in an answer element."""

from __future__ import annotations

from vllm_mlx.parsing.format import THINK, OutputFormat
from vllm_mlx.parsing.syntax import JsonCalls

CALLS = JsonCalls(block_open="<tool_calls>[", block_close="]</tool_calls>", separator=", ")

FORMAT = OutputFormat(
    name="hunyuan",
    reasoning=THINK,
    calls=(CALLS,),
    dropped=("<answer>", "</answer>"),
    requires=("<tool_calls>",),
)
