"""Ai2 OLMo 3: one Python call a line, with JSON's words."""

from __future__ import annotations

from vllm_mlx.parsing.format import THINK, OutputFormat
from vllm_mlx.parsing.syntax import PythonicCalls

CALLS = PythonicCalls(
    block_open="<function_calls>\n", block_close="\n</function_calls>", separator="\n", json_words=True
)

FORMAT = OutputFormat(
    name="olmo3",
    reasoning=THINK,
    calls=(CALLS,),
    requires=("<function_calls>",),
    excludes=("<invoke", "\uff5cDSML\uff5c"),
)
