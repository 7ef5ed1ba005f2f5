"""Cohere Command R and R+ of 2024: the word Action and a fenced JSON list."""

from __future__ import annotations

from vllm_mlx.parsing.format import OutputFormat
from vllm_mlx.parsing.formats.command import FORMAT as COMMAND
from vllm_mlx.parsing.syntax import JsonCalls

CALLS = JsonCalls(
    name_key="tool_name",
    arguments_key="parameters",
    block_open="Action: ```json\n[\n    ",
    block_close="\n]```",
    separator=",\n    ",
)

FORMAT = OutputFormat(
    name="command_r",
    reasoning=COMMAND.reasoning,
    calls=(CALLS, *COMMAND.calls),
    dropped=COMMAND.dropped,
    requires=("<|CHATBOT_TOKEN|>", "Action:", "```json"),
    excludes=("<|START_ACTION|>",),
)
