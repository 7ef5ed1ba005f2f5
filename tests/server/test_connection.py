"""A client that stands still loses its connection, and its request ends as if it had left."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable
from contextlib import closing, suppress
from http.client import HTTPConnection
from urllib.parse import urlsplit

import pytest
from tests.fakes.service import FakeModelService, spoken
from tests.limits import LIMIT_S

from vllm_mlx.core.events import TextDelta
from vllm_mlx.server.connection import PatientConnection

pytestmark = pytest.mark.requirement(80)

CHAT = json.dumps({"messages": [{"role": "user", "content": "hi"}], "stream": True}).encode()
HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(CHAT)
REQUEST = HEAD + CHAT


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PatientConnection, "stall_s", 0.1)


def connect(url: str) -> socket.socket:
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.settimeout(10)
    client.connect(("127.0.0.1", urlsplit(url).port or 0))
    return client


def ended(client: socket.socket) -> bool:
    """Whether the server ends the connection; waits for it."""
    try:
        return client.recv(1) == b""
    except ConnectionResetError:
        return True


def dripped_out(client: socket.socket, drip: bytes) -> bool:
    """Whether the server ends the connection of a client that goes on sending, a byte at a time."""
    client.settimeout(0.05)
    for _ in range(600):
        try:
            client.sendall(drip)
            return client.recv(1) == b""
        except TimeoutError:
            continue
        except OSError:
            return True
    return False


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("sent", [b"", b"GET /hea", REQUEST[:-5], REQUEST[:20]])
def test_a_request_that_does_not_go_on_is_given_up(live: Callable[..., str], sent: bytes) -> None:
    with connect(live()) as client:
        client.sendall(sent)
        assert ended(client)


@pytest.mark.parametrize("name", ["stall_s", "body_s"])
def test_a_client_that_drips_does_not_drip_for_ever(
    live: Callable[..., str], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    # A drip every 50 ms never stands still; only the limit on the whole can end it.
    monkeypatch.setattr(PatientConnection, "stall_s", 0.4 if name == "stall_s" else 60.0)
    monkeypatch.setattr(PatientConnection, "body_s", 60.0 if name == "stall_s" else 0.4)
    with connect(live()) as client:
        client.sendall(HEAD[:-4] if name == "stall_s" else HEAD)
        assert dripped_out(client, b"9" if name == "stall_s" else b" ")


@pytest.mark.usefixtures("hasty")
def test_a_request_sent_ahead_in_part_is_given_up_too(live: Callable[..., str]) -> None:
    with connect(live()) as client, client.makefile("rb") as answer:
        client.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n" + REQUEST[:-5])
        with suppress(ConnectionResetError):  # as good an end
            assert answer.read().count(b"HTTP/1.1") == 1


def test_between_requests_a_client_may_rest(
    live: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PatientConnection, "stall_s", 0.5)
    pause = threading.Event()
    with closing(HTTPConnection(urlsplit(live()).netloc, timeout=10)) as client:
        for _ in range(2):
            client.request("GET", "/health")
            assert client.getresponse().read() == b'{"status":"ok"}'
            pause.wait(0.7)


@pytest.mark.usefixtures("hasty")
def test_a_client_that_reads_nothing_loses_its_stream(
    live: Callable[..., str], service: FakeModelService
) -> None:
    service.script = [TextDelta(0, "x" * 100_000)] * 1000
    with connect(live()) as client:
        client.sendall(REQUEST)
        assert service.closed.wait(LIMIT_S)


@pytest.mark.usefixtures("hasty")
def test_a_request_at_work_may_take_longer_than_a_client_may_stand_still(
    live: Callable[..., str], service: FakeModelService
) -> None:
    pause = threading.Event()
    service.script = [*spoken("a"), lambda: pause.wait(0.3), TextDelta(0, "late")]
    with connect(live()) as client, client.makefile("rb") as answer:
        client.sendall(REQUEST)
        assert any(b"late" in line for line in answer)


def test_an_offer_of_another_protocol_is_passed_over_in_silence(
    live: Callable[..., str], caplog: pytest.LogCaptureFixture
) -> None:
    url = live(log_level="warning")
    for offer in ("websocket", "h2c"):
        upgrade = f"Connection: Upgrade\r\nUpgrade: {offer}\r\nSec-WebSocket-Key: x\r\n".encode()
        with connect(url) as client:
            client.settimeout(LIMIT_S)
            client.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n" + upgrade + b"\r\n")
            assert client.recv(12) == b"HTTP/1.1 200"
    assert not caplog.records
