"""LiteLLM: the task through its OpenAI and its Anthropic provider, whole and streamed."""

from __future__ import annotations

import json
import os
from typing import Any

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # else it asks the internet for prices

import litellm
from task import DESCRIPTION, LIMIT_S, PARAMETERS, QUESTION, URL, closing_time, report

litellm.suppress_debug_info = True  # it prints where it documents its providers
TOOL = {"name": "closing_time", "description": DESCRIPTION, "parameters": PARAMETERS}


def answer(streamed: bool, **where: str) -> str:
    said: list[Any] = [{"role": "user", "content": QUESTION}]
    tools = [{"type": "function", "function": TOOL}]
    while True:
        reply: Any = litellm.completion(
            messages=said,
            tools=tools,
            stream=streamed,
            api_key="not-needed",
            timeout=LIMIT_S,
            num_retries=0,
            **where,
        )
        if streamed:
            reply = litellm.stream_chunk_builder(list(reply), messages=said)
        message = reply.choices[0].message
        if not message.tool_calls:
            return str(message.content)
        said.append(message)
        for call in message.tool_calls:
            result = closing_time(**json.loads(call.function.arguments))
            said.append({"role": "tool", "tool_call_id": call.id, "content": result})


PROVIDERS = {
    "chat": {"model": "openai/default", "api_base": URL + "/v1"},
    "messages": {"model": "anthropic/claude-anything", "api_base": URL},
}
for name, provider in PROVIDERS.items():
    report(name, answer(streamed=False, **provider))
    report(f"{name} streamed", answer(streamed=True, **provider))
