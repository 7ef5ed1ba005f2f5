"""What a strict client makes of a response stream: each event has its type, its number and its place."""

from __future__ import annotations

from typing import Any

import httpx
from openai.types.responses import Response, ResponseItem, ResponseStreamEvent
from pydantic import BaseModel, TypeAdapter

from tests.fakes.service import FakeModelService
from tests.fakes.wire import named_events
from vllm_mlx.core.requests import ChatInput, GenerateRequest

_EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
_RESPONSE: TypeAdapter[Any] = TypeAdapter(Response)
_ITEM: TypeAdapter[Any] = TypeAdapter(ResponseItem)
_BEYOND_THE_TYPES = {"store", "obfuscation", "bytes"}
"""What OpenAI's service sends and its package has no field for."""

_TERMINAL = ("response.completed", "response.incomplete", "response.failed")


def checked_response(body: Any) -> Any:
    """The body of an answer, which must fit the package's own type."""
    _no_unknown_fields(_RESPONSE.validate_python(body, strict=True))
    return body


def checked_item(item: Any) -> Any:
    """A listed item, likewise."""
    _no_unknown_fields(_ITEM.validate_python(item, strict=True))
    return item


def checked_events(text: str) -> list[Any]:
    """The events of a stream, in a form and an order that clients rely on."""
    events = named_events(text)
    for event in events:
        parsed = _EVENT.validate_python(event, strict=True)
        assert parsed.type == event["type"]
        _no_unknown_fields(parsed)
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert [event["type"] for event in events[:2]] == ["response.created", "response.in_progress"]
    assert events[0]["response"]["output"] == []
    assert [event["type"] for event in events if event["type"] in _TERMINAL] == [events[-1]["type"]]
    assert _items(events) == events[-1]["response"]["output"]
    return events


def kinds(events: list[Any]) -> list[str]:
    """The events' types without their common beginning."""
    return [event["type"].removeprefix("response.") for event in events]


def _no_unknown_fields(value: Any) -> None:
    if isinstance(value, BaseModel):
        assert set(value.model_extra or {}) <= _BEYOND_THE_TYPES, (type(value), value.model_extra)
        for name in type(value).model_fields:
            _no_unknown_fields(getattr(value, name))
    elif isinstance(value, list):
        for item in value:
            _no_unknown_fields(item)


def _items(events: list[Any]) -> list[Any]:
    """The items as the events build them: one at a time, and each done as it was said."""
    done: list[Any] = []
    opened: dict[str, Any] | None = None
    said = ""
    for event in events:
        kind = event["type"].removeprefix("response.")
        if kind == "output_item.added":
            assert opened is None
            opened, said = event["item"], ""
            assert opened["status"] == "in_progress"
        elif "item_id" in event:
            assert opened is not None
            assert (event["item_id"], event["output_index"]) == (opened["id"], len(done))
        if kind.endswith(".delta"):
            said += event["delta"]
        elif kind == "function_call_arguments.done":
            assert event["arguments"] == said
        elif kind.endswith("_text.done"):
            assert event["text"] == said
        elif kind == "output_item.done":
            assert opened is not None
            assert (event["output_index"], event["item"]["id"]) == (len(done), opened["id"])
            done.append(event["item"])
            opened = None
    assert opened is None
    return done


async def whole(client: httpx.AsyncClient, **fields: Any) -> Any:
    """A whole answer, checked."""
    response = await client.post("/v1/responses", json={"model": "default", "input": "hi"} | fields)
    assert response.status_code == 200, response.text
    assert response.headers["x-request-id"].startswith("req_")
    return checked_response(response.json())


async def streamed(client: httpx.AsyncClient, **fields: Any) -> list[Any]:
    """The events of a streamed answer, checked."""
    body = {"model": "default", "input": "hi", "stream": True} | fields
    response = await client.post("/v1/responses", json=body)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].startswith("text/event-stream")
    return checked_events(response.text)


async def asked(client: httpx.AsyncClient, service: FakeModelService, **fields: Any) -> GenerateRequest:
    """The request that the service sees of a body."""
    await whole(client, **fields)
    return service.requests[-1]


async def prompt(client: httpx.AsyncClient, service: FakeModelService, **fields: Any) -> ChatInput:
    """The conversation that the service sees of a body."""
    chat = (await asked(client, service, **fields)).input
    assert isinstance(chat, ChatInput)
    return chat
