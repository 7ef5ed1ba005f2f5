"""Tencent Hy3: names, keys and values in tags that all end in `:opensource`."""

from __future__ import annotations

from vllm_mlx.parsing.format import OutputFormat, Reasoning
from vllm_mlx.parsing.syntax import XmlCalls

CALLS = XmlCalls(
    block_open="<tool_calls:opensource>\n",
    call_open="<tool_call:opensource>",
    after_name="<tool_sep:opensource>\n",
    before_key="<arg_key:opensource>",
    after_key="</arg_key:opensource>\n<arg_value:opensource>",
    after_value="</arg_value:opensource>\n",
    call_close="</tool_call:opensource>\n",
    block_close="</tool_calls:opensource>",
)

FORMAT = OutputFormat(
    name="hy3",
    reasoning=Reasoning(
        open="<think:opensource>",
        close="</think:opensource>",
        begin="<think:opensource>",
        end="</think:opensource>",
    ),
    calls=(CALLS,),
    requires=("<tool_calls{}>", "<tool_sep{}>", "':opensource'"),
    or_requires=(("<tool_calls:opensource>",),),
)
