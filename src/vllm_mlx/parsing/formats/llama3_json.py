"""Llama 3.1 to 3.3: a bare JSON object with name and parameters, or the same after `<|python_tag|>`."""

from __future__ import annotations

from vllm_mlx.parsing.format import OutputFormat
from vllm_mlx.parsing.syntax import JsonCalls

BARE = JsonCalls(arguments_key="parameters", separator="; ")
TAGGED = JsonCalls(arguments_key="parameters", block_open="<|python_tag|>", separator="; ")

FORMAT = OutputFormat(
    name="llama3_json",
    calls=(BARE, TAGGED),
    dropped=("<|eom_id|>",),
    stops=("<|eom_id|>", "<|eot_id|>"),
    requires=("<|start_header_id|>", '"parameters"'),
    excludes=(">>>", "<function=", "<tool_call>"),
)
