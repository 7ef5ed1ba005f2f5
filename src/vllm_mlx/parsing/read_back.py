"""Which names of tools and arguments a family's way of writing calls can hold: those that it reads again."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from keyword import iskeyword

from vllm_mlx.core.events import ToolCallDelta, ToolCallStart
from vllm_mlx.core.tools import ToolSpec
from vllm_mlx.parsing.format import OutputFormat
from vllm_mlx.parsing.stream import OutputParser
from vllm_mlx.parsing.write import write_calls

_VALUE = 1  # written alike by all
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_MOST_TRIED = 1000
"""Each takes a tenth of a millisecond."""


def unreadable(output_format: OutputFormat, name: str, keys: Iterable[str]) -> set[str]:
    """Those of the arguments' names that are not read back.

    Words are by every format, and so are not tried; of more names than can be tried none counts as read.
    """
    tried = [key for key in dict.fromkeys(keys) if not _WORD.fullmatch(key) or iskeyword(key)]
    if len(tried) > _MOST_TRIED:
        return set(tried)
    odd: set[str] = set()
    batches = [tried]
    while batches:
        batch = batches.pop()
        if not batch or reads_back(output_format, name, batch):
            continue
        if len(batch) == 1:
            odd.update(batch)
        else:
            half = len(batch) // 2
            batches += [batch[half:], batch[:half]]
    return odd


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
