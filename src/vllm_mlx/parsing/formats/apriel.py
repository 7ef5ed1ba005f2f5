"""ServiceNow Apriel: Hunyuan's list of calls, and thoughts that are announced in words."""

from __future__ import annotations

from vllm_mlx.parsing.format import OutputFormat, Reasoning
from vllm_mlx.parsing.formats.hunyuan import CALLS

FORMAT = OutputFormat(
    name="apriel",
    reasoning=Reasoning(
        open="Here are my reasoning steps:",
        close="[BEGIN FINAL RESPONSE]",
        begin="Here are my reasoning steps:\n",
        end="\n[BEGIN FINAL RESPONSE]\n",
    ),
    calls=(CALLS,),
    dropped=("[END FINAL RESPONSE]",),
    requires=("<tool_calls>", "[BEGIN FINAL RESPONSE]"),
)
