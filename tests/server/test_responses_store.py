"""Answers that are kept: asked for again, gone on from, forgotten; and never another caller's."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
from tests.fakes.clock import HandClock
from tests.fakes.responses import checked_events, checked_item, checked_response
from tests.fakes.service import HANG, FakeModelService, completed, spoken
from tests.fakes.wire import named_events

from vllm_mlx.config import AccessConfig, ServerConfig
from vllm_mlx.core.errors import Unavailable
from vllm_mlx.core.events import Finished, ReasoningDelta, Started, ToolCallDelta, ToolCallStart
from vllm_mlx.core.messages import Message, Reasoning, Text, ToolCall, ToolResult
from vllm_mlx.core.requests import ChatInput
from vllm_mlx.server.app import create_app

pytestmark = [pytest.mark.anyio, pytest.mark.requirement(38)]

CALLING = [
    Started(0, 5, 3),
    ReasoningDelta(0, "hm"),
    ToolCallStart(0, 0, "call_1", "f"),
    ToolCallDelta(0, 0, "{}"),
    Finished(0, "tool_calls"),
    completed(),
]
F = {"type": "function", "name": "f"}
OUTPUT = {"type": "function_call_output", "call_id": "call_1", "output": "ok"}


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
async def small(service: FakeModelService, clock: HandClock) -> AsyncIterator[httpx.AsyncClient]:
    """An app that keeps three answers of together 64 KiB for a minute."""
    config = ServerConfig(stored_responses=3, stored_responses_mb=1 / 16, stored_responses_ttl=60)
    access = AccessConfig(api_key=("one", "two"))
    transport = httpx.ASGITransport(create_app(service, config, access, clock=clock))
    headers = {"authorization": "Bearer one"}
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", headers=headers) as client:
        yield client


async def create(client: httpx.AsyncClient, given: Any = "hi", **fields: Any) -> Any:
    response = await client.post("/v1/responses", json={"input": given, **fields})
    assert response.status_code == 200, response.text
    if fields.get("stream"):
        return checked_events(response.text)[-1]["response"]
    return checked_response(response.json())


async def is_kept(client: httpx.AsyncClient, answer: Any) -> bool:
    response = await client.get(f"/v1/responses/{answer['id']}")
    if response.status_code == 404:
        assert "made room for newer ones" in response.json()["error"]["message"]
        return False
    assert response.json() == answer
    return True


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_is_given_again_as_it_was(client: httpx.AsyncClient, stream: bool) -> None:
    answer = await create(client, stream=stream)
    assert answer["store"] is True
    assert await is_kept(client, answer)


async def test_an_answer_that_is_not_to_be_stored_is_not(client: httpx.AsyncClient) -> None:
    answer = await create(client, store=False)
    assert answer["store"] is False
    assert not await is_kept(client, answer)


async def test_a_server_that_stores_nothing_says_so(service: FakeModelService) -> None:
    transport = httpx.ASGITransport(create_app(service, ServerConfig(stored_responses=0)))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        answer = await create(client)
        assert answer["store"] is False
        assert not await is_kept(client, answer)
        response = await client.post("/v1/responses", json={"input": "hi", "store": True})
        assert (response.status_code, response.json()["error"]["param"]) == (400, "store")


async def test_an_answer_is_streamed_again(client: httpx.AsyncClient, service: FakeModelService) -> None:
    for script, fields in (
        (CALLING, {"include": ["reasoning.encrypted_content"], "tools": [F]}),
        ([*CALLING[:2], *spoken("a b")[1:], completed()], {"reasoning": {"summary": "auto"}}),
        ([*spoken("a b", reason="length"), completed()], {}),
    ):
        service.script = script
        answer = await create(client, **fields)
        path = f"/v1/responses/{answer['id']}"
        events = checked_events((await client.get(path, params={"stream": "true"})).text)
        assert events[-1]["response"] == answer
        rest = await client.get(path, params={"stream": "true", "starting_after": 3})
        assert named_events(rest.text) == events[4:]


async def test_an_answer_is_forgotten(client: httpx.AsyncClient) -> None:
    answer = await create(client)
    path = f"/v1/responses/{answer['id']}"
    deleted = await client.delete(path)
    assert deleted.json() == {"id": answer["id"], "object": "response", "deleted": True}
    assert not await is_kept(client, answer)
    assert (await client.delete(path)).status_code == 404


async def test_only_background_answers_could_be_cancelled(client: httpx.AsyncClient) -> None:
    answer = await create(client)
    response = await client.post(f"/v1/responses/{answer['id']}/cancel")
    assert response.status_code == 400
    assert "background" in response.json()["error"]["message"]
    assert (await client.post("/v1/responses/resp_x/cancel")).status_code == 404


async def test_a_conversation_goes_on_from_an_answer(
    client: httpx.AsyncClient, service: FakeModelService
) -> None:
    service.script = CALLING
    first = await create(client, "a", instructions="Be brief.", tools=[F])
    service.script = [*spoken("done"), completed()]
    second = await create(client, [OUTPUT], previous_response_id=first["id"])
    assert (second["previous_response_id"], second["instructions"]) == (first["id"], None)
    await create(client, "b", previous_response_id=second["id"], instructions="Be kind.")
    chat = service.requests[-1].input
    assert isinstance(chat, ChatInput)
    assert chat.messages == (
        Message("system", (Text("Be kind."),)),
        Message("user", (Text("a"),)),
        Message("assistant", (Reasoning("hm"), ToolCall("call_1", "f", "{}"))),
        Message("tool", (ToolResult("call_1", "ok"),)),
        Message("assistant", (Text("done"),)),
        Message("user", (Text("b"),)),
    )
    # Two may go on from one answer.
    again = await create(client, [OUTPUT | {"output": "no"}], previous_response_id=first["id"])
    assert again["id"] != second["id"]


async def test_an_output_of_an_earlier_call_must_not_come_twice(
    client: httpx.AsyncClient, service: FakeModelService
) -> None:
    service.script = CALLING
    first = await create(client, tools=[F])
    for wrong in ([OUTPUT, OUTPUT], [{**first["output"][-1]}], [OUTPUT | {"call_id": "other"}]):
        response = await client.post(
            "/v1/responses", json={"input": wrong, "previous_response_id": first["id"]}
        )
        assert response.status_code == 400
        assert response.json()["error"]["param"].startswith("input[")


async def test_items_are_referred_to_by_their_ids(
    client: httpx.AsyncClient, service: FakeModelService
) -> None:
    first = await create(client, [{"role": "user", "content": "a", "id": "msg_mine"}])
    said = first["output"][0]["id"]
    refer = [{"type": "item_reference", "id": name} for name in ("msg_mine", said)]
    second = await create(client, [*refer, {"role": "user", "content": "b"}])
    chat = service.requests[-1].input
    assert isinstance(chat, ChatInput)
    assert [message.text() for message in chat.messages] == ["a", "hello big world", "b"]
    listed = (await client.get(f"/v1/responses/{second['id']}/input_items?order=asc")).json()["data"]
    assert [item["id"] for item in listed[:2]] == ["msg_mine", said]
    # The newest answer that holds an item is asked for it; the others go on holding it.
    await client.delete(f"/v1/responses/{second['id']}")
    response = await client.post("/v1/responses", json={"input": [{"type": "item_reference", "id": "x"}]})
    assert response.status_code == 404
    assert response.json()["error"]["param"] == "input[0].id"


async def test_an_item_is_referred_to_once(client: httpx.AsyncClient) -> None:
    await create(client, [{"role": "user", "content": "a", "id": "mine"}])
    refer = [{"type": "item_reference", "id": "mine"}] * 2
    response = await client.post("/v1/responses", json={"input": refer})
    assert response.status_code == 400
    assert response.json()["error"]["param"] == "input[1].id"


async def test_input_items_come_in_pages(client: httpx.AsyncClient, service: FakeModelService) -> None:
    call = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}", "namespace": "n"}
    given = [
        {"role": "developer", "content": "d"},
        {"role": "user", "content": [{"type": "input_text", "text": "u"}]},
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "s"}], "encrypted_content": "e"},
        {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "t"}]},
        {"role": "assistant", "content": "a", "phase": "commentary"},
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "r"}]},
        call,
        {"type": "function_call_output", "call_id": "c", "output": "o"},
        call | {"call_id": "e", "id": "fc_mine"},
        {"type": "function_call_output", "call_id": "e", "output": [{"type": "input_text", "text": "p"}]},
    ]
    answer = await create(client, given)
    path = f"/v1/responses/{answer['id']}/input_items"
    items = (await client.get(path, params={"order": "asc"})).json()["data"]
    assert len({item["id"] for item in items}) == len(given)
    for item, wanted in zip(items, given, strict=True):
        checked_item(item)
        same = {name: value for name, value in wanted.items() if name != "content"}
        assert same.items() <= item.items()
    assert items[0]["content"] == [{"type": "input_text", "text": "d"}]
    assert items[4]["content"] == [{"type": "output_text", "text": "a", "annotations": []}]
    found: list[Any] = []
    page: Any = {"last_id": None, "has_more": True}
    while page["has_more"]:
        after = {"after": page["last_id"]} if found else {}
        page = (await client.get(path, params={"limit": 4, **after})).json()
        assert (page["object"], page["first_id"]) == ("list", page["data"][0]["id"])
        found += page["data"]
    assert found == items[::-1]
    response = await client.get(path, params={"after": "x"})
    assert (response.status_code, response.json()["error"]["param"]) == (404, "after")


async def test_the_answer_longest_not_used_makes_room(small: httpx.AsyncClient) -> None:
    first, second, third = [await create(small) for _ in range(3)]
    assert await is_kept(small, first)
    await create(small)
    assert [await is_kept(small, each) for each in (first, second, third)] == [True, False, True]


async def test_going_on_from_an_answer_keeps_its_conversation(small: httpx.AsyncClient) -> None:
    first = await create(small)
    other = await create(small)
    second = await create(small, previous_response_id=first["id"])
    third = await create(small, previous_response_id=second["id"])
    assert [await is_kept(small, each) for each in (first, other, second, third)] == [
        True,
        False,
        True,
        True,
    ]


async def test_a_conversation_whose_beginning_is_gone_cannot_go_on(small: httpx.AsyncClient) -> None:
    first = await create(small)
    second = await create(small, previous_response_id=first["id"])
    await small.delete(f"/v1/responses/{first['id']}")
    response = await small.post("/v1/responses", json={"input": "x", "previous_response_id": second["id"]})
    assert response.status_code == 404
    error = response.json()["error"]
    assert (error["code"], error["param"]) == ("previous_response_not_found", "previous_response_id")
    assert first["id"] in error["message"]
    assert second["id"] in error["message"]


async def test_large_answers_leave_when_the_memory_is_used_up(small: httpx.AsyncClient) -> None:
    first = await create(small, "x" * 33_000)
    second = await create(small, "x" * 33_000)
    assert [await is_kept(small, each) for each in (first, second)] == [False, True]
    huge = await create(small, "x" * 70_000)
    assert [await is_kept(small, each) for each in (second, huge)] == [False, False]
    assert await is_kept(small, await create(small))


async def test_an_answer_has_a_time_to_live(small: httpx.AsyncClient, clock: HandClock) -> None:
    first, second = [await create(small, [{"role": "user", "content": "x", "id": n}]) for n in "ab"]
    clock.advance(59)
    assert await is_kept(small, second)
    clock.advance(2)
    assert [await is_kept(small, each) for each in (first, second)] == [False, True]
    response = await small.post("/v1/responses", json={"input": [{"type": "item_reference", "id": "a"}]})
    assert response.status_code == 404


async def test_an_answer_is_its_callers_alone(small: httpx.AsyncClient) -> None:
    answer = await create(small, [{"role": "user", "content": "x", "id": "mine"}])
    assert await is_kept(small, answer)
    other = {"authorization": "Bearer two"}
    path = f"/v1/responses/{answer['id']}"
    unknown = (await small.get("/v1/responses/resp_x", headers=other)).json()["error"]
    for response in (
        await small.get(path, headers=other),
        await small.delete(path, headers=other),
        await small.get(f"{path}/input_items", headers=other),
        await small.post(f"{path}/cancel", headers=other),
    ):
        assert response.status_code == 404
        error = response.json()["error"]
        # What is another's looks like what never was.
        assert error["message"].replace(answer["id"], "resp_x") == unknown["message"]
    for fields in (
        {"input": "x", "previous_response_id": answer["id"]},
        {"input": [{"type": "item_reference", "id": "mine"}]},
    ):
        response = await small.post("/v1/responses", json=fields, headers=other)
        assert response.status_code == 404
    assert await is_kept(small, answer)


async def test_only_answers_that_came_to_an_end_are_kept(
    client: httpx.AsyncClient, service: FakeModelService
) -> None:
    service.script = [*spoken("a")[:2], Unavailable("gone")]
    response = await client.post("/v1/responses", json={"input": "hi", "stream": True})
    failed = json.loads(response.text.rpartition("data: ")[2])["response"]
    assert failed["status"] == "failed"
    assert not await is_kept(client, failed)


def test_leaving_a_stream_ends_the_request(service: FakeModelService, live: Callable[..., str]) -> None:
    service.script = [*spoken("a b")[:2], HANG]
    body = {"input": "hi", "stream": True}
    with httpx.stream("POST", live() + "/v1/responses", json=body, timeout=60) as response:
        pieces = response.iter_bytes()  # held: an iterator that is dropped closes the stream
        assert b"response.created" in next(pieces)
        assert not service.closed.is_set()
    assert service.closed.wait(60)
