"""Llama 4, Llama 3.2 small: a Python list of calls and nothing around it."""

from __future__ import annotations

from vllm_mlx.parsing.format import OutputFormat
from vllm_mlx.parsing.syntax import JsonCalls, PythonicCalls

CALLS = PythonicCalls(block_open="[", block_close="]", separator=", ")
MARKED = PythonicCalls(block_open="<|python_start|>[", block_close="]<|python_end|>", separator=", ")
JSON = JsonCalls(arguments_key="parameters", separator="; ")

FORMAT = OutputFormat(
    name="pythonic",
    calls=(CALLS, MARKED, JSON),
    stops=("<|eom|>", "<|eot|>"),
    requires=("<|header_start|>", "<|header_end|>"),
    # How Meta's prompt for small Llamas, and those that were trained after it, explain a call.
    or_requires=(("func_name1(",),),
)
