"""Anthropic's `function_calls` block with one `invoke` element a call."""

from __future__ import annotations

from vllm_mlx.parsing.format import OutputFormat, Reasoning
from vllm_mlx.parsing.syntax import XmlCalls

CALLS = XmlCalls(
    block_open="<function_calls>\n",
    before_name='<invoke name="',
    after_name='">\n',
    before_key='<parameter name="',
    after_key='">',
    after_value="</parameter>\n",
    call_close="</invoke>\n",
    block_close="</function_calls>",
)

FORMAT = OutputFormat(
    name="anthropic",
    reasoning=Reasoning(
        open="<thinking>", close="</thinking>", begin="<thinking>\n", end="\n</thinking>\n\n"
    ),
    calls=(CALLS,),
    requires=("<function_calls>", "<invoke name="),
)
