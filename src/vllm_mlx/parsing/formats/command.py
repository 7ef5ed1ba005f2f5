"""Cohere Command R7B and A: actions as a JSON list, thought and response in tokens of their own."""

from __future__ import annotations

from vllm_mlx.parsing.format import OutputFormat, Reasoning
from vllm_mlx.parsing.syntax import JsonCalls

CALLS = JsonCalls(
    name_key="tool_name",
    arguments_key="parameters",
    index_key="tool_call_id",
    block_open="<|START_ACTION|>[\n    ",
    block_close="\n]<|END_ACTION|>",
    separator=",\n    ",
)

FORMAT = OutputFormat(
    name="command",
    reasoning=Reasoning(
        open="<|START_THINKING|>",
        close="<|END_THINKING|>",
        begin="<|START_THINKING|>",
        end="<|END_THINKING|>",
    ),
    calls=(CALLS,),
    dropped=("<|START_RESPONSE|>", "<|END_RESPONSE|>", "<|START_TEXT|>", "<|END_TEXT|>"),
    requires=("<|START_ACTION|>", "<|END_ACTION|>"),
)
