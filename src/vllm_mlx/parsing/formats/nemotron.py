"""NVIDIA Nemotron: a JSON list between `TOOLCALL` tags; Nemotron 3 writes as Qwen3-Coder does."""

from __future__ import annotations

from vllm_mlx.parsing.format import THINK, OutputFormat
from vllm_mlx.parsing.formats.qwen3_coder import CALLS as XML
from vllm_mlx.parsing.syntax import JsonCalls

CALLS = JsonCalls(block_open="<TOOLCALL>[", block_close="]</TOOLCALL>", separator=", ")

FORMAT = OutputFormat(
    name="nemotron", reasoning=THINK, calls=(CALLS, XML), requires=("<TOOLCALL>", "</TOOLCALL>")
)
