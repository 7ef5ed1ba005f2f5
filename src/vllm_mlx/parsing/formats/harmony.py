"""gpt-oss: Harmony, whose messages have a channel and perhaps a recipient."""

from __future__ import annotations

from vllm_mlx.parsing.format import OutputFormat, Reasoning
from vllm_mlx.parsing.syntax import Channels, HeaderCalls

CALLS = HeaderCalls(
    call_open="<|channel|>commentary to=",
    before_name="functions.",
    after_name=" <|constrain|>json<|message|>",
    call_close="<|call|>",
    separator="<|start|>assistant",
)

FORMAT = OutputFormat(
    name="harmony",
    reasoning=Reasoning(
        open="<|channel|>analysis<|message|>",
        close="<|end|>",
        begin="<|channel|>analysis<|message|>",
        end="<|end|><|start|>assistant<|channel|>final<|message|>",
    ),
    calls=(CALLS,),
    channels=Channels(
        opens=("<|start|>", "<|channel|>"),
        header_end="<|message|>",
        rest_of_open=" to=",
        closes=("<|end|>", "<|call|>", "<|return|>"),
        call=r"to=(?:functions\.)?([^\s<]+)",
        thought=r"^\s*analysis|<\|channel\|>\s*analysis",
        answer_open="<|channel|>final<|message|>",
        aside_open="<|channel|>commentary<|message|>",
        aside_close="<|end|><|start|>assistant",
    ),
    dropped=("<|constrain|>",),
    stops=("<|return|>", "<|call|>"),
    requires=("<|channel|>", "<|message|>"),
    model_types=("gpt_oss",),
)
