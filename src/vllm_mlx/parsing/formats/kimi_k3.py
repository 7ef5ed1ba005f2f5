"""Kimi K3: channels for thought, response and tools, each call an element with one element an argument."""

from __future__ import annotations

from vllm_mlx.parsing.format import OutputFormat, Reasoning
from vllm_mlx.parsing.syntax import XmlCalls

CALLS = XmlCalls(
    block_open="<|open|>tools<|sep|>",
    before_name='<|open|>call tool="',
    after_name='" index="{number}"<|sep|>',
    before_key='<|open|>argument key="',
    after_key='" type="string"<|sep|>',
    after_json_key='" type="{type}"<|sep|>',
    after_value="<|close|>argument<|sep|>",
    call_close="<|close|>call<|sep|>",
    block_close="<|close|>tools<|sep|>",
    glued=True,
)

FORMAT = OutputFormat(
    name="kimi_k3",
    reasoning=Reasoning(
        open="<|open|>think<|sep|>",
        close="<|close|>think<|sep|>",
        begin="<|open|>think<|sep|>",
        end="<|close|>think<|sep|><|open|>response<|sep|>",
    ),
    calls=(CALLS,),
    dropped=("<|open|>response<|sep|>", "<|close|>response<|sep|>", "<|close|>message<|sep|>"),
    answer_open="<|open|>response<|sep|>",
    answer_close="<|close|>response<|sep|>",
    stops=("<|end_of_msg|>",),
    # Its template puts the tags together from these and the name of a channel.
    requires=("<|open|>", "<|close|>", "<|sep|>", "<|end_of_msg|>"),
    model_types=("kimi_k3",),
)
