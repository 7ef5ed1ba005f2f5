"""OpenBMB MiniCPM 5: a function element with one element an argument."""

from __future__ import annotations

from vllm_mlx.parsing.format import THINK, OutputFormat
from vllm_mlx.parsing.syntax import XmlCalls

CALLS = XmlCalls(
    before_name='<function name="',
    after_name='">',
    before_key='<param name="',
    after_key='">',
    after_value="</param>",
    call_close="</function>",
    separator="\n",
    raw_open="<![CDATA[",
    raw_close="]]>",
)

FORMAT = OutputFormat(
    name="minicpm", reasoning=THINK, calls=(CALLS,), requires=('<function name="', '<param name="')
)
