"""Pydantic AI: an agent with one tool, over each of its models that this server speaks to."""

from __future__ import annotations

from typing import Any

from formed import Told
from pydantic_ai import Agent, NativeOutput
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.openai import OpenAIProvider
from task import FORMED_QUESTION, LIMIT_S, QUESTION, URL, closing_time, report

openai = OpenAIProvider(base_url=URL + "/v1", api_key="not-needed")
anthropic = AnthropicProvider(base_url=URL, api_key="not-needed")
MODELS: dict[str, Any] = {
    "chat": OpenAIChatModel("default", provider=openai),
    "responses": OpenAIResponsesModel("default", provider=openai),
    # By this name it knows that the server takes schemas.
    "messages": AnthropicModel("claude-sonnet-4-5", provider=anthropic),
}
for name, model in MODELS.items():
    agent = Agent(model, tools=[closing_time], model_settings={"timeout": LIMIT_S})
    report(name, agent.run_sync(QUESTION).output)
    report(f"{name} streamed", agent.run_stream_sync(QUESTION).get_output())
    formed = Agent(model, output_type=NativeOutput(Told), model_settings={"timeout": LIMIT_S})
    report(f"{name} schema", formed.run_sync(FORMED_QUESTION).output.sentence)
