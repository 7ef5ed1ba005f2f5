"""Meta Muse Glimmer: messages to itself, to the user or to a tool, with calls as `atem` elements."""

from __future__ import annotations

from msgspec.structs import replace

from vllm_mlx.parsing.format import OutputFormat, Reasoning
from vllm_mlx.parsing.syntax import Channels, XmlCalls

BODY = XmlCalls(
    block_open="<atem:function_calls>\n",
    before_name='<atem:invoke name="',
    after_name='">\n',
    before_key='<atem:parameter name="',
    after_key='">',
    after_value="</atem:parameter>\n",
    call_close="</atem:invoke>\n",
    block_close="</atem:function_calls>",
    namespaced=True,
)
MESSAGE = replace(
    BODY,
    block_open="",
    block_close="",
    call_open="<|start|>assistant",
    before_name=f" to={{name}}<|message|>{BODY.block_open}{BODY.before_name}",
    call_close=f"{BODY.call_close}{BODY.block_close}",
    separator="<|eom|>",
)
"""One call is one message. What stands in messages to itself or to the user is none."""

_ANSWER = "<|start|>assistant to=user<|message|>"

FORMAT = OutputFormat(
    name="muse_glimmer",
    reasoning=Reasoning(
        open=" to=self<|message|>", close="<|eom|>", begin=" to=self<|message|>", end=f"<|eom|>{_ANSWER}"
    ),
    calls=(MESSAGE,),
    channels=Channels(
        opens=("<|start|>",),
        header_end="<|message|>",
        closes=("<|eom|>", "<|eot|>"),
        call=r"^\s*(?:assistant)?\s*to=(?!(?:self|user)\s*$)([^\s<]+)\s*$",
        thought=r"^\s*(?:assistant)?\s*to=self\s*$",
        answer=r"^\s*(?:assistant)?\s*(?:to=user)?\s*$",
        starts_inside=True,
        rest_of_open=" to=",
        body=BODY,
        answer_open=_ANSWER,
        aside_open=_ANSWER,
        aside_close="<|eom|>",
    ),
    stops=("<|eot|>",),
    requires=("<atem:function_calls>", "<atem:invoke name="),
    model_types=("muse_glimmer",),
)
