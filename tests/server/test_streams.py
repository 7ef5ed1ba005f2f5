"""Frames, silence, and clients that go away."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncGenerator, Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fakes.service import HANG, WAIT, FakeModelService, completed, spoken
from tests.fakes.wire import frames
from tests.limits import LIMIT_S

from vllm_mlx.core.errors import AppError, Overloaded
from vllm_mlx.core.events import Finished, ReasoningDelta, Started, TextDelta
from vllm_mlx.server.openai.chat_encode import ChatAnswer, ChatEncoder, ChatStream
from vllm_mlx.server.openai.completions_encode import CompletionEncoder, CompletionStream
from vllm_mlx.server.openai.envelope import Envelope
from vllm_mlx.server.openai.errors import STREAM_STYLE
from vllm_mlx.server.replies import EventStream
from vllm_mlx.server.sse import DONE, KEEP_ALIVE

ANY_TEXT = st.text(
    st.characters(exclude_categories=("Cs",)) | st.sampled_from('"\\\n\r\t\x00\x1b\x7f\u2028\u2029\ufeff😀'),
    min_size=1,
)


@pytest.mark.requirement(77)
@given(st.lists(ANY_TEXT, min_size=1, max_size=5), ANY_TEXT)
def test_any_text_survives_the_wire(pieces: list[str], thought: str) -> None:
    chat, stream = ChatEncoder(), ChatStream(Envelope("chatcmpl", 'a"model'), usage=True)
    legacy, legacy_stream = CompletionEncoder(), CompletionStream(Envelope("cmpl", "m"), usage=False)
    answer = ChatAnswer(Envelope("chatcmpl", "m"))
    events = [Started(0, 1), ReasoningDelta(0, thought), *(TextDelta(0, piece) for piece in pieces)]
    events += [Finished(0, "stop", pieces[0]), completed()]
    wire = legacy_wire = b""
    for event in events:
        chunk = chat.encode(event)
        answer.add(chunk)
        wire += stream.frame(chunk)
        if not isinstance(event, ReasoningDelta):
            legacy_wire += legacy_stream.frame(legacy.encode(0, event))
    deltas = [chunk["choices"][0] for chunk in frames((wire + DONE).decode())[:-1]]
    assert deltas[1]["delta"] == {"reasoning": thought, "reasoning_content": thought}
    assert [delta["delta"]["content"] for delta in deltas[2:-1]] == pieces
    assert deltas[-1]["stop_reason"] == pieces[0]
    texts = [chunk["choices"][0]["text"] for chunk in frames((legacy_wire + DONE).decode())]
    assert texts == [*pieces, ""]
    assert json.loads(answer.body())["choices"][0]["message"]["content"] == "".join(pieces)


class Client:
    """The far end of an ASGI response: collects what is sent, and may go away."""

    def __init__(self) -> None:
        self.sent: list[MutableMapping[str, Any]] = []
        self.got = asyncio.Event()
        self.gone = asyncio.Event()

    async def send(self, message: MutableMapping[str, Any]) -> None:
        self.sent.append(message)
        self.got.set()

    async def receive(self) -> dict[str, Any]:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent)


def streamed(events: AsyncGenerator[str, None], keep_alive_s: float) -> EventStream[str]:
    return EventStream(events, lambda text: text.encode(), STREAM_STYLE, keep_alive_s=keep_alive_s)


@pytest.mark.anyio
async def test_a_long_silence_is_filled_with_comments_and_errors_then_become_events() -> None:
    client = Client()

    async def slow() -> AsyncGenerator[str, None]:
        await client.got.wait()  # headers and the first comment, before any event
        yield "data: 1\n\n"
        raise Overloaded("later")

    await streamed(slow(), 0.001)({"type": "http"}, client.receive, client.send)
    assert client.sent[0]["status"] == 200
    assert client.body.startswith(KEEP_ALIVE)
    rest = client.body.replace(KEEP_ALIVE, b"").decode()
    assert frames(rest)[0] == 1
    assert frames(rest)[1]["error"]["code"] == "overloaded"
    assert client.sent[-1]["more_body"] is False


@pytest.mark.anyio
async def test_an_error_before_the_first_byte_is_left_to_the_error_handlers() -> None:
    client = Client()

    async def failing() -> AsyncGenerator[str, None]:
        raise Overloaded("now")
        yield ""

    with pytest.raises(AppError):
        await streamed(failing(), 60)({"type": "http"}, client.receive, client.send)
    assert not client.sent


@pytest.mark.anyio
async def test_when_the_server_cancels_a_stream_its_source_is_closed() -> None:
    client, closed = Client(), asyncio.Event()

    async def endless() -> AsyncGenerator[str, None]:
        try:
            yield "data: 1\n\n"
            await asyncio.Event().wait()
        finally:
            closed.set()

    task = asyncio.create_task(streamed(endless(), 60)({"type": "http"}, client.receive, client.send))  # type: ignore[arg-type]
    await client.got.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert closed.is_set()


def post(url: str, path: str, body: dict[str, Any]) -> socket.socket:
    address = urlsplit(url)
    assert address.hostname is not None
    connection = socket.create_connection((address.hostname, address.port or 80), timeout=LIMIT_S)
    data = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(data)}\r\n\r\n".encode()
    connection.sendall(head + data)
    return connection


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions", "/v1/messages", "/v1/responses"])
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("spoken_before", [0, 3])
def test_a_client_that_goes_away_ends_its_request(
    live: Callable[..., str], service: FakeModelService, path: str, stream: bool, spoken_before: int
) -> None:
    service.script = [*spoken("a b c")[:spoken_before], WAIT]
    asked = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 9, "input": "hi"}
    body = asked | {"prompt": ["x", "y"] if path == "/v1/completions" else None, "stream": stream}
    connection = post(live(), path, body)
    assert service.started.wait(LIMIT_S)
    if stream and spoken_before:
        assert connection.recv(1)
    assert not service.closed.is_set()
    connection.close()
    assert service.closed.wait(LIMIT_S)


def test_a_client_that_stays_is_served_while_another_goes(
    live: Callable[..., str], service: FakeModelService
) -> None:
    service.script = lambda request: (
        [HANG] if request.sampling.seed == 1 else [*spoken("still here"), completed()]
    )
    url = live()
    leaving = post(url, "/v1/completions", {"prompt": "x", "seed": 1})
    assert service.started.wait(LIMIT_S)
    leaving.close()
    staying = post(url, "/v1/completions", {"prompt": "x", "seed": 2})
    received = staying.recv(65536)
    staying.close()
    assert b" 200 " in received.split(b"\r\n")[0]
