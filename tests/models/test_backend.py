"""Before MLX is imported: the BLAS, the environment, and what is said where there is no backend."""

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import pytest


def run(script: str, *, path: str = "", **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={
            **{key: value for key, value in os.environ.items() if key != "VLLM_MLX_BLAS"},
            "PYTHONPATH": os.pathsep.join(filter(None, [path, *sys.path])),
            **environment,
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


LOADED = """
from vllm_mlx.models.backend import require_backend
require_backend()
import mlx.core as mx
mx.eval(mx.ones((64, 64)) @ mx.ones((64, 64)))
print("openblas" in open("/proc/self/maps").read())
"""


def has_openblas() -> bool:
    try:
        ctypes.CDLL("libopenblas.so.0")
    except OSError:
        return False
    return True


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="macOS brings a fast BLAS")
def test_the_system_blas_is_used_unless_the_stock_one_is_asked_for() -> None:
    assert run(LOADED) == str(has_openblas())
    assert run(LOADED, VLLM_MLX_BLAS="stock") == "False"


def test_the_environment_is_set_but_not_over_the_operators_own() -> None:
    script = """
import os
from vllm_mlx.models.backend import prepare_environment
prepare_environment()
print(os.environ["MLX_CUDA_GRAPH_CACHE_SIZE"], os.environ["MLX_CUDA_SDPA_CACHE_SIZE"])
"""
    assert run(script, MLX_CUDA_GRAPH_CACHE_SIZE="7") == "7 4096"


def test_without_a_backend_one_line_names_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "mlx").mkdir()
    (tmp_path / "mlx" / "__init__.py").touch()
    (tmp_path / "mlx" / "core.py").write_text("raise ImportError('libmlx.so: cannot open')")
    script = """
from vllm_mlx.core.errors import ModelLoadError
from vllm_mlx.models.backend import require_backend
try:
    require_backend()
except ModelLoadError as error:
    print(error.code, error.message)
"""
    said = run(script, path=str(tmp_path))
    assert said.startswith("no_backend ")
    assert "pip install 'vllm-mlx[cpu]'" in said
    assert "vllm-mlx[cuda]" in said
    assert "\n" not in said
