"""What a person installs: the wheel holds the package with its data and gives the command."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from tests.architecture.project import PACKAGE, ROOT

COMMAND_LIMIT_S = 300


def done(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command that must succeed."""
    finished = subprocess.run(
        command,
        env={**os.environ, **environment},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=COMMAND_LIMIT_S,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    return finished


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    done(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT))
    [file] = folder.glob("*.whl")
    return file


@pytest.mark.requirement(1)
def test_the_wheel_holds_every_file_of_the_package(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    ours = {
        f"vllm_mlx/{file.relative_to(PACKAGE).as_posix()}"
        for file in PACKAGE.rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    assert ours - names == set()
    assert {name for name in names if ".dist-info/" not in name} - ours == set()


@pytest.mark.requirement(1)
def test_the_installed_wheel_gives_the_command(wheel: Path, tmp_path: Path) -> None:
    target = str(tmp_path)
    done(
        sys.executable,
        "-m",
        "pip",
        "install",
        "-q",
        "--no-deps",
        "--no-index",
        "--target",
        target,
        str(wheel),
    )
    script = (tmp_path / "bin" / "vllm-mlx").read_text()
    assert "from vllm_mlx.__main__ import main" in script
    code = "import sys, vllm_mlx.__main__ as m; print(m.__file__); sys.exit(m.main())"
    shown = done(sys.executable, "-c", code, "--help", PYTHONPATH=target).stdout
    assert shown.startswith(target)
    assert "serve" in shown


@pytest.mark.slow
@pytest.mark.requirement(1, 2)
def test_pip_installs_the_wheel_into_a_fresh_environment(wheel: Path, tmp_path: Path) -> None:
    done(sys.executable, "-m", "venv", str(tmp_path))
    lock = str(ROOT / "requirements" / "cpu.txt")
    python = str(tmp_path / "bin" / "python")
    done(python, "-m", "pip", "install", "-q", "--require-hashes", "-r", lock)
    done(python, "-m", "pip", "install", "-q", f"{wheel}[cpu]")
    done(python, "-m", "pip", "check")
    assert "serve" in done(str(tmp_path / "bin" / "vllm-mlx"), "--help").stdout


@pytest.mark.slow
@pytest.mark.requirement(2)
def test_uv_installs_the_wheel_as_a_tool(wheel: Path, tmp_path: Path) -> None:
    if shutil.which("uv") is None:
        pytest.skip("uv is not installed")
    places = {"UV_TOOL_DIR": str(tmp_path / "tools"), "UV_TOOL_BIN_DIR": str(tmp_path / "bin")}
    done("uv", "tool", "install", "--python", sys.executable, f"vllm-mlx[cpu] @ {wheel.as_uri()}", **places)
    assert "serve" in done(str(tmp_path / "bin" / "vllm-mlx"), "--help").stdout
