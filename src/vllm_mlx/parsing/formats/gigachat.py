"""Sber GigaChat 3: one JSON object after a token of its own, or in a message of its own."""

from __future__ import annotations

from vllm_mlx.parsing.format import OutputFormat
from vllm_mlx.parsing.syntax import JsonCalls

CALLS = JsonCalls(call_open="<|function_call|>", separator="\n")
MESSAGE = JsonCalls(call_open="<|message_sep|>\n\nfunction call<|role_sep|>\n")

FORMAT = OutputFormat(
    name="gigachat",
    calls=(CALLS, MESSAGE),
    requires=("<|function_call|>",),
    excludes=("function call<|role_sep|>",),
)
FORMAT_3 = OutputFormat(
    name="gigachat3",
    calls=(MESSAGE, CALLS),
    requires=("<|role_sep|>", "<|message_sep|>", "function call"),
    excludes=("<|function_call|>",),
)
