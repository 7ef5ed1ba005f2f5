"""OpenAI's own package: the task over chat completions and over responses, whole and streamed."""

from __future__ import annotations

import json
from typing import Any

import openai
from formed import Told
from task import DESCRIPTION, FORMED_QUESTION, LIMIT_S, PARAMETERS, QUESTION, URL, closing_time, report

TOOL = {"name": "closing_time", "description": DESCRIPTION, "parameters": PARAMETERS}


def client_of(url: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=url + "/v1", api_key="not-needed", max_retries=0, timeout=LIMIT_S)


def chat(client: openai.OpenAI, streamed: bool, model: str = "default") -> str:
    messages: list[Any] = [{"role": "user", "content": QUESTION}]
    tools: Any = [{"type": "function", "function": TOOL}]
    while True:
        asked: Any = {"model": model, "messages": messages, "tools": tools}
        if streamed:
            with client.chat.completions.stream(**asked) as stream:
                message: Any = stream.get_final_completion().choices[0].message
        else:
            message = client.chat.completions.create(**asked).choices[0].message
        if not message.tool_calls:
            return str(message.content)
        messages.append(message)
        for call in message.tool_calls:
            result = closing_time(**json.loads(call.function.arguments))
            messages.append({"role": "tool", "tool_call_id": call.id, "content": result})


def responses(client: openai.OpenAI, streamed: bool) -> str:
    asked: Any = {"model": "default", "tools": [{"type": "function", "strict": True, **TOOL}]}
    new: Any = QUESTION
    while True:
        if streamed:
            with client.responses.stream(input=new, **asked) as stream:
                answer: Any = stream.get_final_response()
        else:
            answer = client.responses.create(input=new, **asked)
        calls = [item for item in answer.output if item.type == "function_call"]
        if not calls:
            return str(answer.output_text)
        asked["previous_response_id"] = answer.id
        new = [
            {
                "type": "function_call_output",
                "call_id": call.call_id,
                "output": closing_time(**json.loads(call.arguments)),
            }
            for call in calls
        ]


def formed(client: openai.OpenAI) -> tuple[str, str]:
    """What comes by a schema, over chat completions and over responses."""
    messages: list[Any] = [{"role": "user", "content": FORMED_QUESTION}]
    chosen: Any = client.chat.completions.parse(model="default", messages=messages, response_format=Told)
    answer: Any = client.responses.parse(model="default", input=FORMED_QUESTION, text_format=Told)
    return chosen.choices[0].message.parsed.sentence, answer.output_parsed.sentence


if __name__ == "__main__":
    with client_of(URL) as sdk:
        report("chat", chat(sdk, streamed=False))
        report("chat streamed", chat(sdk, streamed=True))
        report("responses", responses(sdk, streamed=False))
        report("responses streamed", responses(sdk, streamed=True))
        for way, answer in zip(("chat schema", "responses schema"), formed(sdk), strict=True):
            report(way, answer)
