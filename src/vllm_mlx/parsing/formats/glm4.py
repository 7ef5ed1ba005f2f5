"""GLM 4.5 to 4.7, and Poolside's Laguna: the name, then keys and values in tags of their own."""

from __future__ import annotations

from vllm_mlx.parsing.format import THINK, OutputFormat
from vllm_mlx.parsing.syntax import XmlCalls

CALLS = XmlCalls(
    call_open="<tool_call>",
    after_name="\n",
    before_key="<arg_key>",
    after_key="</arg_key>\n<arg_value>",
    after_value="</arg_value>\n",
    call_close="</tool_call>",
    separator="\n",
)

FORMAT = OutputFormat(
    name="glm4",
    reasoning=THINK,
    calls=(CALLS,),
    stops=("<|observation|>", "<|user|>"),
    dropped=("<|begin_of_box|>", "<|end_of_box|>"),
    requires=("<tool_call>", "<arg_key>"),
)
