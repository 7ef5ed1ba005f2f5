"""`make demo`: shows an answer, serves on, and ends cleanly; a taken port is told in one line."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from tests.architecture.project import ROOT
from tests.limits import LIMIT_S
from tools.demo import main

SERVER = Path(__file__).parent / "scripted_server.py"
START = "import sys; from tools.demo import run; sys.exit(run(sys.argv[2:], int(sys.argv[1])))"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def demo(*server: str) -> subprocess.Popen[str]:
    port = str(free_port())
    command = [sys.executable, "-u", "-c", START, port, sys.executable, *server, port]
    return subprocess.Popen(
        command, cwd=ROOT, env={"PYTHONPATH": f"{ROOT}:{ROOT / 'src'}"}, stdout=-1, stderr=-1, text=True
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_shows_an_answer_and_serves_until_a_signal(number: signal.Signals) -> None:
    with demo(str(SERVER)) as shown:
        assert shown.stdout is not None
        assert shown.stderr is not None
        seen = ""
        while "curl" not in seen:
            line = shown.stdout.readline()
            assert line, shown.stderr.read()
            seen += line
        assert "\ndemo: I am a stand-in.\n" in seen
        shown.send_signal(number)
        rest, errors = shown.communicate(timeout=LIMIT_S)
        assert shown.returncode == 0
        assert rest.endswith("drained\n")
        assert errors == ""


def test_a_server_that_cannot_start_ends_it_with_the_server_s_code() -> None:
    with demo("-c", "import sys; sys.exit(3)") as shown:
        _, errors = shown.communicate(timeout=LIMIT_S)
        assert (shown.returncode, errors) == (3, "")


def test_a_taken_port_is_told_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["--port", str(port)]) == 1
    shown = capsys.readouterr().err
    assert f"port {port}: Address already in use" in shown
    assert "choose another, as in `make demo PORT=" in shown
    assert shown.count("\n") == 1


@pytest.mark.parametrize("port", ["70000", "0"])
def test_a_port_that_cannot_be_is_told(port: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--port", port]) == 1
    assert capsys.readouterr().err.count("\n") == 1
