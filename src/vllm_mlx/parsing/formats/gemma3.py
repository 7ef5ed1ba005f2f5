"""Gemma 3: Python calls in a fenced block, as its guide to function calling has them."""

from __future__ import annotations

from vllm_mlx.parsing.format import OutputFormat
from vllm_mlx.parsing.syntax import JsonCalls, PythonicCalls

CALLS = PythonicCalls(block_open="```tool_code\n", block_close="\n```", separator="\n")
LIST = PythonicCalls(block_open="[", block_close="]", separator=", ")
JSON = JsonCalls(arguments_key="parameters")
FENCED = JsonCalls(arguments_key="parameters", block_open="```json\n", block_close="\n```", separator=",\n")

FORMAT = OutputFormat(
    name="gemma3",
    calls=(CALLS, LIST, JSON, FENCED),
    requires=("<start_of_turn>", "<end_of_turn>"),
    excludes=("<start_function_call>",),
)
