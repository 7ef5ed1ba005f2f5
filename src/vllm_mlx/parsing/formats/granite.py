"""IBM Granite 3: a JSON list after a special token, and thoughts announced in words, or since 3.3 in tags."""

from __future__ import annotations

from vllm_mlx.parsing.format import THINK, OutputFormat, Reasoning
from vllm_mlx.parsing.syntax import JsonCalls

CALLS = JsonCalls(block_open="<|tool_call|>[", block_close="]", separator=", ")
TAGGED = JsonCalls(block_open="<tool_call>[", block_close="]", separator=", ")

FORMAT = OutputFormat(
    name="granite",
    reasoning=Reasoning(
        open="Here is my thought process:",
        close="Here is my response:",
        begin="Here is my thought process:\n",
        end="\nHere is my response:\n",
    ),
    calls=(CALLS, TAGGED),
    requires=("<|start_of_role|>",),
)
FORMAT_33 = OutputFormat(
    name="granite33",
    reasoning=THINK,
    calls=FORMAT.calls,
    dropped=("<response>", "</response>"),
    requires=("<|start_of_role|>", "<think>", "<response>"),
)
