"""vllm-mlx: one machine with MLX as a model service."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vllm_mlx.core.sampling import SamplingParams
    from vllm_mlx.service.llm import LLM

__version__ = "0.1.0"
__all__ = ["LLM", "SamplingParams", "__version__"]

_LAZY = {"LLM": "vllm_mlx.service.llm", "SamplingParams": "vllm_mlx.core.sampling"}


def __getattr__(name: str) -> Any:
    # Lazy, because `vllm-mlx --help` must not wait for MLX and transformers.
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
