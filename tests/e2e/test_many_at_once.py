"""Many requests at a time: none fails, none changes another's text, and health is always answered."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPConnection
from typing import Any

import httpx
import openai
import pytest
from tests.e2e.server import LIMIT_S, Server, eventually, is_idle, serving
from tests.fakes.models import save_model

STREAMS = 50


def messages(i: int) -> list[Any]:
    return [{"role": "user", "content": f"{i} says: " + "so it is " * (i % 7)}]


async def stream_all(url: str, which: list[int]) -> list[str]:
    async with openai.AsyncOpenAI(
        base_url=url + "/v1", api_key="not-needed", max_retries=0, timeout=LIMIT_S
    ) as client:

        async def one(i: int) -> str:
            stream = await client.chat.completions.create(
                model="default",
                messages=messages(i),
                max_tokens=12,
                temperature=0,
                stream=True,
                extra_body={"ignore_eos": True},
            )
            chunks = [chunk async for chunk in stream]
            assert chunks[-1].choices[0].finish_reason == "length"
            return "".join(chunk.choices[0].delta.content or "" for chunk in chunks)

        return list(await asyncio.gather(*(one(i) for i in which)))


def engine(server: Server) -> dict[str, Any]:
    fields: dict[str, Any] = server.get("/v1/status").json()["engine"]
    return fields


@pytest.mark.anyio
@pytest.mark.requirement(8, 58, 85)
async def test_fifty_streams_say_what_each_says_alone(tiny: Server) -> None:
    together = await stream_all(tiny.url, list(range(STREAMS)))
    alone = [(await stream_all(tiny.url, [i]))[0] for i in range(STREAMS)]
    assert together == alone
    assert engine(tiny)["largest_batch"] > 8


@pytest.fixture(scope="module")
def hybrid(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A tiny lfm2, whose convolution states cannot be paged."""
    folder = tmp_path_factory.mktemp("hybrid")
    save_model(folder / "hybrid", "lfm2", chat=True)
    with serving("vllm_mlx", "serve", str(folder / "hybrid"), "--port", "0", log=folder / "log") as server:
        yield server


@pytest.mark.anyio
@pytest.mark.requirement(58)
async def test_a_model_that_cannot_be_paged_is_served_one_at_a_time_and_says_why(hybrid: Server) -> None:
    alone = [(await stream_all(hybrid.url, [i]))[0] for i in range(5)]
    assert await stream_all(hybrid.url, list(range(5))) == alone
    status = hybrid.get("/v1/status").json()
    assert status["runner"]["path"] == "sequential"
    assert "cannot be paged" in status["runner"]["reason"]
    assert (status["engine"]["largest_batch"], status["max_num_seqs"]) == (1, 1)
    assert is_idle(hybrid.url)


@pytest.mark.requirement(31)
def test_health_is_answered_while_long_prompts_are_read(tiny: Server) -> None:
    def read(i: int) -> int:
        prompt = f"{i} " + "a long prompt of many words " * 120
        answer = tiny.post("/v1/completions", prompt=prompt, max_tokens=1)
        return answer.status_code

    waits: list[float] = []
    with ThreadPoolExecutor(3) as pool, httpx.Client(timeout=LIMIT_S) as client:
        reading = [pool.submit(read, i) for i in range(3)]
        while not all(each.done() for each in reading):
            began = time.perf_counter()
            assert client.get(tiny.url + "/health").status_code == 200
            waits.append(time.perf_counter() - began)
    assert [each.result() for each in reading] == [200] * 3
    assert len(waits) > 3
    # A number for the eye; benchmarks/health_latency.py measures it.
    print(f"slowest of {len(waits)} health checks: {max(waits) * 1e3:.0f} ms")


# ---- clients that go away ----

FOREVER = {"messages": [{"role": "user", "content": "forever"}], "max_tokens": 100_000}
LONG = "a long prompt of many words " * 250


@contextmanager
def left_open(server: Server, path: str, body: dict[str, Any]) -> Iterator[None]:
    """A request whose sender closes the connection, unread, at the end of the block."""
    connection = HTTPConnection("127.0.0.1", server.port, timeout=LIMIT_S)
    try:
        connection.request("POST", path, json.dumps(body))
        yield
    finally:
        connection.close()


def test_leaving_a_stream_frees_its_row(scripted: Server) -> None:
    with httpx.stream(
        "POST", scripted.url + "/v1/chat/completions", json=FOREVER | {"stream": True}, timeout=LIMIT_S
    ) as answer:
        pieces = answer.iter_text()  # once it is dropped, the connection closes
        next(pieces)
        assert engine(scripted)["running"] == 1
    eventually(lambda: is_idle(scripted.url))


def test_leaving_a_whole_answer_frees_its_row(scripted: Server) -> None:
    with left_open(scripted, "/v1/chat/completions", FOREVER):
        eventually(lambda: engine(scripted)["running"] == 1)
    eventually(lambda: is_idle(scripted.url))


def test_leaving_several_prompts_frees_all_their_rows(scripted: Server) -> None:
    body = {"prompt": ["forever"] * 5, "n": 2, "stream": True, "max_tokens": 50_000}
    with httpx.stream("POST", scripted.url + "/v1/completions", json=body, timeout=LIMIT_S) as answer:
        pieces = answer.iter_text()  # once it is dropped, the connection closes
        next(pieces)
        eventually(lambda: engine(scripted)["running"] == 10)
    eventually(lambda: is_idle(scripted.url))


@pytest.mark.parametrize("stream", [False, True])
def test_leaving_during_the_prefill_frees_the_row(tiny: Server, stream: bool) -> None:
    before = engine(tiny)["generated_tokens"]
    body = {"prompt": f"{stream} " + LONG, "max_tokens": 1000, "ignore_eos": True, "stream": stream}
    with left_open(tiny, "/v1/completions", body):
        eventually(lambda: engine(tiny)["running"] == 1)
    eventually(lambda: is_idle(tiny.url))
    assert engine(tiny)["generated_tokens"] - before < 1000
