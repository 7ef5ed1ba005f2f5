"""Every failure is told in OpenAI's shape, and none of them tells too much."""

from __future__ import annotations

import httpx
import pytest
from tests.fakes.service import FakeModelService, completed, spoken
from tests.fakes.wire import frames

from vllm_mlx.core.errors import (
    AppError,
    AuthenticationFailed,
    ContextOverflow,
    DeadlineExceeded,
    InternalError,
    InvalidRequest,
    ModelLoadError,
    ModelNotFound,
    Overloaded,
    PermissionDenied,
    Unavailable,
)
from vllm_mlx.core.events import Started, TextDelta

pytestmark = pytest.mark.anyio

BODY = {"messages": [{"role": "user", "content": "hi"}]}

ERRORS: list[tuple[AppError, int, str, str]] = [
    (InvalidRequest("bad", param="n"), 400, "invalid_request_error", "invalid_request"),
    (ContextOverflow("4096 < 5000"), 400, "invalid_request_error", "context_length_exceeded"),
    (AuthenticationFailed("no key"), 401, "invalid_request_error", "invalid_api_key"),
    (PermissionDenied("no"), 403, "permission_error", "permission_denied"),
    (ModelNotFound("no such model"), 404, "invalid_request_error", "model_not_found"),
    (Overloaded("full", retry_after_s=2.2), 429, "rate_limit_error", "overloaded"),
    (Unavailable("gone"), 503, "server_error", "unavailable"),
    (ModelLoadError("incomplete"), 503, "server_error", "model_load_failed"),
    (DeadlineExceeded("late"), 504, "server_error", "deadline_exceeded"),
]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("error", "status", "kind", "code"), ERRORS, ids=lambda value: str(value)[:20])
async def test_each_error_has_its_status_and_openais_shape(
    client: httpx.AsyncClient,
    service: FakeModelService,
    error: AppError,
    status: int,
    kind: str,
    code: str,
    stream: bool,
) -> None:
    service.script = [error]
    response = await client.post("/v1/chat/completions", json=BODY | {"stream": stream})
    assert response.status_code == status
    assert response.headers["content-type"] == "application/json"
    assert response.json() == {
        "error": {"message": error.message, "type": kind, "param": error.param, "code": code}
    }


async def test_a_full_queue_says_when_to_come_back(
    client: httpx.AsyncClient, service: FakeModelService
) -> None:
    service.script = [Overloaded("full", retry_after_s=2.2)]
    response = await client.post("/v1/completions", json={"prompt": "x"})
    assert (response.status_code, response.headers["retry-after"]) == (429, "3")


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions"])
@pytest.mark.parametrize(
    "fault", [RuntimeError("/secret/path"), InternalError("/secret/path"), AppError("/secret")]
)
async def test_a_fault_of_ours_shows_fixed_text_only(
    client: httpx.AsyncClient, service: FakeModelService, fault: Exception, path: str
) -> None:
    body = BODY | {"prompt": "x"}
    service.script = [fault]
    for stream in (False, True):
        response = await client.post(path, json=body | {"stream": stream})
        assert response.status_code == 500
        assert response.json()["error"]["code"] == "internal_error"
        assert "secret" not in response.text
    service.script = [Started(0, 1), TextDelta(0, "a"), fault]
    response = await client.post(path, json=body | {"stream": True})
    assert response.status_code == 200
    assert frames(response.text)[-1]["error"]["type"] == "server_error"
    assert "secret" not in response.text


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions"])
async def test_an_error_within_a_stream_is_an_event_before_done(
    client: httpx.AsyncClient, service: FakeModelService, path: str
) -> None:
    service.script = [Started(0, 1), TextDelta(0, "a"), DeadlineExceeded("too slow")]
    response = await client.post(path, json=BODY | {"prompt": "x", "stream": True})
    assert frames(response.text)[-1] == {
        "error": {"message": "too slow", "type": "server_error", "param": None, "code": "deadline_exceeded"}
    }
    assert service.open_streams == 0


async def test_one_failed_request_leaves_the_next_alone(
    client: httpx.AsyncClient, service: FakeModelService
) -> None:
    service.script = [RuntimeError("boom")]
    await client.post("/v1/chat/completions", json=BODY)
    service.script = [*spoken("fine"), completed()]
    response = await client.post("/v1/chat/completions", json=BODY)
    assert response.json()["choices"][0]["message"]["content"] == "fine"


@pytest.mark.parametrize("path", ["/v1", "/v1/nothing", "/v1/chat/completions/", "/%2e%2e/etc/passwd"])
async def test_an_unknown_route_is_404_in_openais_shape(client: httpx.AsyncClient, path: str) -> None:
    response = await client.get(path)
    assert response.status_code == 404
    assert response.json()["error"]["code"] == "route_not_found"


@pytest.mark.parametrize(
    ("asked", "meant"),
    [
        ("/chat/completions", "/v1/chat/completions"),
        ("/v1/v1/chat/completions", "/v1/chat/completions"),
        ("/v1/v1/messages", "/v1/messages"),
        ("/messages", "/v1/messages"),
        ("/v1/responses/", "/v1/responses"),
        ("/v1/tokenize", "/tokenize"),
        ("//v1/chat/completions", "/v1/chat/completions"),
        ("/v1//chat/completions", "/v1/chat/completions"),
        ("//v1//messages//count_tokens/", "/v1/messages/count_tokens"),
        ("/v1/v1//responses", "/v1/responses"),
        ("//chat/completions", "/v1/chat/completions"),
    ],
)
async def test_a_path_of_a_wrong_base_url_is_told_the_right_one(
    client: httpx.AsyncClient, asked: str, meant: str
) -> None:
    response = await client.post(f"http://127.0.0.1{asked}", json={})
    assert (response.status_code, response.json()["error"]["code"]) == (404, "route_not_found")
    assert f"but there is {meant}: look at the base URL" in response.json()["error"]["message"]
    message = (await client.get("/models")).json()["error"]["message"]
    assert message.startswith("There is no route GET /models, but there is /v1/models")
    nowhere = await client.post("/v1/embed", json={})
    assert nowhere.json()["error"]["message"] == "There is no route POST /v1/embed."


@pytest.mark.parametrize("path", ["/v1", "/v1/", "//v1//"])
async def test_the_base_url_itself_leads_to_a_route_below_it(client: httpx.AsyncClient, path: str) -> None:
    message = (await client.get(f"http://127.0.0.1{path}")).json()["error"]["message"]
    assert message.startswith(f"There is no route GET {path}, but there is /v1/models: ")
    assert "look at the base URL" not in message


async def test_a_wrong_method_is_405_and_names_the_right_one(client: httpx.AsyncClient) -> None:
    response = await client.get("/v1/chat/completions")
    assert response.status_code == 405
    assert response.headers["allow"] == "POST"
    assert response.json()["error"]["code"] == "method_not_allowed"


async def test_no_origin_is_let_in(client: httpx.AsyncClient) -> None:
    response = await client.get("/v1/models", headers={"origin": "http://evil.example"})
    assert not [name for name in response.headers if name.startswith("access-control")]
