"""The fixture that saves tiny models; import it in a conftest."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fakes.models import save_model

# Golden tokens need one BLAS everywhere; it must be chosen before mlx is imported.
os.environ.setdefault("VLLM_MLX_BLAS", "stock")


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Saves each tiny model once a session."""
    root = tmp_path_factory.mktemp("models")

    def folder(family: str, **options: object) -> Path:
        name = "-".join([family, *(f"{key}={value}" for key, value in sorted(options.items()))])
        path = root / name.replace("/", "_").replace(" ", "")
        return path if path.exists() else save_model(path, family, **options)  # type: ignore[arg-type]

    return folder
