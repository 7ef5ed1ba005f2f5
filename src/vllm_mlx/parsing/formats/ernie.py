"""Baidu ERNIE 4.5 thinking: JSON in call tags, and the answer in a response element."""

from __future__ import annotations

from vllm_mlx.parsing.format import THINK, OutputFormat
from vllm_mlx.parsing.syntax import JsonCalls

CALLS = JsonCalls(call_open="<tool_call>\n", call_close="\n</tool_call>", separator="\n")

FORMAT = OutputFormat(
    name="ernie",
    reasoning=THINK,
    calls=(CALLS,),
    dropped=("<response>", "</response>"),
    requires=("<tool_call>", "<response>"),
    excludes=("]<]minimax[>[",),
)
