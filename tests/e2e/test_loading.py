"""While a model loads: health says so, and whoever asks already is served in the end."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from tests.e2e.server import LIMIT_S, Server, eventually, in_thread
from tests.fakes.chat_tokenizer import save_text_side
from tests.fakes.runner import FakeRunner

from vllm_mlx.config import Config, ModelConfig
from vllm_mlx.core.errors import ModelLoadError
from vllm_mlx.runners.base import Runner
from vllm_mlx.service.build import build_service

BODY = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 3}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_text_side(tmp_path / "fake", vocab_size=512)
    return tmp_path / "fake"


@pytest.mark.requirement(31, 86)
def test_a_request_during_the_load_waits_for_it(folder: Path) -> None:
    go = threading.Event()

    def load() -> Runner:
        assert go.wait(LIMIT_S)
        return FakeRunner(vocab_size=512, num_blocks=1000)

    service = build_service(Config(model=ModelConfig(model=str(folder))), runner_factory=load)
    with in_thread(service) as url, ThreadPoolExecutor() as pool:
        early = pool.submit(httpx.post, url + "/v1/chat/completions", json=BODY, timeout=LIMIT_S)
        eventually(lambda: httpx.get(url + "/v1/status", timeout=LIMIT_S).json()["active_requests"] == 1)
        health = httpx.get(url + "/health", timeout=LIMIT_S)
        assert (health.status_code, health.json()) == (503, {"status": "loading"})
        assert httpx.get(url + "/v1/models", timeout=LIMIT_S).json()["data"][0]["id"] == "fake"
        assert not early.done()
        go.set()
        answer = early.result()
        assert (answer.status_code, answer.json()["usage"]["completion_tokens"]) == (200, 3)
        health = httpx.get(url + "/health", timeout=LIMIT_S)
        assert (health.status_code, health.json()) == (200, {"status": "ok"})


@pytest.mark.requirement(86)
def test_a_request_during_a_load_that_fails_hears_why(folder: Path) -> None:
    go = threading.Event()

    def load() -> Runner:
        assert go.wait(LIMIT_S)
        raise ModelLoadError("the model lacks a weight file")

    service = build_service(Config(model=ModelConfig(model=str(folder))), runner_factory=load)
    with in_thread(service) as url, ThreadPoolExecutor() as pool:
        early = pool.submit(httpx.post, url + "/v1/chat/completions", json=BODY, timeout=LIMIT_S)
        eventually(lambda: httpx.get(url + "/v1/status", timeout=LIMIT_S).json()["active_requests"] == 1)
        go.set()
        answer = early.result()
    assert answer.status_code == 503
    assert "the model lacks a weight file" in answer.json()["error"]["message"]


@pytest.mark.requirement(86)
def test_the_first_request_to_a_new_process_is_served(chat_folder: Path, tmp_path: Path) -> None:
    server = Server("vllm_mlx", "serve", str(chat_folder), "--port", "0", log=tmp_path / "log")
    try:
        # Sent as soon as the address is announced, which is before the model is there.
        assert server.post("/v1/chat/completions", **BODY).status_code == 200
        assert server.get("/health").json() == {"status": "ok"}
    finally:
        server.end()


@pytest.mark.requirement(5)
def test_a_folder_that_is_not_there_ends_the_server_with_one_line(tmp_path: Path) -> None:
    gone = str(tmp_path / "secret" / "gone")
    server = Server("vllm_mlx", "serve", gone, "--port", "0", "--log-level", "error", log=tmp_path / "log")
    assert server.process.wait(LIMIT_S) == 1
    logged = server.end()
    assert "there is no model folder 'gone'" in logged
    assert "Traceback" not in logged
