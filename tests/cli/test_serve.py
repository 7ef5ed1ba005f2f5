"""What `serve` finds out before it loads a model for nothing."""

from __future__ import annotations

import socket

import pytest

from vllm_mlx.cli.main import run


def test_a_port_in_use_is_told_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert run(["serve", "--port", str(port)]) == 1
    shown = capsys.readouterr().err
    assert f"cannot listen on 127.0.0.1:{port}: Address already in use" in shown
    assert shown.count("\n") == 1
