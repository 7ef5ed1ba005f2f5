"""Who is let in: keys on every path but /health, local Host names, no foreign web page."""

from __future__ import annotations

import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import anthropic
import httpx
import openai
import pytest
from tests.fakes.clock import HandClock
from tests.fakes.service import FakeModelService

from vllm_mlx.config import AccessConfig, ServerConfig
from vllm_mlx.server.access.browsers import is_loopback
from vllm_mlx.server.access.rates import TokenBuckets
from vllm_mlx.server.access.stack import exposure
from vllm_mlx.server.app import create_app

pytestmark = [pytest.mark.anyio, pytest.mark.requirement(57, 80)]

LIMIT_S = 60
KEYS = AccessConfig(api_key=("secret-one", "schlüssel"))
CHAT = {"model": "default", "messages": [{"role": "user", "content": "hi"}]}


@asynccontextmanager
async def client_of(
    service: FakeModelService, access: AccessConfig, *, host: str = "127.0.0.1"
) -> AsyncIterator[httpx.AsyncClient]:
    """The app in process, with these settings."""
    transport = httpx.ASGITransport(
        create_app(service, ServerConfig(host=host), access), raise_app_exceptions=False
    )
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        yield client


@pytest.fixture
async def guarded(service: FakeModelService) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(service, KEYS) as client:
        yield client


def ask(url: str, target: bytes, *headers: bytes, method: bytes = b"GET") -> tuple[int, bytes]:
    """Send a request as it is written here; status and body of the answer."""
    address = urlsplit(url)
    lines = [method + b" " + target + b" HTTP/1.1", b"Connection: close", *headers]
    if not any(line.lower().startswith(b"host:") for line in headers):
        lines.append(b"Host: localhost")
    with socket.create_connection((address.hostname or "", address.port or 0), timeout=LIMIT_S) as connection:
        connection.sendall(b"\r\n".join([*lines, b"", b""]))
        with connection.makefile("rb") as stream:
            answer = stream.read()
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split(b" ", 2)[1]), body


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": "Bearer secret-one"},
        {"authorization": "bEaReR   secret-one "},
        {"x-api-key": "secret-one"},
        {"X-API-Key": "secret-one", "authorization": "Bearer other"},
        {"authorization": "Basic c2VjcmV0", "x-api-key": "secret-one"},
        {"authorization": "Bearer schlüssel".encode()},
        {"x-api-key": "schlüssel".encode()},
    ],
)
async def test_a_key_is_taken_from_either_header(guarded: httpx.AsyncClient, headers: dict[str, str]) -> None:
    assert (await guarded.get("/v1/models", headers=headers)).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "secret-one"},
        {"authorization": "Bearer"},
        {"authorization": "Bearer secret-on"},
        {"authorization": "Bearer secret-one x"},
        {"authorization": "Bearer secret-ONE"},
        {"authorization": "Basic secret-one"},
        {"authorization": "Bearer schlüssel".encode("latin-1")},
        {"x-api-key": ""},
        {"api-key": "secret-one"},
        {"cookie": "x-api-key=secret-one"},
    ],
)
async def test_without_a_right_key_the_answer_is_401(
    guarded: httpx.AsyncClient, service: FakeModelService, headers: dict[str, str]
) -> None:
    response = await guarded.post("/v1/chat/completions", json=CHAT, headers=headers)
    assert (response.status_code, response.headers["www-authenticate"]) == (401, "Bearer")
    assert response.json()["error"]["type"] == "invalid_request_error"
    assert "secret" not in response.text
    assert not service.requests


async def test_a_key_header_that_comes_twice_must_be_right_twice(guarded: httpx.AsyncClient) -> None:
    for name, prefix in (("authorization", "Bearer "), ("x-api-key", "")):
        right = (name, prefix + "secret-one")
        for wrong in ((name, prefix + "other"), (name, ""), (name, "Basic x")):
            for headers in ([right, wrong], [wrong, right]):
                assert (await guarded.get("/v1/models", headers=headers)).status_code == 401
        assert (await guarded.get("/v1/models", headers=[right, right])).status_code == 200


