"""Served names: what is listed, in either dialect, what a request may call the model, and what it is told."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.fakes.scripted import Answer, scripted_service
from tests.fakes.service import FakeModelService

from vllm_mlx.config import AccessConfig, Config, ModelConfig, ServerConfig
from vllm_mlx.core.errors import ModelNotFound
from vllm_mlx.server.app import create_app
from vllm_mlx.service.build import build_service
from vllm_mlx.service.port import ModelCard

pytestmark = pytest.mark.anyio

HI = [{"role": "user", "content": "hi"}]
CLAUDE = {"anthropic-version": "2023-06-01"}


def cards(**model: Any) -> list[ModelCard]:
    return build_service(Config(model=ModelConfig(model="org/Tiny-Instruct-4bit", **model))).models()


@pytest.mark.requirement(91)
def test_the_name_is_the_models_own_unless_others_are_given() -> None:
    assert [card.id for card in cards()] == ["org/Tiny-Instruct-4bit"]
    listed = cards(served_model_name=("a", "b", "a"))
    assert [(card.id, card.root) for card in listed] == [
        ("a", "org/Tiny-Instruct-4bit"),
        ("b", "org/Tiny-Instruct-4bit"),
    ]


@pytest.mark.requirement(93)
def test_any_name_reaches_the_one_model_unless_names_are_strict() -> None:
    names = ("main", "alias")
    free = build_service(Config(model=ModelConfig(served_model_name=names)))
    for asked, shown in [("main", "main"), ("alias", "alias"), ("default", "main"), ("claude-x", "main")]:
        assert free.model(asked).id == shown
    strict = build_service(Config(model=ModelConfig(served_model_name=names, strict_model_id=True)))
    assert (strict.model("alias").id, strict.model("default").id) == ("alias", "main")
    for name in ("gpt-4o", "MAIN", "main ", "../main", "/etc/passwd", "demo", "\0"):
        with pytest.raises(ModelNotFound, match="serves main, alias"):
            strict.model(name)
    with pytest.raises(ModelNotFound):
        free.model("")


@pytest.fixture
async def strict(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """The real service, with two names and no other."""
    model = ModelConfig(
        model=str(tmp_path / "tiny"), served_model_name=("main", "alias"), strict_model_id=True
    )
    service = scripted_service(tmp_path / "tiny", [Answer("hello")], model=model)
    await service.start()
    transport = httpx.ASGITransport(create_app(service, ServerConfig()))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost", timeout=60) as client:
        yield client
    await service.drain(0)


@pytest.mark.requirement(93)
async def test_a_strict_server_answers_404_in_the_dialects_shape(strict: httpx.AsyncClient) -> None:
    for path in ("/v1/chat/completions", "/v1/completions", "/tokenize", "/v1/chat/completions/render"):
        body = {"model": "x", "messages": HI} if "chat" in path else {"model": "x", "prompt": "hi"}
        response = await strict.post(path, json=body)
        assert response.status_code == 404, path
        assert response.json()["error"]["code"] == "model_not_found"
    for path in ("/v1/messages", "/v1/messages/count_tokens"):
        response = await strict.post(path, json={"model": "x", "max_tokens": 5, "messages": HI})
        assert (response.status_code, response.json()["error"]["type"]) == (404, "not_found_error")
    assert (await strict.get("/v1/models/x")).json()["error"]["code"] == "model_not_found"
    missing = await strict.get("/v1/models/x", headers=CLAUDE)
    assert (missing.status_code, missing.json()["error"]["type"]) == (404, "not_found_error")


async def test_an_answer_has_the_name_that_was_asked_for(strict: httpx.AsyncClient) -> None:
    for asked, shown in [("main", "main"), ("alias", "alias"), ("default", "main")]:
        chat = await strict.post("/v1/chat/completions", json={"model": asked, "messages": HI})
        assert chat.json()["model"] == shown
        body = {"model": asked, "max_tokens": 5, "messages": HI}
        assert (await strict.post("/v1/messages", json=body)).json()["model"] == shown
    assert (await strict.post("/v1/chat/completions", json={"messages": HI})).json()["model"] == "main"


async def test_a_conversation_is_rendered_as_it_would_be_read(strict: httpx.AsyncClient) -> None:
    body = {"model": "alias", "messages": HI}
    rendered = (await strict.post("/v1/chat/completions/render", json=body)).json()
    assert rendered["model"] == "alias"
    assert "hi" in rendered["prompt"]
    tokens = (await strict.post("/tokenize", json=body)).json()["tokens"]
    assert rendered["token_ids"] == tokens
    usage = (await strict.post("/v1/chat/completions", json=body)).json()["usage"]
    assert usage["prompt_tokens"] == len(tokens)
    bad = await strict.post("/v1/chat/completions/render", json={"messages": []})
    assert bad.status_code == 400


class ThreeNames(FakeModelService):
    def models(self) -> list[ModelCard]:
        return [
            ModelCard(id=name, created=1_700_000_000, root="org/tiny", max_model_len=4096) for name in "abc"
        ]


@pytest.fixture
async def listing() -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(create_app(ThreeNames(), ServerConfig(), AccessConfig()))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        yield client


async def test_anthropics_clients_get_their_own_listing(listing: httpx.AsyncClient) -> None:
    for headers in (CLAUDE, {"x-api-key": "k"}, CLAUDE | {"authorization": "Bearer k"}):
        body = (await listing.get("/v1/models", headers=headers)).json()
        assert (body["has_more"], body["first_id"], body["last_id"]) == (False, "a", "c")
        assert body["data"][0] == {
            "type": "model",
            "id": "a",
            "display_name": "a",
            "created_at": "2023-11-14T22:13:20Z",
            "lifecycle": "active",
            "max_input_tokens": 4096,
            "max_tokens": 4096,
        }
    for headers in ({}, {"authorization": "Bearer k"}, {"authorization": "Bearer k", "x-api-key": "k"}):
        body = (await listing.get("/v1/models", headers=headers)).json()
        assert [model["id"] for model in body["data"]] == ["a", "b", "c"]
        assert body["object"] == "list"


@pytest.mark.parametrize(
    ("query", "ids", "more"),
    [
        ("limit=2", "ab", True),
        ("limit=2&after_id=a", "bc", False),
        ("after_id=c", "", False),
        ("limit=1&before_id=c", "b", True),
        ("before_id=b", "a", False),
    ],
)
async def test_the_listing_has_pages(listing: httpx.AsyncClient, query: str, ids: str, more: bool) -> None:
    body = (await listing.get(f"/v1/models?{query}", headers=CLAUDE)).json()
    assert ("".join(model["id"] for model in body["data"]), body["has_more"]) == (ids, more)


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=1001", "limit=x", "limit=²", "after_id=z", "after_id=a&before_id=b", "limit="]
)
async def test_a_page_that_cannot_be_is_400(listing: httpx.AsyncClient, query: str) -> None:
    response = await listing.get(f"/v1/models?{query}", headers=CLAUDE)
    assert (response.status_code, response.json()["error"]["type"]) == (400, "invalid_request_error")
    assert (await listing.get(f"/v1/models?{query}")).status_code == 200
