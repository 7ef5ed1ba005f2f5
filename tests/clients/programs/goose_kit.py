"""Goose's own code for talking to models, set up as its guide sets Goose up: the task over each API.

Goose itself is a program that no registry has; this package is the part of it that speaks to servers. The
loop around the tool is ours.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

import goose
from task import DESCRIPTION, PARAMETERS, QUESTION, URL, closing_time, report

SYSTEM = "You help people of the harbour."
TOOL = goose.ProviderTool(
    name="closing_time", description=DESCRIPTION, input_schema_json=json.dumps(PARAMETERS)
)
SERVED_WINDOW, NO_WINDOW_TOLD = 131_072, 128_000
RESPONSES_MODEL = "gpt-5"
"""Goose takes Responses for names of models that are known to want it."""


def provider_of(engine: str) -> Any:
    """A provider from the file in which Goose keeps one that a user has added."""
    return goose.declarative_provider_from_json(
        json.dumps(
            {
                "name": "custom_vllm_mlx",
                "engine": engine,
                "display_name": "vllm-mlx",
                "api_key_env": "",
                "base_url": URL,
                "models": [],
                "dynamic_models": True,
                "supports_streaming": True,
                "requires_auth": False,
            }
        )
    )


def message(role: Any, content: list[Any]) -> Any:
    return goose.ProviderMessage(role=role, content=content)


async def whole(provider: Any, model: Any, turns: list[Any]) -> list[Any]:
    completion = await provider.complete(model, SYSTEM, turns, [TOOL])
    return list(completion.content)


async def streamed(provider: Any, model: Any, turns: list[Any]) -> list[Any]:
    """What the pieces of a stream add up to; Goose gives a call as soon as it is whole."""
    thought, text, calls = "", "", []
    signature = ""
    stream = await provider.stream(model, SYSTEM, turns, [TOOL])
    while (chunk := await stream.next_chunk()) is not None and not chunk.is_end_chunk():
        if chunk.is_text_chunk():
            text += chunk.text
        elif chunk.is_thinking_chunk():
            thought, signature = thought + chunk.thinking, signature + chunk.signature
        elif chunk.is_tool_chunk():
            calls.append(goose.MessageContent.TOOL_REQUEST(chunk.id, chunk.name, chunk.arguments_json))
        else:
            raise RuntimeError(f"an unforeseen piece: {chunk}")
    thoughts = [goose.MessageContent.THINKING(thought, signature)] if thought else []
    return [*thoughts, *([goose.MessageContent.TEXT(text)] if text else []), *calls]


async def task(provider: Any, model_name: str, ask: Any) -> str:
    model = goose.ProviderModelConfig(model_name=model_name)
    turns = [message(goose.MessageRole.USER, [goose.MessageContent.TEXT(QUESTION)])]
    while True:
        content = await ask(provider, model, turns)
        calls = [block for block in content if block.is_tool_request()]
        if not calls:
            return "".join(block.text for block in content if block.is_text())
        results = []
        for call in calls:
            said = closing_time(**json.loads(call.arguments_json))
            result = json.dumps([{"type": "text", "text": said}])
            results.append(goose.MessageContent.TOOL_RESULT(call.id, True, result))
        turns += [message(goose.MessageRole.ASSISTANT, content), message(goose.MessageRole.USER, results)]


async def main() -> None:
    for name, engine, model_name in (
        ("chat", "openai", "default"),
        ("responses", "openai", RESPONSES_MODEL),
        ("messages", "anthropic", "default"),
    ):
        provider = provider_of(engine)
        assert [model.name for model in await provider.list_models()] == ["scripted"]
        window = await provider.context_limit(goose.ProviderModelConfig(model_name="default"))
        assert window == (NO_WINDOW_TOLD if engine == "anthropic" else SERVED_WINDOW), window
        report(name, await task(provider, model_name, whole))
        report(f"{name} streamed", await task(provider, model_name, streamed))


if __name__ == "__main__":
    asyncio.run(main())
