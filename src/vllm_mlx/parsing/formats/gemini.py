"""Gemini's ways in text: an object with `functionCall`, or Python in a `tool_code` fence."""

from __future__ import annotations

from vllm_mlx.parsing.format import OutputFormat
from vllm_mlx.parsing.syntax import JsonCalls, PythonicCalls

CALLS = JsonCalls(wrapper_key="functionCall", arguments_key="args", separator="\n")
FENCED = JsonCalls(
    wrapper_key="functionCall",
    arguments_key="args",
    block_open="```json\n",
    block_close="\n```",
    separator="\n",
)
CODE = PythonicCalls(block_open="```tool_code\n", block_close="\n```", separator="\n")

FORMAT = OutputFormat(name="gemini", calls=(CALLS, FENCED, CODE), requires=("functionCall",))
