"""Starts servers for the end-to-end tests: in a process of their own, or on a thread of this one."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Event

import anthropic
import httpx
import openai
from tests.limits import LIMIT_S

from vllm_mlx.config import ServerConfig
from vllm_mlx.server.run import DrainingServer, bind, url_of
from vllm_mlx.service.port import ModelService
from vllm_mlx.service.tool_loop import ToolLoop

ROOT = Path(__file__).parents[2]


class Server:
    """A server process and its address.

    Args:
        words: what to run with `python -m`.
        log: where its stderr goes.
        before: folders for the front of its PYTHONPATH.
    """

    def __init__(
        self,
        *words: str,
        log: Path,
        before: tuple[Path, ...] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.log = log
        path = os.pathsep.join(map(str, [*before, ROOT / "src", ROOT]))
        with log.open("wb") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *words],
                cwd=ROOT,
                env={**os.environ, "VLLM_MLX_BLAS": "stock", "PYTHONPATH": path, **(environment or {})},
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        assert self.process.stdout is not None
        self.announced = self.process.stdout.readline()
        assert self.announced, log.read_text()
        self.url = self.announced.split()[-1]

    @property
    def port(self) -> int:
        return int(self.url.rsplit(":", 1)[1])

    def get(self, path: str) -> httpx.Response:
        return httpx.get(self.url + path, timeout=LIMIT_S)

    def post(self, path: str, **body: object) -> httpx.Response:
        return httpx.post(self.url + path, json=body, timeout=LIMIT_S)

    def sdk(self) -> openai.OpenAI:
        return openai.OpenAI(base_url=self.url + "/v1", api_key="not-needed", max_retries=0, timeout=LIMIT_S)

    def anthropic_sdk(self) -> anthropic.Anthropic:
        return anthropic.Anthropic(base_url=self.url, api_key="not-needed", max_retries=0, timeout=LIMIT_S)

    def wait_until_ready(self) -> None:
        """A request that needs the model waits for it."""
        assert self.post("/tokenize", prompt="x").status_code == 200, self.log.read_text()

    def end(self) -> str:
        """End it by its own id, whatever state it is in; returns what it logged."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()
        return self.log.read_text()


@contextmanager
def serving(*words: str, log: Path, **more: object) -> Iterator[Server]:
    """A server process that is ready, for as long as the block lasts, and ends in order."""
    server = Server(*words, log=log, **more)  # type: ignore[arg-type]
    try:
        server.wait_until_ready()
        yield server
        server.process.terminate()
        assert server.process.wait(LIMIT_S) == 0, log.read_text()
    finally:
        logged = server.end()
    assert "Traceback" not in logged, logged


@contextmanager
def in_thread(
    service: ModelService, *, tool_loop: ToolLoop | None = None, **settings: object
) -> Iterator[str]:
    """The real server over a service of this process; gives its address."""
    config = ServerConfig(**({"log_level": "error", "shutdown_timeout": 5} | settings))  # type: ignore[arg-type]
    listener = bind("127.0.0.1", 0)
    server = DrainingServer(service, config, tool_loop=tool_loop)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield url_of(listener)
    finally:
        server.should_exit = True
        thread.join(LIMIT_S)
        assert not thread.is_alive()


def eventually(holds: Callable[[], bool]) -> None:
    """Ask again and again, for a bounded time."""
    pause = Event()
    for _ in range(20 * LIMIT_S):
        if holds():
            return
        pause.wait(0.05)
    raise AssertionError("what was awaited did not happen")


def is_idle(url: str) -> bool:
    """Whether the server runs nothing and every block is free or cached."""
    status = httpx.get(url + "/v1/status", timeout=LIMIT_S).json()
    engine = status["engine"]
    cache = engine["cache"]
    assert cache["free_blocks"] + cache["cached_blocks"] + cache["active_blocks"] == cache["total_blocks"]
    return (
        status["active_requests"],
        engine["running"],
        engine["waiting"],
        cache["active_blocks"],
    ) == (0, 0, 0, 0)
