"""Health, status, models, tokens and the OpenAPI page."""

from __future__ import annotations

import httpx
import pytest
from tests.fakes.service import FakeModelService

from vllm_mlx.core.messages import Message, Text
from vllm_mlx.core.requests import ChatInput, TextInput
from vllm_mlx.service.port import Health

pytestmark = pytest.mark.anyio


@pytest.mark.requirement(31)
@pytest.mark.parametrize(
    ("health", "status", "body"),
    [
        (Health("loading"), 503, {"status": "loading"}),
        (Health("ready"), 200, {"status": "ok"}),
        (Health("failed", "the engine died"), 503, {"status": "failed", "detail": "the engine died"}),
        (Health("stopping"), 503, {"status": "stopping"}),
    ],
)
async def test_health_is_200_only_when_requests_can_be_served(
    client: httpx.AsyncClient, service: FakeModelService, health: Health, status: int, body: dict[str, str]
) -> None:
    service.now = health
    response = await client.get("/health")
    assert (response.status_code, response.json()) == (status, body)
    assert (await client.head("/health")).status_code == status


@pytest.mark.requirement(32, 89)
async def test_models_are_listed_with_what_routers_read(client: httpx.AsyncClient) -> None:
    first, second = (await client.get("/v1/models")).json(), (await client.get("/v1/models")).json()
    assert first == second
    assert first["object"] == "list"
    (model,) = first["data"]
    permission = model.pop("permission")
    assert model == {
        "id": "org/tiny",
        "object": "model",
        "created": 1_700_000_000,
        "owned_by": "vllm-mlx",
        "root": "org/tiny",
        "parent": None,
        "max_model_len": 4096,
        "meta": {"n_ctx": 4096},
    }
    assert permission[0]["object"] == "model_permission"


@pytest.mark.parametrize("path", ["/v1/models/org/tiny", "/v1/models/org%2Ftiny", "/v1/models/default"])
async def test_a_model_is_found_by_a_name_with_slashes(client: httpx.AsyncClient, path: str) -> None:
    assert (await client.get(path)).json()["id"] == "org/tiny"


async def test_an_unknown_model_is_not_found(client: httpx.AsyncClient) -> None:
    response = await client.get("/v1/models/org/other")
    assert response.status_code == 404
    assert response.json()["error"]["code"] == "model_not_found"


async def test_status_is_the_services_account(client: httpx.AsyncClient, service: FakeModelService) -> None:
    service.status_fields = {"state": "ready", "engine": {"running": 3, "reason": None}}
    assert (await client.get("/v1/status")).json() == service.status_fields


@pytest.mark.requirement(90)
async def test_a_text_or_a_conversation_is_tokenized(
    client: httpx.AsyncClient, service: FakeModelService
) -> None:
    response = await client.post("/tokenize", json={"prompt": "abc"})
    assert response.json() == {"tokens": [1, 2, 3], "count": 3, "max_model_len": 4096}
    await client.post("/tokenize", json={"prompt": "abc", "add_special_tokens": False})
    await client.post("/tokenize", json={"messages": [{"role": "user", "content": "hi"}]})
    assert service.tokenized == [
        (TextInput("abc"), True),
        (TextInput("abc"), False),
        (ChatInput(messages=(Message("user", (Text("hi"),)),)), False),
    ]


@pytest.mark.requirement(90)
async def test_tokens_become_text(client: httpx.AsyncClient) -> None:
    response = await client.post("/detokenize", json={"model": "org/tiny", "tokens": [4, 5]})
    assert response.json() == {"prompt": "4 5"}
    assert (await client.post("/detokenize", json={"tokens": []})).json() == {"prompt": ""}


async def test_the_content_type_does_not_matter(client: httpx.AsyncClient) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded", "application/json; charset=latin-1", "?"):
        response = await client.post("/tokenize", content=b'{"prompt":"a"}', headers={"content-type": kind})
        assert response.status_code == 200


async def test_the_openapi_page_knows_every_request_field(client: httpx.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()
    schemas = document["components"]["schemas"]
    for path, name in [
        ("/v1/chat/completions", "ChatCompletionRequest"),
        ("/v1/completions", "CompletionRequest"),
        ("/tokenize", "TokenizeRequest"),
        ("/detokenize", "DetokenizeRequest"),
    ]:
        content = document["paths"][path]["post"]["requestBody"]["content"]
        assert content["application/json"]["schema"] == {"$ref": f"#/components/schemas/{name}"}
        assert name in schemas
    assert {"messages", "top_k", "enable_thinking"} <= set(schemas["ChatCompletionRequest"]["properties"])
    assert "ChatMessage" in schemas
