"""Without MLX a command says what to install, and help still works."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.architecture.project import ROOT


def command(tmp_path: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return python(tmp_path, "-m", "vllm_mlx", *words)


def python(tmp_path: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run Python where `mlx.core` cannot be imported, the way that Linux without an extra fails."""
    broken = tmp_path / "mlx" / "core.py"
    broken.parent.mkdir()
    broken.parent.joinpath("__init__.py").touch()
    broken.write_text("raise ImportError('libmlx.so: cannot open shared object file')\n")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT / "src")])}
    return subprocess.run(
        [sys.executable, *words],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.requirement(119)
def test_serve_without_a_backend_names_the_remedy_and_exits_2(tmp_path: Path) -> None:
    done = command(tmp_path, "serve", "--port", "0")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "MLX has no backend on this machine: run" in done.stderr
    assert "pip install" in done.stderr


@pytest.mark.requirement(1)
@pytest.mark.parametrize("words", [["--help"], ["--version"], ["serve", "--help"]])
def test_help_and_version_need_no_backend(words: list[str], tmp_path: Path) -> None:
    done = command(tmp_path, *words)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.requirement(98)
def test_python_without_a_backend_gets_one_error_with_the_remedy(tmp_path: Path) -> None:
    done = python(tmp_path, "-c", "import vllm_mlx; vllm_mlx.LLM()")
    assert done.returncode == 1
    assert done.stderr.count("Traceback") == 1
    assert done.stderr.count("MLX has no backend on this machine: run") == 1
    assert "pip install" in done.stderr.splitlines()[-1]
