"""Microsoft Phi-4: a JSON list between tool tokens, or after the word `functools`."""

from __future__ import annotations

from vllm_mlx.parsing.format import THINK, OutputFormat
from vllm_mlx.parsing.syntax import JsonCalls

CALLS = JsonCalls(block_open="<|tool_call|>[", block_close="]<|/tool_call|>", separator=", ")
# What the template shows of earlier calls, so that models write it too.
BARE = JsonCalls(separator=",")
WORD = JsonCalls(block_open="functools[", block_close="]", separator=", ")

FORMAT = OutputFormat(
    name="phi4",
    reasoning=THINK,
    calls=(CALLS, WORD, BARE),
    requires=("<|tool|>", "<|/tool|>"),
    or_requires=(("functools[",),),
)
