"""StepFun Step 3: `steptml` elements between special tokens."""

from __future__ import annotations

from vllm_mlx.parsing.format import THINK, OutputFormat
from vllm_mlx.parsing.syntax import XmlCalls

CALLS = XmlCalls(
    block_open="<\uff5ctool_calls_begin\uff5c>",
    call_open="<\uff5ctool_call_begin\uff5c>function<\uff5ctool_sep\uff5c>",
    before_name='<steptml:invoke name="',
    after_name='">',
    before_key='<steptml:parameter name="',
    after_key='">',
    after_value="</steptml:parameter>",
    call_close="</steptml:invoke><\uff5ctool_call_end\uff5c>",
    block_close="<\uff5ctool_calls_end\uff5c>",
)

FORMAT = OutputFormat(
    name="step3", reasoning=THINK, calls=(CALLS,), requires=("<\uff5ctool_calls_begin\uff5c>",)
)