async def test_401_has_the_shape_of_the_dialect_asked(guarded: httpx.AsyncClient) -> None:
    for path, headers in (("/v1/messages", {}), ("/v1/models", {"anthropic-version": "2023-06-01"})):
        body = (await guarded.get(path, headers=headers)).json()
        assert (body["type"], body["error"]["type"]) == ("error", "authentication_error")


async def test_every_route_but_health_needs_a_key(service: FakeModelService) -> None:
    app = create_app(service, ServerConfig(), KEYS)
    paths = [path.replace("{model}", "org/tiny") for path in app.openapi()["paths"]]
    assert len(paths) > 15
    async with client_of(service, KEYS) as client:
        for method in ("GET", "POST", "HEAD", "OPTIONS", "PUT", "DELETE", "PATCH"):
            for path in (*paths, "/nothing", "/metrics"):
                expected = {401} if path != "/health" else {200, 405}
                assert (await client.request(method, path)).status_code in expected, (method, path)


@pytest.fixture
def guarded_url(live: Callable[..., str]) -> str:
    return live(access=KEYS)


@pytest.mark.parametrize(
    "target",
    [
        b"//v1/models",
        b"/v1/%6dodels",
        b"/V1/MODELS",
        b"/health/",
        b"/HEALTH",
        b"/%68ealth",
        b"/health%2f",
        b"/health;/v1/models",
        b"/health/../v1/models",
        b"/health/%2e%2e/v1/models",
        b"//health",
        b"http://localhost/health",
        b"http://localhost/v1/models",
        b"/v1/models?/health",
        b"/v1/models#/health",
    ],
)
def test_no_spelling_of_a_path_gets_past_the_keys(guarded_url: str, target: bytes) -> None:
    assert ask(guarded_url, target)[0] == 401


@pytest.mark.parametrize("host", [b"x/health?", b"localhost/health", b"localhost:1/health#"])
def test_a_host_header_cannot_make_a_path_public(guarded_url: str, host: bytes) -> None:
    # CVE-2026-48746: a URL rebuilt from Host and path was what the check looked at.
    assert ask(guarded_url, b"/v1/models", b"Host: " + host)[0] == 401


def test_health_is_open_to_all(guarded_url: str) -> None:
    assert ask(guarded_url, b"/health") == (200, b'{"status":"ok"}')
    assert ask(guarded_url, b"/health?x=1")[0] == 200


def test_a_wrong_key_with_a_body_leaves_the_connection_usable(guarded_url: str) -> None:
    with httpx.Client(base_url=guarded_url, timeout=LIMIT_S) as client:
        assert client.post("/v1/chat/completions", json=CHAT).status_code == 401
        client.headers["x-api-key"] = "secret-one"
        assert client.post("/v1/chat/completions", json=CHAT).status_code == 200


def test_the_official_clients_send_keys_that_are_understood(guarded_url: str) -> None:
    with openai.OpenAI(
        base_url=guarded_url + "/v1", api_key="secret-one", max_retries=0, timeout=LIMIT_S
    ) as sdk:
        assert sdk.models.list().data[0].id == "org/tiny"
        with pytest.raises(openai.AuthenticationError):
            sdk.with_options(api_key="wrong").models.list()
    with anthropic.Anthropic(
        base_url=guarded_url, api_key="secret-one", max_retries=0, timeout=LIMIT_S
    ) as claude:
        assert claude.models.list().data[0].id == "org/tiny"
        with pytest.raises(anthropic.AuthenticationError):
            claude.with_options(api_key="wrong").models.list()
    with anthropic.Anthropic(
        base_url=guarded_url, auth_token="secret-one", max_retries=0, timeout=LIMIT_S
    ) as claude:
        assert claude.models.retrieve("org/tiny").id == "org/tiny"


