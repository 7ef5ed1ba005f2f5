"""`serve` with its model in a child process: nothing outlives the front, and the front outlives the child."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.limits import LIMIT_S

ROOT = Path(__file__).parents[2]


class Server:
    """`vllm-mlx serve` in a process of its own."""

    def __init__(self, folder: Path, temporary: Path, *flags: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "vllm_mlx", "serve", str(folder), "--port", "0", *flags],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT / "src"), "TMPDIR": str(temporary)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().split()[-1]

    def get(self, path: str) -> Any:
        return httpx.get(self.url + path, timeout=LIMIT_S).json()

    def complete(self, max_tokens: int = 4) -> httpx.Response:
        return httpx.post(self.url + "/v1/completions", json=body(max_tokens), timeout=LIMIT_S)

    def pid(self) -> int:
        return int(self.get("/v1/status")["engine_health"]["pid"])


def body(max_tokens: int, *, stream: bool = False) -> dict[str, Any]:
    return {
        "model": "m",
        "prompt": "abc",
        "temperature": 0,
        "max_tokens": max_tokens,
        "stream": stream,
        "ignore_eos": True,
    }


@pytest.fixture
def start(model_folder: Callable[..., Path], tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Starts servers over a tiny model with a long context, waits until they serve, and ends them."""
    servers: list[Server] = []
    folder = model_folder("llama", config={"max_position_embeddings": 100_000})

    def start(*flags: str) -> Server:
        server = Server(folder, tmp_path, *flags)
        servers.append(server)
        assert server.complete().status_code == 200
        return server

    yield start
    for server in servers:
        server.process.kill()
        server.process.communicate()
    assert list(tmp_path.glob("vmx*")) == []  # MLX keeps a folder of its own there


def gone(pid: int) -> bool:
    """Whether a process has ended; in a container perhaps no one has taken notice of it yet."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] == "Z"


def within(seconds: float, happened: Callable[[], bool]) -> bool:
    tick = threading.Event()
    for _ in range(int(seconds / 0.02)):
        if happened():
            return True
        tick.wait(0.02)
    return happened()


def test_killing_the_front_ends_the_child_within_two_seconds_even_amid_a_stream(
    start: Callable[..., Server],
) -> None:
    server = start()
    pid = server.pid()
    with httpx.stream(
        "POST", server.url + "/v1/completions", json=body(50_000, stream=True), timeout=LIMIT_S
    ) as response:
        next(response.iter_lines())
        assert not gone(pid)
        server.process.kill()
        server.process.wait()
        assert within(2, lambda: gone(pid))


@pytest.mark.parametrize("kind", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_the_whole_group_lets_the_stream_finish(
    start: Callable[..., Server], kind: signal.Signals
) -> None:
    server = start()
    pid = server.pid()
    with httpx.stream(
        "POST", server.url + "/v1/completions", json=body(300, stream=True), timeout=LIMIT_S
    ) as response:
        lines = response.iter_lines()
        next(lines)
        os.killpg(server.process.pid, kind)
        os.kill(pid, kind)
        events = [json.loads(line[6:]) for line in lines if line.startswith("data: {")]
    assert events[-1]["choices"][0]["finish_reason"] == "length"
    assert server.process.wait(LIMIT_S) == 0
    assert gone(pid)
    assert server.process.stderr is not None
    assert "Traceback" not in server.process.stderr.read()


def test_killing_the_child_ends_its_streams_in_shape_and_the_server_recovers(
    start: Callable[..., Server],
) -> None:
    server = start()
    before = server.complete().json()["choices"][0]["text"]
    pid = server.pid()
    with httpx.stream(
        "POST", server.url + "/v1/completions", json=body(50_000, stream=True), timeout=LIMIT_S
    ) as response:
        lines = response.iter_lines()
        next(lines)
        os.kill(pid, signal.SIGKILL)
        data = [line[6:] for line in lines if line.startswith("data: ")]
    error = json.loads(data[-2])["error"]
    assert (error["code"], data[-1]) == ("unavailable", "[DONE]")
    health = httpx.get(server.url + "/health", timeout=LIMIT_S)
    assert (health.status_code, health.json()["status"]) == (503, "restarting")
    assert "SIGKILL" in health.json()["detail"]
    refused = server.complete()
    assert refused.status_code == 503
    assert int(refused.headers["retry-after"]) >= 1
    assert within(LIMIT_S, lambda: server.get("/health")["status"] == "ok")
    assert server.complete().json()["choices"][0]["text"] == before
    assert server.get("/v1/status")["engine_health"]["restarts"] == 1


def test_a_model_that_cannot_be_loaded_is_said_by_the_front_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "config.json").write_text("{}")
    (tmp_path / "tmp").mkdir()
    server = Server(tmp_path / "broken", tmp_path / "tmp", "--log-level", "error")
    _, shown = server.process.communicate(timeout=LIMIT_S)
    assert server.process.returncode == 1
    assert shown.splitlines()[-1].startswith("vllm-mlx: error: The model could not be loaded: ")
    assert list((tmp_path / "tmp").glob("vmx*")) == []


def test_a_front_whose_engine_is_a_child_never_imports_mlx(model_folder: Callable[..., Path]) -> None:
    program = """
import asyncio, sys
from vllm_mlx.config import Config, ModelConfig
from vllm_mlx.core.requests import GenerateRequest, TextInput
from vllm_mlx.core.results import fold
from vllm_mlx.core.sampling import SamplingParams
from vllm_mlx.server.run import serve
from vllm_mlx.service.build import build_service

async def main():
    hub = build_service(Config(model=ModelConfig(model=sys.argv[1])))
    await hub.start()
    request = GenerateRequest(input=TextInput("abc"), sampling=SamplingParams(max_tokens=3, ignore_eos=True))
    result = await fold(hub.generate(request))
    await hub.aclose()
    print(result.usage.completion_tokens, [m for m in sys.modules if m.split(".")[0] in ("mlx", "mlx_lm")])

asyncio.run(main())
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(model_folder("llama"))],
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert done.stdout == "3 []\n", done.stderr
