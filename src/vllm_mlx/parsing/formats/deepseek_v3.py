"""DeepSeek V3 and R1: calls of a type, a name and a fenced JSON object between special tokens."""

from __future__ import annotations

from vllm_mlx.parsing.format import THINK, OutputFormat
from vllm_mlx.parsing.syntax import HeaderCalls

CALLS = HeaderCalls(
    block_open="<\uff5ctool\u2581calls\u2581begin\uff5c>",
    call_open="<\uff5ctool\u2581call\u2581begin\uff5c>",
    before_name="function<\uff5ctool\u2581sep\uff5c>",
    after_name="\n```json\n",
    call_close="\n```<\uff5ctool\u2581call\u2581end\uff5c>",
    separator="\n",
    block_close="<\uff5ctool\u2581calls\u2581end\uff5c>",
)

FORMAT = OutputFormat(
    name="deepseek_v3",
    reasoning=THINK,
    calls=(CALLS,),
    requires=("<\uff5ctool\u2581calls\u2581begin\uff5c>", "```json"),
)
