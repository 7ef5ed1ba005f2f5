"""Everything that goes to an Anthropic client fits the types of Anthropic's own package."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from anthropic.types import Message, MessageTokensCount, RawMessageStreamEvent
from anthropic.types.beta import BetaMessage, BetaMessageTokensCount, BetaRawMessageStreamEvent
from pydantic import TypeAdapter
from tests.fakes.service import FakeModelService, completed
from tests.fakes.wire import named_events

from vllm_mlx.core.events import Finished, ReasoningDelta, Started, TextDelta, ToolCallDelta, ToolCallStart

pytestmark = [pytest.mark.anyio, pytest.mark.requirement(39, 40)]

BODY: dict[str, Any] = {
    "model": "default",
    "max_tokens": 2048,
    "messages": [{"role": "user", "content": "hi"}],
}
EVERYTHING = [
    Started(0, 9, 3, 8),
    ReasoningDelta(0, "hm"),
    TextDelta(0, "I look."),
    ToolCallStart(0, 0, "call_1", "f"),
    ToolCallDelta(0, 0, '{"a":1}'),
    ToolCallStart(0, 1, "call_2", "g"),
]
ENDS = [
    Finished(0, "stop"),
    Finished(0, "stop", "END"),
    Finished(0, "length"),
    Finished(0, "tool_calls"),
]
EVENTS: Any = TypeAdapter(RawMessageStreamEvent | BetaRawMessageStreamEvent)
KINDS = {
    "message_start",
    "content_block_start",
    "content_block_delta",
    "content_block_stop",
    "message_delta",
    "message_stop",
}


def undeclared(model: Any, where: str = "") -> list[str]:
    """Fields of an answer that the package's type has not declared."""
    found = [f"{where}.{name}" for name in model.model_extra or {}]
    for name in type(model).model_fields:
        value = getattr(model, name, None)
        for i, item in enumerate(value if isinstance(value, list) else [value]):
            if hasattr(item, "model_extra"):
                found += undeclared(item, f"{where}.{name}[{i}]")
    return found


@pytest.mark.parametrize("end", ENDS, ids=str)
@pytest.mark.parametrize("display", ["summarized", "omitted"])
async def test_messages_and_their_events_fit_the_packages_types(
    client: httpx.AsyncClient, service: FakeModelService, end: Finished, display: str
) -> None:
    for length in range(1, len(EVERYTHING) + 1):
        service.script = [*EVERYTHING[:length], end, completed(7, 9)]
        body = BODY | {"thinking": {"type": "adaptive", "display": display}}
        whole = (await client.post("/v1/messages", json=body)).json()
        for kind in (Message, BetaMessage):
            message = kind.model_validate(whole)
            assert not undeclared(message)
            assert message.stop_reason is not None
        streamed = await client.post("/v1/messages?beta=true", json=body | {"stream": True})
        events = named_events(streamed.text)
        assert events.pop(1) == {"type": "ping"}  # the package has no type for it, and skips it
        assert {event["type"] for event in events} <= KINDS
        for event in events:
            assert not undeclared(EVENTS.validate_python(event))


async def test_a_count_fits_the_packages_types(client: httpx.AsyncClient) -> None:
    body = {name: value for name, value in BODY.items() if name != "max_tokens"}
    count = (await client.post("/v1/messages/count_tokens?beta=true", json=body)).json()
    assert MessageTokensCount.model_validate(count).input_tokens == 3
    assert BetaMessageTokensCount.model_validate(count).input_tokens == 3
