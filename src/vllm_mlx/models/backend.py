"""What must be so before MLX is first imported: environment, a fast BLAS on Linux CPU, a backend at all."""

from __future__ import annotations

import ctypes
import importlib
import logging
import os
import platform
import subprocess
import sys

from vllm_mlx.core.errors import ModelLoadError

log = logging.getLogger(__name__)

# The CUDA caches throw after twice their capacity in lifetime misses unless told not to, and their default
# sizes are below what serving many prompt lengths needs (mlx/backend/cuda/lru_cache.h; lablup/mlxcel #818).
_ENVIRONMENT = {
    "MLX_ENABLE_CACHE_THRASHING_CHECK": "0",
    "MLX_CUDA_GRAPH_CACHE_SIZE": "4000",
    "MLX_CUDA_SDPA_CACHE_SIZE": "4096",
    # Else transformers tells everyone at the start that PyTorch is missing, which is not needed here.
    "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1",
}

BLAS_VARIABLE = "VLLM_MLX_BLAS"
_SYSTEM_BLAS = "libopenblas.so.0"


def set_environment() -> None:
    """Set the variables that MLX and transformers read when they are imported; child processes inherit them.

    A value that is set already stays.
    """
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)


def prepare_environment() -> None:
    """Set the environment and load the system BLAS where that helps.

    Call it before anything imports `mlx`: the wheel binds its BLAS at that moment. Later calls do no harm.
    `VLLM_MLX_BLAS=stock` keeps the BLAS of the MLX wheel.
    """
    set_environment()
    _load_system_blas()


def require_backend() -> None:
    """Prepare the environment and import MLX, or say in one line what to install.

    Raises:
        ModelLoadError: on Linux the package alone has no backend; it comes with an extra.
    """
    prepare_environment()
    try:
        importlib.import_module("mlx.core")
    except ImportError as error:
        log.debug("mlx cannot be imported", exc_info=error)
        raise _no_backend() from None


def check_backend() -> None:
    """Whether a child of this process could import MLX; this process itself stays without it.

    Raises:
        ModelLoadError: as from `require_backend`.
    """
    set_environment()
    # -P: not from the folder where the command was started.
    tried = subprocess.run(
        [sys.executable, "-P", "-c", "import mlx.core"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    if tried.returncode != 0:
        log.debug("mlx cannot be imported: %s", tried.stderr.decode(errors="replace"))
        raise _no_backend()


def _no_backend() -> ModelLoadError:
    return ModelLoadError(
        f"MLX has no backend on this machine: {_remedy(platform.system(), platform.machine())}",
        code="no_backend",
    )


def _remedy(system: str, machine: str) -> str:
    if system == "Linux":
        return (
            "run `pip install 'vllm-mlx[cpu]'`, or `pip install 'vllm-mlx[cuda]'` with an NVIDIA GPU; "
            "MLX needs glibc 2.35 or newer"
        )
    if system == "Darwin" and machine == "arm64":
        return "run `pip install --force-reinstall mlx`; MLX needs macOS 14 or newer"
    return f"MLX runs on Apple Silicon and on Linux, and this is {system} on {machine}"


def _load_system_blas() -> None:
    """Put OpenBLAS before the MLX CPU wheel's own reference BLAS in symbol lookup.

    A library loaded with RTLD_GLOBAL joins the global scope, which the dynamic linker searches before a
    later library's own dependencies; so MLX's calls of `cblas_*` land in it. 3072x1024 fp32 products ran
    25 to 50 times faster that way (4.5 -> 228 GFLOP/s on two cores).
    """
    if not sys.platform.startswith("linux") or "mlx.core" in sys.modules:
        return
    if os.environ.get(BLAS_VARIABLE, "system") != "system":
        return
    # One thread a core; more only fight with the HTTP threads.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", str(usable_cores()))
    try:
        ctypes.CDLL(_SYSTEM_BLAS, mode=ctypes.RTLD_GLOBAL)
    except OSError:
        log.info("MLX uses its own BLAS, ten times slower than OpenBLAS: apt install libopenblas0-pthread")


def usable_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
