"""OpenAI's Agents SDK: an agent with one tool, over both of its models."""

from __future__ import annotations

import asyncio
from typing import Any

from agents import Agent, OpenAIChatCompletionsModel, OpenAIResponsesModel, Runner, function_tool
from agents import set_tracing_disabled as disable_tracing
from formed import Told
from openai import AsyncOpenAI
from task import FORMED_QUESTION, LIMIT_S, QUESTION, URL, closing_time, report


async def main() -> None:
    disable_tracing(True)  # traces go to OpenAI
    client = AsyncOpenAI(base_url=URL + "/v1", api_key="not-needed", max_retries=0, timeout=LIMIT_S)
    models: dict[str, Any] = {
        "chat": OpenAIChatCompletionsModel("default", client),
        "responses": OpenAIResponsesModel("default", client),
    }
    for name, model in models.items():
        agent = Agent(name="Harbour", model=model, tools=[function_tool(closing_time)])
        report(name, (await Runner.run(agent, QUESTION)).final_output)
        run = Runner.run_streamed(agent, QUESTION)
        async for _ in run.stream_events():
            pass
        report(f"{name} streamed", run.final_output)
        formed = Agent(name="Harbour", model=model, output_type=Told)
        report(f"{name} schema", (await Runner.run(formed, FORMED_QUESTION)).final_output.sentence)


asyncio.run(main())