LOCAL = ["localhost", "localhost:8000", "LOCALHOST", "127.0.0.1:1", "127.8.8.8", "[::1]:8000", "localhost."]
LOCAL += ["host.docker.internal:8000", socket.gethostname()]
FOREIGN = ["evil.example", "evil.example:8000", "localhost.evil.example", "x/health?", "", "10.0.0.1"]
FOREIGN += ["[::2]", "localhost:8000:9", "user@localhost", "0.0.0.0", "127.0.0.1.evil.example", "a b"]


async def test_on_loopback_without_a_key_only_local_names_are_answered(service: FakeModelService) -> None:
    async with client_of(service, AccessConfig()) as client:
        for host in LOCAL:
            assert (await client.get("/v1/models", headers={"host": host})).status_code == 200, host
        for host in FOREIGN:
            for path in ("/v1/models", "/health", "/"):
                response = await client.get(path, headers={"host": host})
                assert response.status_code == 403, host
                assert response.json()["error"]["code"] == "host_not_allowed"
        response = await client.post("/v1/messages", json={}, headers={"host": "evil.example"})
        assert response.json()["error"]["type"] == "permission_error"


@pytest.mark.parametrize(
    ("access", "bound", "host", "status"),
    [
        (AccessConfig(allowed_hosts=("My.Example",)), "127.0.0.1", "my.example:80", 200),
        (AccessConfig(allowed_hosts=("my.example",)), "127.0.0.1", "other.example", 403),
        (AccessConfig(allowed_hosts=("*",)), "127.0.0.1", "any.example", 200),
        (AccessConfig(), "0.0.0.0", "mac-mini:8000", 200),
        (AccessConfig(), "::1", "evil.example", 403),
        (AccessConfig(allowed_hosts=("mac-mini",)), "0.0.0.0", "evil.example", 403),
    ],
)
async def test_which_host_names_count_follows_from_the_settings(
    service: FakeModelService, access: AccessConfig, bound: str, host: str, status: int
) -> None:
    async with client_of(service, access, host=bound) as client:
        assert (await client.get("/v1/models", headers={"host": host})).status_code == status


@pytest.mark.parametrize("kind", ["text/plain", "application/json", "application/x-www-form-urlencoded"])
async def test_a_foreign_web_page_cannot_use_the_server(
    client: httpx.AsyncClient, service: FakeModelService, kind: str
) -> None:
    for origin in (
        "http://evil.example",
        "https://localhost.evil.example",
        "null",
        "http://localhost:3000",
        "",
    ):
        headers = {"origin": origin, "content-type": kind}
        response = await client.post("/v1/chat/completions", content=json.dumps(CHAT), headers=headers)
        assert response.status_code == 403, origin
        assert response.json()["error"]["code"] == "origin_not_allowed"
        assert not [name for name in response.headers if name.startswith("access-control")]
    assert not service.requests


async def test_its_own_pages_and_desktop_programs_may_use_the_server(client: httpx.AsyncClient) -> None:
    for origin in ("http://localhost", "tauri://localhost", "app://obsidian.md", "vscode-webview://abc"):
        response = await client.post("/v1/chat/completions", json=CHAT, headers={"origin": origin})
        assert response.status_code == 200, origin


PREFLIGHT = {"access-control-request-method": "POST", "access-control-request-headers": "authorization"}


async def test_an_allowed_origin_gets_cors_with_and_without_a_key(service: FakeModelService) -> None:
    origin = {"origin": "http://localhost:3000"}
    for access in (
        AccessConfig(allowed_origins=("http://localhost:3000",)),
        AccessConfig(allowed_origins=("http://localhost:3000",), api_key=("k",)),
    ):
        async with client_of(service, access) as client:
            response = await client.options("/v1/chat/completions", headers=origin | PREFLIGHT)
            assert response.status_code == 200
            assert response.headers["access-control-allow-origin"] == "http://localhost:3000"
            assert "authorization" in response.headers["access-control-allow-headers"]
            response = await client.get("/v1/models", headers=origin | {"x-api-key": "wrong"})
            assert response.status_code == (401 if access.api_key else 200)
            assert response.headers["access-control-allow-origin"] == "http://localhost:3000"
            assert "access-control-allow-credentials" not in response.headers
            foreign = {"origin": "http://evil.example", "x-api-key": "k"}
            for response in (
                await client.get("/v1/models", headers=foreign),
                await client.options("/v1/models", headers=foreign | PREFLIGHT),
            ):
                assert response.status_code == 403
                assert "access-control-allow-origin" not in response.headers


