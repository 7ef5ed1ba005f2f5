"""Kimi K2: `functions.NAME:NUMBER` and a JSON object between special tokens."""

from __future__ import annotations

from vllm_mlx.parsing.format import THINK, OutputFormat
from vllm_mlx.parsing.syntax import HeaderCalls

CALLS = HeaderCalls(
    block_open="<|tool_calls_section_begin|>",
    call_open="<|tool_call_begin|>",
    before_name="functions.",
    after_name=":{index}<|tool_call_argument_begin|>",
    call_close="<|tool_call_end|>",
    block_close="<|tool_calls_section_end|>",
)

FORMAT = OutputFormat(
    name="kimi_k2",
    reasoning=THINK,
    calls=(CALLS,),
    requires=("<|tool_calls_section_begin|>",),
)
