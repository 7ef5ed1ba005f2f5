"""ByteDance Seed-OSS: function and parameter tags inside tags of the vendor's."""

from __future__ import annotations

from vllm_mlx.parsing.format import OutputFormat, Reasoning
from vllm_mlx.parsing.syntax import XmlCalls

CALLS = XmlCalls(
    call_open="<seed:tool_call>\n",
    before_name="<function=",
    after_name=">\n",
    before_key="<parameter=",
    after_key=">",
    after_value="</parameter>\n",
    call_close="</function>\n</seed:tool_call>",
    separator="\n",
)

FORMAT = OutputFormat(
    name="seed_oss",
    reasoning=Reasoning(
        open="<seed:think>", close="</seed:think>", begin="<seed:think>\n", end="\n</seed:think>\n\n"
    ),
    calls=(CALLS,),
    requires=("<seed:tool_call>",),
)
