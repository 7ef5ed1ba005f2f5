"""Mistral: `[TOOL_CALLS]`, then a JSON list, or since v11 of its tokenizer a name and its arguments."""

from __future__ import annotations

from vllm_mlx.parsing.format import OutputFormat, Reasoning
from vllm_mlx.parsing.syntax import HeaderCalls, JsonCalls

LIST = JsonCalls(block_open="[TOOL_CALLS][", block_close="]", separator=", ")
NAMED = HeaderCalls(call_open="[TOOL_CALLS]", after_name="[ARGS]")
REASONING = Reasoning(open="[THINK]", close="[/THINK]", begin="[THINK]", end="[/THINK]")

FORMAT = OutputFormat(
    name="mistral",
    reasoning=REASONING,
    calls=(NAMED, LIST),
    requires=("[TOOL_CALLS]", "[ARGS]"),
)
LISTED = OutputFormat(
    name="mistral_json",
    reasoning=REASONING,
    calls=(LIST, NAMED),
    requires=("[TOOL_CALLS]",),
)
