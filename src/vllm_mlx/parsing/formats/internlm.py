"""InternLM 2 and 2.5: a JSON object behind the tokens of a plugin's action."""

from __future__ import annotations

from vllm_mlx.parsing.format import THINK, OutputFormat
from vllm_mlx.parsing.syntax import JsonCalls

CALLS = JsonCalls(
    arguments_key="parameters",
    call_open="<|action_start|><|plugin|>\n",
    call_close="<|action_end|>",
    separator="\n",
)

FORMAT = OutputFormat(name="internlm", reasoning=THINK, calls=(CALLS,), requires=("<|plugin|>",))
