"""Llama 4 by the template in its folder: JSON calls, bare or after words between Python tags."""

from __future__ import annotations

from vllm_mlx.parsing.format import OutputFormat
from vllm_mlx.parsing.formats import pythonic

FORMAT = OutputFormat(
    name="llama4_json",
    calls=(pythonic.JSON, pythonic.AFTER_WORDS, pythonic.MARKED, pythonic.CALLS),
    dropped=pythonic.FORMAT.dropped,
    stops=pythonic.FORMAT.stops,
    requires=("<|header_start|>", "<|header_end|>", '"parameters"'),
    excludes=("func_name1(",),
)
