"""What `serve` finds out before it loads a model for nothing."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from vllm_mlx.cli.main import run
from vllm_mlx.cli.sources import unread


def test_a_port_in_use_is_told_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert run(["serve", "--port", str(port)]) == 1
    shown = capsys.readouterr().err
    assert f"cannot listen on 127.0.0.1:{port}: Address already in use" in shown
    assert shown.count("\n") == 1


@pytest.mark.requirement(11)
def test_a_parser_that_is_none_is_told_with_those_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["serve", "--port", "0", "--tool-call-parser", "qwen9"]) == 2
    shown = capsys.readouterr().err
    assert shown.startswith("vllm-mlx: error: --tool-call-parser must be auto or one of anthropic, ")
    assert shown.endswith("not 'qwen9'; did you mean 'qwen'?\n")


def test_a_model_that_cannot_be_loaded_is_told_once(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "config.json").write_text("{}")
    assert run(["serve", str(tmp_path), "--port", "0", "--no-engine-process", "--log-level", "warning"]) == 1
    told = "The model could not be loaded: the model's config.json names no model_type"
    assert capfd.readouterr().err == f"vllm-mlx: error: {told}\n"
    assert [record.getMessage() for record in caplog.records if record.levelname != "DEBUG"] == []


def test_a_variable_that_nothing_reads_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("VLLM_MLX_PROT", "8001")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert run(["serve", "--port", str(taken.getsockname()[1]), "--no-engine-process"]) == 1
    first = capsys.readouterr().err.splitlines()[0]
    assert first == "vllm-mlx: warning: VLLM_MLX_PROT has no effect; did you mean VLLM_MLX_PORT?"


def test_only_variables_with_our_prefix_that_are_no_settings_are_told() -> None:
    heard = ("VLLM_MLX_PORT", "VLLM_MLX_CONFIG", "VLLM_MLX_BLAS", "VLLM_PORT", "PATH")
    assert unread(dict.fromkeys(heard, "1")) == []
    assert unread({"VLLM_MLX_XYZZY": ""}) == ["VLLM_MLX_XYZZY has no effect: there is no such setting"]
    why = "nothing from a model folder is executed by this server"
    assert unread({"VLLM_MLX_TRUST_REMOTE_CODE": "1"}) == [f"VLLM_MLX_TRUST_REMOTE_CODE has no effect: {why}"]
