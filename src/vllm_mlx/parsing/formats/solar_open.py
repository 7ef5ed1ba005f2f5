"""Upstage Solar Open: a turn each for thought, answer and calls; id, name and JSON between call tokens."""

from __future__ import annotations

from vllm_mlx.parsing.format import OutputFormat, Reasoning
from vllm_mlx.parsing.syntax import HeaderCalls

CALLS = HeaderCalls(
    block_open="<|tool_calls|>",
    call_open="<|tool_call:begin|>",
    before_name="{id}<|tool_call:name|>",
    after_name="<|tool_call:args|>",
    call_close="<|tool_call:end|>",
    block_close="<|calls|>",
)

FORMAT = OutputFormat(
    name="solar_open",
    reasoning=Reasoning(
        open="<|think|>",
        close="<|end|>",
        begin="<|think|>",
        end="<|end|><|begin|>assistant<|content|>",
    ),
    calls=(CALLS,),
    # A turn of content may be followed by one of calls.
    dropped=("<|begin|>assistant", "<|content|>", "<|end|>", "<|flush|>"),
    answer_open="<|content|>",
    answer_close="<|end|><|begin|>assistant",
    stops=("<|flush|>", "<|calls|>"),
    requires=("<|tool_response:begin|>", "<|tool_response:name|>"),
    or_requires=(("<|tool_calls|>", "<|tool_call:begin|>"),),
    model_types=("solar_open",),
)
