"""The pages for people, the OpenAPI description, and what routers ask."""

from __future__ import annotations

import re
from typing import Any

import httpx
import pytest
from tests.fakes.service import FakeModelService

import vllm_mlx

pytestmark = pytest.mark.anyio


@pytest.fixture
async def document(client: httpx.AsyncClient) -> Any:
    return (await client.get("/openapi.json")).json()


async def test_the_root_says_what_runs_and_where_to_go_on(client: httpx.AsyncClient) -> None:
    body = (await client.get("/")).json()
    assert (body["name"], body["version"], body["models"]) == ("vllm-mlx", vllm_mlx.__version__, ["org/tiny"])
    for place in ("docs", "openapi", "health", "status"):
        assert (await client.get(body[place])).status_code == 200


@pytest.mark.requirement(118)
async def test_the_docs_page_lists_every_route_and_loads_nothing(
    client: httpx.AsyncClient, document: Any
) -> None:
    response = await client.get("/docs")
    assert response.headers["content-type"].startswith("text/html")
    for path in document["paths"]:
        assert f"<code>{path}</code>" in response.text
    assert "<code>messages (required)</code>" in response.text
    assert "<code>input_tokens (always)</code>" in response.text
    assert "default-src 'none'" in response.headers["content-security-policy"]
    assert not re.search(r"<script|<link|<img|src=|url\(|https?://", response.text)
    assert (await client.get("/redoc")).status_code == 404


@pytest.mark.requirement(96)
async def test_the_description_is_whole(document: Any) -> None:
    assert {"/", "/docs", "/openapi.json", "/health", "/get_server_info"} <= set(document["paths"])
    schemas = document["components"]["schemas"]
    references = set(re.findall(r"#/components/schemas/([\w-]+)", str(document)))
    assert references - set(schemas) == set()
    assert "HTTPValidationError" not in schemas
    for path, methods in document["paths"].items():
        for operation in methods.values():
            assert operation["description"], path
            assert "422" not in operation["responses"]
            shape = str(operation["responses"]["default"])
            assert ("AnthropicError" in shape) == path.startswith(("/v1/messages", "/v1/models")), path
    listing = document["paths"]["/v1/models"]["get"]["responses"]["200"]["content"]["application/json"]
    assert {"$ref": "#/components/schemas/ModelList"} in listing["schema"]["anyOf"]
    assert document["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"


async def test_asking_twice_gives_the_same_description(client: httpx.AsyncClient, document: Any) -> None:
    assert (await client.get("/openapi.json")).json() == document


@pytest.mark.requirement(84)
async def test_routers_hear_what_is_served_and_how_busy_it_is(
    client: httpx.AsyncClient, service: FakeModelService
) -> None:
    cache = {"active_blocks": 3, "block_size": 16}
    service.status_fields = {
        "max_num_seqs": 256,
        "kv_capacity_tokens": 5000,
        "engine": {"running": 2, "waiting": 1, "cache": cache},
    }
    for path in ("/server_info", "/get_server_info"):
        info = (await client.get(path)).json()
        assert (info["model_path"], info["served_model_name"]) == ("org/tiny", "org/tiny")
        assert (info["max_model_len"], info["max_running_requests"]) == (4096, 256)
        assert (info["max_total_num_tokens"], info["status"]) == (5000, "ready")
    for path in ("/model_info", "/get_model_info"):
        info = (await client.get(path)).json()
        assert (info["model_path"], info["is_generation"]) == ("org/tiny", True)
    assert (await client.get("/version")).json() == {"version": vllm_mlx.__version__}
    load = {"dp_rank": 0, "num_reqs": 3, "num_waiting_reqs": 1, "num_tokens": 48}
    assert (await client.get("/get_load")).json() == [load]


@pytest.mark.requirement(84)
async def test_before_the_model_is_loaded_routers_hear_what_is_known(
    client: httpx.AsyncClient, service: FakeModelService
) -> None:
    service.status_fields = {"status": "loading"}
    info = (await client.get("/server_info")).json()
    assert (info["max_running_requests"], info["max_total_num_tokens"]) == (None, None)
    assert (await client.get("/get_load")).json()[0]["num_reqs"] == 0


@pytest.mark.requirement(41)
async def test_ollas_pass_through_needs_no_real_key(client: httpx.AsyncClient) -> None:
    headers = {"x-api-key": "not-needed", "anthropic-version": "2023-06-01"}
    body = {"model": "default", "max_tokens": 500, "messages": [{"role": "user", "content": "Hello!"}]}
    answer = (await client.post("/v1/messages", json=body, headers=headers)).json()
    assert answer["content"] == [{"type": "text", "text": "hello big world"}]
