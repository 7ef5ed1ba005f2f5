"""Swiss AI Apertus: a JSON list in which each call is an object with the tool's name as its key."""

from __future__ import annotations

from vllm_mlx.parsing.format import OutputFormat, Reasoning
from vllm_mlx.parsing.syntax import JsonCalls

CALLS = JsonCalls(
    name_key="", block_open="<|tools_prefix|>[", block_close="]<|tools_suffix|>", separator=", "
)

FORMAT = OutputFormat(
    name="apertus",
    reasoning=Reasoning(
        open="<|inner_prefix|>", close="<|inner_suffix|>", begin="<|inner_prefix|>", end="<|inner_suffix|>"
    ),
    calls=(CALLS,),
    requires=("<|tools_prefix|>", "<|tools_suffix|>"),
)
