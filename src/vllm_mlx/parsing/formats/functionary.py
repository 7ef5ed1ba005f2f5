"""MeetKai Functionary: `>>>` and a recipient; in version 2 special tokens, in 3.1 function tags."""

from __future__ import annotations

from vllm_mlx.parsing.format import OutputFormat
from vllm_mlx.parsing.syntax import Channels, HeaderCalls

TAGGED = HeaderCalls(before_name="<function=", after_name=">", call_close="</function>")
V3 = HeaderCalls(call_open=">>>", after_name="\n")
V2 = HeaderCalls(call_open="<|from|>assistant\n<|recipient|>", after_name="\n<|content|>", separator="\n")
# The prompt ends with the first open tag of a run, and `write_calls` writes it all the same.
_NAME = r"([A-Za-z_][\w.\-]*)\s*$"

FORMAT = OutputFormat(
    name="functionary",
    calls=(V3, TAGGED),
    channels=Channels(
        opens=(">>>",),
        header_end="\n",
        call=rf"^(?!all\s*$){_NAME}",
        answer=r"^all\s*$",
        answer_open=">>>all\n",
        starts_inside=True,
        object_only=True,
    ),
    requires=(">>>", "<|start_header_id|>"),
)
FORMAT_V2 = OutputFormat(
    name="functionary_v2",
    calls=(V2,),
    channels=Channels(
        opens=("<|from|>", "<|recipient|>"),
        header_end="<|content|>",
        closes=("<|stop|>",),
        call=rf"^\s*(?:assistant\s*<\|recipient\|>\s*)?(?!all\s*$){_NAME}",
        answer=r"all\s*$",
        answer_open="<|from|>assistant\n<|recipient|>all\n<|content|>",
        starts_inside=True,
        object_only=True,
    ),
    stops=("<|stop|>",),
    requires=("<|from|>", "<|recipient|>", "<|content|>"),
)
TAGS = OutputFormat(
    name="functionary_v31",
    calls=(TAGGED,),
    stops=("<|eom_id|>",),
    requires=("<function=", "<|start_header_id|>"),
    excludes=("<parameter=",),
)