async def test_any_origin_never_means_credentials(service: FakeModelService) -> None:
    async with client_of(service, AccessConfig(allowed_origins=("*",))) as client:
        response = await client.get("/v1/models", headers={"origin": "http://any.example", "cookie": "a=b"})
        assert response.status_code == 200
        assert response.headers["access-control-allow-origin"] in ("*", "http://any.example")
        assert "access-control-allow-credentials" not in response.headers


async def test_a_request_too_many_is_429_and_says_when_to_come_back(service: FakeModelService) -> None:
    async with client_of(service, AccessConfig(api_key=("a", "b"), rate_limit=2)) as client:
        for expected in (200, 200, 429):
            response = await client.get("/v1/models", headers={"authorization": "Bearer a"})
            assert response.status_code == expected
        assert response.json()["error"]["code"] == "rate_limit_exceeded"
        assert 1 <= int(response.headers["retry-after"]) <= 30
        messages = await client.post("/v1/messages", json={}, headers={"x-api-key": "a"})
        assert messages.json()["error"]["type"] == "rate_limit_error"
        assert (await client.get("/v1/models", headers={"authorization": "Bearer b"})).status_code == 200
        assert (await client.get("/v1/models")).status_code == 401
        for _ in range(5):
            assert (await client.get("/health")).status_code == 200


async def test_without_keys_the_address_counts_and_one_network_of_ipv6_is_one_caller(
    service: FakeModelService,
) -> None:
    app = create_app(service, ServerConfig(), AccessConfig(rate_limit=1))
    for address, expected in [
        ("10.0.0.1", 200),
        ("10.0.0.1", 429),
        ("10.0.0.2", 200),
        ("::ffff:10.0.0.2", 429),
        ("2001:db8:0:1::1", 200),
        ("2001:db8:0:1:ffff::2", 429),
        ("2001:db8:0:2::1", 200),
        ("fe80::1%eth0", 200),
    ]:
        transport = httpx.ASGITransport(app, client=(address, 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            assert (await client.get("/v1/models")).status_code == expected, address


def test_a_bucket_fills_evenly_and_belongs_to_one_caller() -> None:
    clock = HandClock()
    buckets = TokenBuckets(60, clock)
    assert [buckets.take("a") for _ in range(60)] == [0.0] * 60
    assert buckets.take("a") == pytest.approx(1.0)
    assert buckets.take("b") == 0.0
    clock.advance(0.5)
    assert buckets.take("a") == pytest.approx(0.5)
    clock.advance(0.5)
    assert buckets.take("a") == 0.0
    clock.advance(3600)
    assert [buckets.take("a") for _ in range(61)].count(0.0) == 60


def test_callers_without_number_do_not_fill_the_memory() -> None:
    buckets = TokenBuckets(1, HandClock())
    for i in range(20_000):
        buckets.take(str(i))
    assert buckets.take("19999") > 0
    assert buckets.take("0") == 0


@pytest.mark.requirement(7)
def test_an_open_door_is_announced() -> None:
    for host in ("0.0.0.0", "::", "192.168.1.5", "mac-mini"):
        warning = exposure(ServerConfig(host=host), AccessConfig())
        assert warning is not None
        assert host in warning
        assert exposure(ServerConfig(host=host), KEYS) is None
    for host in ("127.0.0.1", "localhost", "::1"):
        assert is_loopback(host)
        assert exposure(ServerConfig(host=host), AccessConfig()) is None
