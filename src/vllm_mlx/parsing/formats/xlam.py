"""Salesforce xLAM: a JSON list of calls, bare or behind one of several marks."""

from __future__ import annotations

from vllm_mlx.parsing.format import THINK, OutputFormat
from vllm_mlx.parsing.syntax import JsonCalls

CALLS = JsonCalls(block_open="[", block_close="]", separator=", ")
MARKED = JsonCalls(block_open="[TOOL_CALLS][", block_close="]", separator=", ")
FENCED = JsonCalls(block_open="```json\n[", block_close="]\n```", separator=", ")
TAGGED = JsonCalls(block_open="<tool_call>[", block_close="]</tool_call>", separator=", ")

FORMAT = OutputFormat(
    name="xlam",
    reasoning=THINK,
    calls=(CALLS, MARKED, FENCED, TAGGED),
    requires=("tool_calls", "[BEGIN OF AVAILABLE TOOLS]"),
    or_requires=(('[{"name": "tool_call_name", "arguments":',),),
)
