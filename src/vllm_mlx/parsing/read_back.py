"""Which names of tools and arguments a family's way of writing calls can hold: those that it reads again."""

from __future__ import annotations

import json
from collections.abc import Sequence

from vllm_mlx.core.events import ToolCallDelta, ToolCallStart
from vllm_mlx.core.tools import ToolSpec
from vllm_mlx.parsing.format import OutputFormat
from vllm_mlx.parsing.stream import OutputParser
from vllm_mlx.parsing.write import write_calls

_VALUE = 1  # written alike by all


def reads_back(output_format: OutputFormat, name: str, keys: Sequence[str] = ()) -> bool:
    """Whether a call of a tool of this name with arguments of these is read as just that.

    Elements named by their keys end at a quote or a bracket, and words before `=` or `:` have no spaces.
    """
    try:
        text = write_calls(output_format.calls[0], [(name, dict.fromkeys(keys, _VALUE))])
    except ValueError:
        return False
    parser = OutputParser(output_format, tools=(ToolSpec(name),))
    names, arguments = [], ""
    for event in (*parser.feed(text), *parser.finish()):
        if isinstance(event, ToolCallStart):
            names.append(event.name)
        elif isinstance(event, ToolCallDelta):
            arguments += event.arguments
    try:
        return names == [name] and list(json.loads(arguments or "{}")) == list(keys)
    except ValueError:
        return False
