"""How servers end: told to, told twice, or because the engine died."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.e2e.server import LIMIT_S, Server, eventually, in_thread
from tests.fakes.chat_tokenizer import save_text_side
from tests.fakes.runner import FakeRunner, FakeStep
from tests.fakes.wire import frames, named_events

from vllm_mlx.config import Config, EngineConfig, ModelConfig
from vllm_mlx.runners.base import RunnerDied, StepPlan, do_nothing
from vllm_mlx.service.build import build_service

CHAT = "/v1/chat/completions"
BODY = {"messages": [{"role": "user", "content": "go on"}], "stream": True}
SCRIPT = [{"text": "and on ", "endless": True}]


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[list[Server]]:
    started: list[Server] = []
    yield started
    for server in started:
        server.end()


def start(servers: list[Server], tmp_path: Path, timeout_s: float) -> Server:
    (tmp_path / "script.json").write_text(json.dumps(SCRIPT))
    words = (str(tmp_path / "script.json"), "--port", "0", "--shutdown-timeout", str(timeout_s))
    server = Server("tests.fakes.serve", *words, log=tmp_path / "log")
    servers.append(server)
    server.wait_until_ready()
    return server


def test_streams_that_fit_the_deadline_end_as_they_would_have(servers: list[Server], tmp_path: Path) -> None:
    server = start(servers, tmp_path, timeout_s=60)
    with httpx.stream(
        "POST", server.url + CHAT, json=BODY | {"max_tokens": 5_000}, timeout=LIMIT_S
    ) as answer:
        pieces = answer.iter_text()
        text = next(pieces)
        server.process.send_signal(signal.SIGTERM)
        text += "".join(pieces)
    assert frames(text)[-1]["choices"][0]["finish_reason"] == "length"
    assert server.process.wait(LIMIT_S) == 0
    assert "Traceback" not in server.end()


def test_streams_past_the_deadline_end_with_an_error_event(servers: list[Server], tmp_path: Path) -> None:
    """Each API has its own word for it, and its own end."""
    server = start(servers, tmp_path, timeout_s=0.2)
    bodies: dict[str, dict[str, Any]] = {
        CHAT: BODY | {"max_tokens": 120_000},
        "/v1/completions": {"prompt": "go on", "stream": True, "max_tokens": 120_000},
        "/v1/messages": BODY | {"max_tokens": 120_000},
        "/v1/responses": {"input": "go on", "stream": True, "max_output_tokens": 120_000},
    }
    with ThreadPoolExecutor(len(bodies)) as pool:
        begun = threading.Barrier(len(bodies) + 1)

        def read(path: str) -> str:
            with httpx.stream("POST", server.url + path, json=bodies[path], timeout=LIMIT_S) as answer:
                pieces = answer.iter_text()
                text = next(pieces)
                begun.wait(LIMIT_S)
                return text + "".join(pieces)

        reading = {path: pool.submit(read, path) for path in bodies}
        begun.wait(LIMIT_S)
        server.process.send_signal(signal.SIGTERM)
        said = {path: each.result() for path, each in reading.items()}
    for path in (CHAT, "/v1/completions"):
        error = frames(said[path])[-1]["error"]
        assert (error["type"], error["code"]) == ("server_error", "unavailable")
    assert named_events(said["/v1/messages"])[-1]["error"]["type"] == "overloaded_error"
    last = named_events(said["/v1/responses"])[-1]
    assert (last["type"], last["response"]["error"]["code"]) == ("response.failed", "server_error")
    assert server.process.wait(LIMIT_S) == 0
    assert "Traceback" not in server.end()


def test_a_request_on_an_open_connection_is_refused_while_the_server_drains(
    servers: list[Server], tmp_path: Path
) -> None:
    server = start(servers, tmp_path, timeout_s=30)
    body = BODY | {"max_tokens": 60_000}
    with httpx.stream("POST", server.url + CHAT, json=body, timeout=LIMIT_S) as answer:
        pieces = answer.iter_text()  # once it is dropped, the connection closes
        next(pieces)
        server.process.send_signal(signal.SIGTERM)

        def refuses() -> bool:
            try:
                return (
                    httpx.post(server.url + CHAT, json=BODY | {"max_tokens": 1}, timeout=LIMIT_S).status_code
                    == 503
                )
            except httpx.HTTPError:
                return True

        eventually(refuses)
        assert server.process.poll() is None


def test_a_second_signal_ends_at_once(servers: list[Server], tmp_path: Path) -> None:
    server = start(servers, tmp_path, timeout_s=600)
    with httpx.stream(
        "POST", server.url + CHAT, json=BODY | {"max_tokens": 120_000}, timeout=LIMIT_S
    ) as answer:
        pieces = answer.iter_text()  # once it is dropped, the connection closes
        next(pieces)
        server.process.send_signal(signal.SIGINT)

        def closed() -> bool:
            try:
                return httpx.get(server.url + "/health", timeout=LIMIT_S).status_code == 503
            except httpx.HTTPError:
                return True

        eventually(closed)
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(LIMIT_S) == -signal.SIGINT


# ---- an engine that dies ----


class MortalRunner(FakeRunner):
    """Dies when it is told to, whatever it is doing then."""

    def __init__(self) -> None:
        super().__init__(
            vocab_size=512, block_size=16, num_blocks=4000, max_model_len=100_000, keep_plans=False
        )
        self.told = threading.Event()

    def submit(self, plan: StepPlan, starting: Callable[[], None] = do_nothing) -> FakeStep:
        if self.told.is_set():
            raise RunnerDied("the device is gone")
        return super().submit(plan, starting)

    def forget(self, seq_ids: Sequence[int]) -> None:
        super().forget(seq_ids)


def test_when_the_engine_dies_everybody_hears_of_it(tmp_path: Path) -> None:
    save_text_side(tmp_path / "fake", vocab_size=512)
    runner = MortalRunner()
    config = Config(model=ModelConfig(model=str(tmp_path / "fake")), engine=EngineConfig(max_num_seqs=2))
    body = {"prompt": "go on", "max_tokens": 20_000, "ignore_eos": True}
    service = build_service(config, runner_factory=lambda: runner)
    with in_thread(service) as url, ThreadPoolExecutor(4) as pool:
        sent = [
            pool.submit(
                httpx.post, url + "/v1/completions", json=body | {"stream": i % 2 == 0}, timeout=LIMIT_S
            )
            for i in range(4)
        ]
        # Two run, two wait.
        eventually(
            lambda: (
                httpx.get(url + "/v1/status", timeout=LIMIT_S).json().get("engine", {}).get("waiting") == 2
            )
        )
        runner.told.set()
        answers = [each.result() for each in sent]
        for answer in answers:
            if answer.status_code == 200:
                assert frames(answer.text)[-1]["error"]["code"] == "unavailable"
            else:
                assert (answer.status_code, answer.json()["error"]["code"]) == (503, "unavailable")
            assert "device" not in answer.text
        health = httpx.get(url + "/health", timeout=LIMIT_S)
        assert (health.status_code, health.json()["status"]) == (503, "failed")
        status = httpx.get(url + "/v1/status", timeout=LIMIT_S).json()
        assert (status["status"], status["detail"]) == ("failed", "the engine has stopped")
        assert status["active_requests"] == 0
        assert httpx.post(url + "/v1/completions", json=body, timeout=LIMIT_S).status_code == 503
    assert runner.closed
