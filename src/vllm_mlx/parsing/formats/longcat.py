"""Meituan LongCat: Hermes' JSON in tags of its own."""

from __future__ import annotations

from vllm_mlx.parsing.format import OutputFormat, Reasoning
from vllm_mlx.parsing.syntax import JsonCalls

CALLS = JsonCalls(call_open="<longcat_tool_call>\n", call_close="\n</longcat_tool_call>", separator="\n")

FORMAT = OutputFormat(
    name="longcat",
    reasoning=Reasoning(
        open="<longcat_think>",
        close="</longcat_think>",
        begin="<longcat_think>\n",
        end="\n</longcat_think>\n",
    ),
    calls=(CALLS,),
    requires=("<longcat_tool_call>",),
)
