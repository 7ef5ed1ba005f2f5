"""FunctionGemma: like Gemma 4 with tags of its own."""

from __future__ import annotations

from vllm_mlx.parsing.format import OutputFormat
from vllm_mlx.parsing.syntax import BraceCalls

CALLS = BraceCalls(
    call_open="<start_function_call>",
    before_name="call:",
    quote="<escape>",
    call_close="<end_function_call>",
)

FORMAT = OutputFormat(
    name="functiongemma",
    calls=(CALLS,),
    stops=("<start_function_response>",),
    requires=("<start_function_call>",),
)
