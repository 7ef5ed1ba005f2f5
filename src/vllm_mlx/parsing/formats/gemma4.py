"""Gemma 4: a thought channel, and calls with bare keys and a quote token of their own."""

from __future__ import annotations

from vllm_mlx.parsing.format import OutputFormat, Reasoning
from vllm_mlx.parsing.syntax import BraceCalls

CALLS = BraceCalls(
    call_open="<|tool_call>",
    before_name="call:",
    quote='<|"|>',
    call_close="<tool_call|>",
)

FORMAT = OutputFormat(
    name="gemma4",
    reasoning=Reasoning(
        open="<|channel>thought", close="<channel|>", begin="<|channel>thought\n", end="\n<channel|>"
    ),
    calls=(CALLS,),
    stops=("<|tool_response>",),
    requires=("<|tool_call>",),
)
