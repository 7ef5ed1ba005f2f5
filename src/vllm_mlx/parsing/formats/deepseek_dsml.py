"""DeepSeek V3.2 and V4: DSML, whose arguments say whether they are strings."""

from __future__ import annotations

from vllm_mlx.parsing.format import THINK, OutputFormat
from vllm_mlx.parsing.syntax import XmlCalls

_BAR = "\uff5cDSML\uff5c"


def _calls(block: str) -> XmlCalls:
    return XmlCalls(
        block_open=f"<{_BAR}{block}>\n",
        before_name=f'<{_BAR}invoke name="',
        after_name='">\n',
        before_key=f'<{_BAR}parameter name="',
        after_key='" string="true">',
        after_json_key='" string="false">',
        after_value=f"</{_BAR}parameter>\n",
        call_close=f"</{_BAR}invoke>\n",
        block_close=f"</{_BAR}{block}>",
    )


V32 = OutputFormat(
    name="deepseek_v32",
    reasoning=THINK,
    calls=(_calls("function_calls"),),
    requires=("\uff5cDSML\uff5c", "function_calls"),
    model_types=("deepseek_v32",),
)
V4 = OutputFormat(
    name="deepseek_v4",
    reasoning=THINK,
    calls=(_calls("tool_calls"), _calls("function_calls")),
    requires=("\uff5cDSML\uff5c", "tool_calls"),
    excludes=("function_calls",),
    model_types=("deepseek_v4",),
)
