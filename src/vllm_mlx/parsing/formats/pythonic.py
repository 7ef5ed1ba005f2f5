"""Llama 4 and small Llama 3.2 as Meta's guides prompt them: a Python list of calls and nothing around it."""

from __future__ import annotations

from vllm_mlx.parsing.format import OutputFormat
from vllm_mlx.parsing.syntax import JsonCalls, PythonicCalls

CALLS = PythonicCalls(block_open="[", block_close="]", separator=", ")
MARKED = PythonicCalls(block_open="<|python_start|>[", block_close="]<|python_end|>", separator=", ")
JSON = JsonCalls(arguments_key="parameters", separator="; ")
# Llama 4's template puts the words of a turn, if any, between both tags, and its calls after them.
AFTER_WORDS = JsonCalls(arguments_key="parameters", block_open="<|python_end|>")

FORMAT = OutputFormat(
    name="pythonic",
    calls=(CALLS, MARKED, JSON, AFTER_WORDS),
    dropped=("<|python_start|>", "<|python_end|>"),
    stops=("<|eom|>", "<|eot|>"),
    requires=("<|header_start|>", "<|header_end|>"),
    # How Meta's prompt for small Llamas, and those that were trained after it, explain a call.
    or_requires=(("func_name1(",),),
)
