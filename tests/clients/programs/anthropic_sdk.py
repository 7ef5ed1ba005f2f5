"""Anthropic's own package: the task over messages, whole, streamed, and by its tool runner."""

from __future__ import annotations

from typing import Any

import anthropic
from formed import Told
from task import DESCRIPTION, FORMED_QUESTION, LIMIT_S, PARAMETERS, QUESTION, URL, closing_time, report

ASKED: Any = {"model": "claude-anything", "max_tokens": 4096}
TOOLS: Any = [{"name": "closing_time", "description": DESCRIPTION, "input_schema": PARAMETERS}]


def messages(client: anthropic.Anthropic, streamed: bool) -> str:
    said: list[Any] = [{"role": "user", "content": QUESTION}]
    thinking: Any = {"type": "enabled", "budget_tokens": 1024}
    while True:
        asked = {**ASKED, "messages": said, "tools": TOOLS, "thinking": thinking}
        if streamed:
            with client.messages.stream(**asked) as stream:
                message: Any = stream.get_final_message()
        else:
            message = client.messages.create(**asked)
        if message.stop_reason != "tool_use":
            return str(message.content[-1].text)
        results = [
            {"type": "tool_result", "tool_use_id": block.id, "content": closing_time(**block.input)}
            for block in message.content
            if block.type == "tool_use"
        ]
        said += [{"role": "assistant", "content": message.content}, {"role": "user", "content": results}]


def tool_runner(client: anthropic.Anthropic) -> str:
    tool = anthropic.beta_tool(closing_time)
    question: Any = [{"role": "user", "content": QUESTION}]
    final: Any = client.beta.messages.tool_runner(**ASKED, messages=question, tools=[tool]).until_done()
    return str(final.content[-1].text)


def formed(client: anthropic.Anthropic) -> str:
    question: Any = [{"role": "user", "content": FORMED_QUESTION}]
    told: Any = client.messages.parse(**ASKED, messages=question, output_format=Told).parsed_output
    return str(told.sentence)


if __name__ == "__main__":
    with anthropic.Anthropic(base_url=URL, api_key="not-needed", max_retries=0, timeout=LIMIT_S) as sdk:
        report("messages", messages(sdk, streamed=False))
        report("messages streamed", messages(sdk, streamed=True))
        report("tool runner", tool_runner(sdk))
        report("schema", formed(sdk))
