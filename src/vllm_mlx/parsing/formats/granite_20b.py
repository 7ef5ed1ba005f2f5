"""IBM Granite 20B function calling: one JSON object after a tag that nothing closes."""

from __future__ import annotations

from vllm_mlx.parsing.format import OutputFormat
from vllm_mlx.parsing.syntax import JsonCalls

CALLS = JsonCalls(call_open="<function_call> ", separator="\n")

FORMAT = OutputFormat(name="granite_20b", calls=(CALLS,), requires=("<function_call>",))
