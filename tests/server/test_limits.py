"""Caps hold whether the length is told, untold or a lie."""

from __future__ import annotations

import gzip
import json
import socket
from collections.abc import AsyncIterator, Callable
from urllib.parse import urlsplit

import httpx
import pytest
from tests.fakes.service import FakeModelService
from tests.limits import LIMIT_S

pytestmark = pytest.mark.anyio

MIB = 1024 * 1024


def exchange(url: str, request: bytes) -> bytes:
    """Send bytes to the server as they are, and read until it closes."""
    address = urlsplit(url)
    assert address.hostname is not None
    with socket.create_connection((address.hostname, address.port or 80), timeout=LIMIT_S) as connection:
        try:
            connection.sendall(request)
            connection.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # the server may answer and close before it has heard all
        received = b""
        while True:
            try:
                data = connection.recv(65536)
            except ConnectionResetError:
                data = b""
            if not data:
                return received
            received += data


async def test_a_body_over_the_cap_is_refused_by_its_length(
    client: httpx.AsyncClient, service: FakeModelService
) -> None:
    response = await client.post("/v1/completions", content=b" " * (MIB + 1))
    assert response.status_code == 413
    assert response.headers["connection"] == "close"
    assert response.json()["error"]["code"] == "payload_too_large"
    assert not service.requests


async def test_a_body_without_a_length_is_counted(client: httpx.AsyncClient) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(17):
            yield b" " * (MIB // 16)

    response = await client.post("/v1/completions", content=chunks())
    assert "content-length" not in response.request.headers
    assert response.status_code == 413


async def test_a_length_that_lies_is_counted(client: httpx.AsyncClient) -> None:
    response = await client.post(
        "/v1/completions", content=b" " * (MIB + 1), headers={"content-length": "10"}
    )
    assert response.status_code == 413


@pytest.mark.parametrize("length", ["9" * 30, "-1", "0x10", "1e3", ""])
async def test_an_absurd_length_is_refused(client: httpx.AsyncClient, length: str) -> None:
    response = await client.post("/v1/completions", content=b"{}", headers={"content-length": length})
    assert response.status_code in (400, 413)
    assert "error" in response.json()


async def test_a_body_at_the_cap_is_read(client: httpx.AsyncClient) -> None:
    body = b'{"prompt":"x"}'
    response = await client.post("/v1/completions", content=body + b" " * (MIB - len(body)))
    assert response.status_code == 200


async def test_headers_over_the_cap_are_refused(client: httpx.AsyncClient) -> None:
    response = await client.get("/v1/models", headers={"x-long": "a" * 40_000})
    assert response.status_code == 431
    assert response.json()["error"]["code"] == "headers_too_large"


def test_over_a_socket_an_oversized_body_is_answered_before_it_is_read(live: Callable[..., str]) -> None:
    url = live()
    head = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999\r\n\r\n"
    assert b" 413 " in exchange(url, head).split(b"\r\n")[0]
    chunked = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    answer = exchange(url, chunked + b"100000\r\n" + b" " * 0x100000 + b"\r\n1\r\n \r\n0\r\n\r\n")
    assert b" 413 " in answer.split(b"\r\n")[0]
    assert httpx.get(url + "/health", timeout=LIMIT_S).status_code == 200


def test_over_a_socket_endless_headers_and_nonsense_are_refused(live: Callable[..., str]) -> None:
    url = live()
    assert b" 400 " in exchange(url, b"GET / HTTP/1.1\r\nA: " + b"a" * 200_000).split(b"\r\n")[0]
    nonsense = exchange(url, b"\x16\x03\x01 nonsense\r\n\r\n")
    assert b" 400 " in nonsense.split(b"\r\n")[0]
    assert json.loads(nonsense.partition(b"\r\n\r\n")[2])["error"]["code"] == "invalid_http"
    assert httpx.get(url + "/health", timeout=LIMIT_S).status_code == 200


def test_a_body_that_ends_early_hurts_nobody(live: Callable[..., str]) -> None:
    url = live()
    exchange(url, b'POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{"prompt"')
    assert httpx.post(url + "/v1/completions", json={"prompt": "x"}, timeout=LIMIT_S).status_code == 200


@pytest.mark.requirement(80)
async def test_a_packed_body_is_refused_by_name(client: httpx.AsyncClient, service: FakeModelService) -> None:
    body = json.dumps({"prompt": "hi", "model": "default"}).encode()
    for coding in ("gzip", "br", "x-unheard-of", "identity, gzip"):
        response = await client.post(
            "/v1/completions", content=gzip.compress(body), headers={"content-encoding": coding}
        )
        assert response.status_code == 415
        assert response.json()["error"]["code"] == "unsupported_content_encoding"
    assert not service.requests
    plain = await client.post("/v1/completions", content=body, headers={"content-encoding": "Identity"})
    assert plain.status_code == 200
