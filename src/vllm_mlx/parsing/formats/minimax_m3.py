"""MiniMax M3: `invoke` elements with one element an argument, and a token of the vendor's before each tag."""

from __future__ import annotations

from vllm_mlx.parsing.format import OutputFormat, Reasoning
from vllm_mlx.parsing.syntax import XmlCalls

MARK = "]<]minimax[>["

CALLS = XmlCalls(
    block_open=f"{MARK}<tool_call>\n",
    before_name=f'{MARK}<invoke name="',
    after_name='">',
    before_key=f"{MARK}<",
    after_key=">",
    after_value=f"{MARK}</{{key}}>",
    call_close=f"{MARK}</invoke>\n",
    block_close=f"{MARK}</tool_call>",
    inner_mark=MARK,
    glued=True,
)

FORMAT = OutputFormat(
    name="minimax_m3",
    reasoning=Reasoning(open="<mm:think>", close="</mm:think>", begin="<mm:think>", end="</mm:think>"),
    calls=(CALLS,),
    requires=(MARK,),
    model_types=("minimax_m3_vl", "minimax_m3"),
)
