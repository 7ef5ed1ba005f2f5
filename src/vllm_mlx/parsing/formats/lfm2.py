"""LFM2 by Liquid AI: a Python list of calls between special tokens."""

from __future__ import annotations

from vllm_mlx.parsing.format import THINK, OutputFormat
from vllm_mlx.parsing.syntax import JsonCalls, PythonicCalls

CALLS = PythonicCalls(block_open="<|tool_call_start|>[", block_close="]<|tool_call_end|>", separator=", ")
JSON = JsonCalls(block_open="<|tool_call_start|>[", block_close="]<|tool_call_end|>", separator=", ")

FORMAT = OutputFormat(
    name="lfm2",
    reasoning=THINK,
    calls=(CALLS, JSON),
    requires=("<|tool_list_start|>",),
    or_requires=(("<|tool_call_start|>",),),
    model_types=("lfm2", "lfm2_moe", "lfm2-vl", "lfm2_vl"),
)
