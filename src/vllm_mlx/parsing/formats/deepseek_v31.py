"""DeepSeek V3.1: name and JSON object between special tokens, without a fence."""

from __future__ import annotations

from vllm_mlx.parsing.format import THINK, OutputFormat
from vllm_mlx.parsing.syntax import HeaderCalls

CALLS = HeaderCalls(
    block_open="<\uff5ctool\u2581calls\u2581begin\uff5c>",
    call_open="<\uff5ctool\u2581call\u2581begin\uff5c>",
    after_name="<\uff5ctool\u2581sep\uff5c>",
    call_close="<\uff5ctool\u2581call\u2581end\uff5c>",
    block_close="<\uff5ctool\u2581calls\u2581end\uff5c>",
)

FORMAT = OutputFormat(
    name="deepseek_v31",
    reasoning=THINK,
    calls=(CALLS,),
    requires=("<\uff5ctool\u2581calls\u2581begin\uff5c>",),
)
