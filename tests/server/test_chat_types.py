"""Chat answers and their chunks fit the types of OpenAI's own package; what is added is known by name."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from tests.fakes.service import FakeModelService, completed, token
from tests.fakes.wire import frames

from vllm_mlx.core.events import Finished, ReasoningDelta, Started, TextDelta, ToolCallDelta, ToolCallStart

pytestmark = [pytest.mark.anyio, pytest.mark.requirement(33, 34)]

BODY: dict[str, Any] = {
    "model": "default",
    "messages": [{"role": "user", "content": "hi"}],
    "logprobs": True,
    "service_tier": "auto",
}
STREAMED: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}}
EVERYTHING = [
    Started(0, 5, 3),
    ReasoningDelta(0, "hm", (token("hm"),)),
    TextDelta(0, "I look.", (token("I look."),)),
    ToolCallStart(0, 0, "call_1", "f"),
    ToolCallDelta(0, 0, '{"a":1}'),
    Finished(0, "tool_calls"),
    completed(7),
]
ADDED = {"metrics", "reasoning", "reasoning_content", "stop_reason"}
"""Timings for routers; the thought, by both names that clients look for; vLLM's name for the stop string."""


def undeclared(model: Any) -> set[str]:
    """Names of an answer's fields that the package's types have not declared."""
    found = set(model.model_extra or {})
    for name in type(model).model_fields:
        value = getattr(model, name, None)
        for item in value if isinstance(value, list) else [value]:
            if hasattr(item, "model_extra"):
                found |= undeclared(item)
    return found


@pytest.mark.parametrize("length", range(1, len(EVERYTHING) - 1))
async def test_answers_and_chunks_fit_the_packages_types(
    client: httpx.AsyncClient, service: FakeModelService, length: int
) -> None:
    service.script = [*EVERYTHING[:length], *EVERYTHING[-2:]]
    whole = (await client.post("/v1/chat/completions", json=BODY)).json()
    assert undeclared(ChatCompletion.model_validate(whole)) == ADDED
    streamed = await client.post("/v1/chat/completions", json=BODY | STREAMED)
    for chunk in frames(streamed.text):
        assert undeclared(ChatCompletionChunk.model_validate(chunk)) <= ADDED
