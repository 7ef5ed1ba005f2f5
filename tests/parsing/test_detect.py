from __future__ import annotations

import pytest

from vllm_mlx.parsing.detect import detect_format
from vllm_mlx.parsing.registry import FORMATS

QWEN3 = (
    '{{ "<tools>" }}<tool_call>\n{\\"name\\": <function-name>, \\"arguments\\": <args>}\n</tool_call> <think>'
)
CODER = "<tool_call>\n<function=example>\n<parameter=a>\n{{ tool_call.arguments }} <think>"


@pytest.mark.parametrize(
    ("template", "name"),
    [
        (QWEN3, "hermes"),
        ("{{ '<think>\\n' }}", "think"),
        (CODER, "qwen3_coder"),
        ("{{ messages[0].content }}", "plain"),
        ("", "plain"),
        (None, "plain"),
    ],
)
def test_the_format_is_read_off_the_template(template: str | None, name: str) -> None:
    assert detect_format(template).format.name == name


def test_every_row_of_the_table_loads_and_the_name_of_its_format_is_a_row() -> None:
    formats = {name: FORMATS.get(name) for name in FORMATS}
    for fmt in formats.values():
        assert formats[fmt.name] is fmt
    assert FORMATS.get("qwen3") is FORMATS.get("hermes")
