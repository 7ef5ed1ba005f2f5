"""Ids in and out, and a log that tells what happened without telling what was said."""

from __future__ import annotations

import logging

import httpx
import pytest
from tests.fakes.service import FakeModelService

from vllm_mlx.config import AccessConfig, ServerConfig
from vllm_mlx.server.app import create_app

pytestmark = [pytest.mark.anyio, pytest.mark.requirement(80)]

CHAT = {"messages": [{"role": "user", "content": "the-prompt"}]}


def app_client(service: FakeModelService, access: AccessConfig) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(create_app(service, ServerConfig(), access), raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://localhost")


async def test_a_line_has_method_route_status_time_and_id_and_nothing_else(
    service: FakeModelService, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with app_client(service, AccessConfig(api_key=("the-key",))) as client:
        client.headers["authorization"] = "Bearer the-key"
        await client.get("/v1/models/the-name?q=the-query")
        response = await client.post("/v1/chat/completions", json=CHAT)
        await client.get("/the-path%0aforged line")
        await client.request("THE-METHOD", "/v1/models")
        await client.get("/v1/models", headers={"authorization": "Bearer the-wrong-key"})
        await client.get("/health")
    lines = [record.getMessage() for record in caplog.records if record.name == "vllm_mlx.access"]
    assert [line.split(" ")[:3] for line in lines] == [
        ["GET", "/v1/models/{model:path}", "404"],
        ["POST", "/v1/chat/completions", "200"],
        ["GET", "-", "404"],
        ["?", "/v1/models", "405"],
        ["GET", "-", "401"],
    ]
    assert lines[1].endswith(f" ms {response.headers['x-request-id']}")
    ours = [record.getMessage() for record in caplog.records if not record.name.startswith("httpx")]
    assert not any("the-" in message.lower() for message in ours)


async def test_the_log_can_be_switched_off(
    service: FakeModelService, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with app_client(service, AccessConfig(access_log=False)) as client:
        assert "x-request-id" in (await client.get("/v1/models")).headers
    assert not [record for record in caplog.records if record.name == "vllm_mlx.access"]


async def test_every_answer_has_an_id_under_both_names(client: httpx.AsyncClient) -> None:
    seen = set()
    for path in ("/health", "/v1/models", "/nothing", "/v1/messages"):
        response = await client.get(path)
        assert response.headers["x-request-id"] == response.headers["request-id"]
        seen.add(response.headers["request-id"])
    refused = await client.get("/health", headers={"host": "evil.example"})
    seen.add(refused.headers["x-request-id"])
    assert len(seen) == 5


async def test_a_clients_id_comes_back_and_is_not_ours(
    client: httpx.AsyncClient, service: FakeModelService
) -> None:
    for path, body in (("/v1/chat/completions", CHAT), ("/v1/messages", CHAT | {"max_tokens": 5})):
        response = await client.post(
            path, json=body | {"model": "default"}, headers={"x-request-id": "mine:1"}
        )
        assert response.headers["x-request-id"] == "mine:1"
        assert response.headers["request-id"] != "mine:1"
    assert all(request.request_id != "mine:1" for request in service.requests)


@pytest.mark.parametrize("identity", ["", "a b", "x" * 129, "ünï", 'a"b'])
async def test_an_id_that_could_spoil_a_log_is_not_repeated(client: httpx.AsyncClient, identity: str) -> None:
    response = await client.get("/health", headers={"x-request-id": identity.encode()})
    assert response.headers["x-request-id"].startswith("req_")


async def test_a_fault_is_logged_with_its_id(
    client: httpx.AsyncClient, service: FakeModelService, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    service.script = [RuntimeError("boom")]
    response = await client.post("/v1/chat/completions", json=CHAT)
    assert response.status_code == 500
    (line,) = [record.getMessage() for record in caplog.records if record.name == "vllm_mlx.access"]
    assert line.startswith("POST /v1/chat/completions 500 ")
    assert line.endswith(response.headers["x-request-id"])
