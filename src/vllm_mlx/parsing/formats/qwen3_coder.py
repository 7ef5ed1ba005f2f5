"""Qwen3-Coder, Qwen3.5, Nemotron 3 and Step 3.5: XML-like calls with one tag an argument."""

from __future__ import annotations

from vllm_mlx.parsing.format import THINK, OutputFormat
from vllm_mlx.parsing.syntax import XmlCalls

CALLS = XmlCalls(
    call_open="<tool_call>\n",
    before_name="<function=",
    after_name=">\n",
    before_key="<parameter=",
    after_key=">\n",
    after_value="\n</parameter>\n",
    call_close="</function>\n</tool_call>",
    separator="\n",
)

FORMAT = OutputFormat(
    name="qwen3_coder",
    reasoning=THINK,
    calls=(CALLS,),
    requires=("<tool_call>", "<function=", "<parameter="),
)
