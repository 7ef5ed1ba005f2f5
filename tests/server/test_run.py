"""Starting and stopping, in a process of its own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from tests.fakes.service import FakeModelService
from tests.fakes.wire import frames
from tests.limits import LIMIT_S

from vllm_mlx.config import ServerConfig
from vllm_mlx.core.errors import ModelLoadError
from vllm_mlx.server.run import bind, serve, url_of

ROOT = Path(__file__).parents[2]
BODY = {"messages": [{"role": "user", "content": "hi"}], "stream": True}

Start = Callable[..., tuple["subprocess.Popen[str]", str]]


@pytest.fixture
def start() -> Iterator[Start]:
    processes: list[subprocess.Popen[str]] = []

    def start(*arguments: str) -> tuple[subprocess.Popen[str], str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.fakes.hanging_server", *arguments],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        assert process.stdout is not None
        return process, process.stdout.readline().split()[-1]

    yield start
    for process in processes:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("kind", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_closes_the_door_and_ends_each_stream_with_a_word(
    start: Start, kind: signal.Signals
) -> None:
    process, url = start()
    with httpx.stream("POST", url + "/v1/chat/completions", json=BODY, timeout=LIMIT_S) as response:
        pieces = response.iter_text()
        text = next(pieces)
        process.send_signal(kind)
        text += "".join(pieces)
    assert frames(text)[-1]["error"]["message"] == "The server is stopping."
    assert process.wait(LIMIT_S) == 0
    with pytest.raises(httpx.ConnectError):
        httpx.get(url + "/health", timeout=LIMIT_S)
    assert process.stderr is not None
    assert "Traceback" not in process.stderr.read()


def is_open(address: tuple[str, int]) -> bool:
    with socket.socket() as connection:
        return connection.connect_ex(address) == 0


def test_a_second_signal_ends_the_process_at_once(start: Start) -> None:
    process, url = start("stubborn")
    with httpx.stream("POST", url + "/v1/chat/completions", json=BODY, timeout=LIMIT_S) as response:
        next(response.iter_text())
        process.send_signal(signal.SIGTERM)
        # The door is closed once the first signal has been heard.
        address = ("127.0.0.1", int(url.rsplit(":", 1)[1]))
        while is_open(address):
            pass
        process.send_signal(signal.SIGTERM)
        assert process.wait(LIMIT_S) == -signal.SIGTERM


def test_a_taken_port_is_one_line_and_exit_code_1(capfd: pytest.CaptureFixture[str]) -> None:
    with bind("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        assert serve(FakeModelService(), ServerConfig(port=port)) == 1
    output = capfd.readouterr()
    assert output.out == ""
    assert len(output.err.splitlines()) == 1
    assert str(port) in output.err


def test_a_model_that_cannot_be_loaded_ends_the_server_with_the_reason(
    capfd: pytest.CaptureFixture[str],
) -> None:
    service = FakeModelService()
    service.load_failure = ModelLoadError("The folder holds no config.json.")
    assert serve(service, ServerConfig(port=0, log_level="error")) == 1
    assert capfd.readouterr().err == "vllm-mlx: error: The folder holds no config.json.\n"
    assert service.drained


def test_a_free_port_is_announced(start: Start) -> None:
    _, url = start()
    assert httpx.get(url + "/health", timeout=LIMIT_S).json() == {"status": "ok"}


def test_an_ipv6_address_is_written_in_brackets() -> None:
    try:
        listener = bind("::1", 0)
    except OSError:
        pytest.skip("this machine has no IPv6")
    with listener:
        assert url_of(listener) == f"http://[::1]:{listener.getsockname()[1]}"
