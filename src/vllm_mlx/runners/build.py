"""From settings to a runner. Imports no array library itself, so that the environment can be set first."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, cast

from vllm_mlx.config import CacheConfig, EngineConfig, ModelConfig
from vllm_mlx.models.backend import require_backend
from vllm_mlx.runners.base import Runner

if TYPE_CHECKING:
    from vllm_mlx.runners.text import Sampler


def build_runner(
    folder: Path,
    model: ModelConfig,
    engine: EngineConfig,
    cache: CacheConfig,
    *,
    new_sampler: Callable[[int], Sampler] | None = None,
) -> Runner:
    """Load and probe the model in a folder, and size its pool.

    Call it on the thread that will execute the steps: an MLX array that is not evaluated yet belongs to the
    thread that made it.

    Args:
        new_sampler: makes the sampler from the vocabulary size; `sampling.batch.Sampler` if not given.

    Raises:
        ModelLoadError: with one sentence for the operator.
    """
    require_backend()
    # Only now may mlx be imported.
    assemble = import_module("vllm_mlx.runners.assemble")
    return cast(Runner, assemble.assemble(folder, model, engine, cache, new_sampler=new_sampler))
