"""MiniMax M2: calls as `invoke` elements inside a tag of the vendor's."""

from __future__ import annotations

from vllm_mlx.parsing.format import THINK, OutputFormat
from vllm_mlx.parsing.syntax import XmlCalls

CALLS = XmlCalls(
    block_open="<minimax:tool_call>\n",
    before_name='<invoke name="',
    after_name='">\n',
    before_key='<parameter name="',
    after_key='">',
    after_value="</parameter>\n",
    call_close="</invoke>\n",
    block_close="</minimax:tool_call>",
)

FORMAT = OutputFormat(
    name="minimax_m2",
    reasoning=THINK,
    calls=(CALLS,),
    requires=("<minimax:tool_call>",),
)
