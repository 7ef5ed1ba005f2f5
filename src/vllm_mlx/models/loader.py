"""From a model folder to an mlx-lm model in memory; nothing in the folder is executed."""

from __future__ import annotations

import importlib
import logging
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx_lm.utils import load_model

from vllm_mlx.core.errors import ModelLoadError
from vllm_mlx.models.compat import install_attention_seam
from vllm_mlx.models.manifest import ModelManifest, read_manifest

log = logging.getLogger(__name__)

_DTYPES = {"float32": mx.float32, "bfloat16": mx.bfloat16, "float16": mx.float16}

# It becomes part of a module's name.
_MODEL_TYPE = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """An mlx-lm model with its folder's description, and the dtype it computes in, by name."""

    model: Any
    manifest: ModelManifest
    dtype: str


def load(folder: Path, dtype: str = "auto") -> LoadedModel:
    """Load a model's weights, quantised or not, as they are.

    Args:
        dtype: `auto`, `float32`, `bfloat16` or `float16`. `auto` keeps the model's own, except on a CPU,
            where it is float32: MLX's 16-bit CPU kernels are scalar, quantised ones 11 to 16 times slower.

    Raises:
        ModelLoadError: with one sentence for the operator.
    """
    manifest = read_manifest(folder)
    target = _target_dtype(dtype)
    _check_model_type(manifest.model_type)
    install_attention_seam()
    try:
        model, _ = load_model(folder, lazy=True)
        if target is not None:
            model.set_dtype(target)
        mx.eval(model.parameters())
    except MemoryError as error:
        raise ModelLoadError("the model does not fit this machine's memory") from error
    except Exception as error:  # a folder can be wrong in any way
        log.debug("loading %s failed", folder, exc_info=error)
        raise ModelLoadError(_sentence(error, manifest)) from error
    return LoadedModel(model, manifest, _computing_dtype(model, target))


def _target_dtype(dtype: str) -> mx.Dtype | None:
    if dtype == "auto":
        return mx.float32 if mx.default_device() == mx.Device(mx.cpu) else None
    if dtype not in _DTYPES:
        raise ModelLoadError(f"dtype must be auto, {', '.join(_DTYPES)}, not {dtype!r}")
    return _DTYPES[dtype]


def _check_model_type(model_type: str) -> None:
    if not _MODEL_TYPE.fullmatch(model_type):
        raise ModelLoadError("the model's config.json holds a model_type that is no name")
    # mlx-lm answers with a ValueError of its own for a missing one; helper modules beside the families
    # ("cache", "base") are none.
    try:
        module = importlib.import_module(f"mlx_lm.models.{model_type}")
    except ImportError:
        return  # maybe another name for a known family: mlx-lm decides
    if not hasattr(module, "Model"):
        raise ModelLoadError(f"mlx-lm does not know the model type {model_type!r}")


def _sentence(error: Exception, manifest: ModelManifest) -> str:
    text = str(error)
    if isinstance(error, ValueError) and "not supported" in text and "Model type" in text:
        return f"mlx-lm does not know the model type {manifest.model_type!r}"
    if isinstance(error, ValueError) and ("parameters" in text or "shape" in text):
        return f"the weights do not fit the model's config.json: {text.splitlines()[0][:200]}"
    if isinstance(error, TypeError | KeyError | AttributeError):
        return f"config.json lacks something that {manifest.model_type!r} needs, or holds a wrong value"
    return f"the model cannot be loaded: {type(error).__name__}"


def _computing_dtype(model: Any, target: mx.Dtype | None) -> str:
    if target is not None:
        return str(target).removeprefix("mlx.core.")
    sizes: dict[str, int] = {}
    _count_floats(model.parameters(), sizes)
    return max(sizes, key=lambda name: sizes[name]) if sizes else ""


def _count_floats(tree: Any, sizes: dict[str, int]) -> None:
    if isinstance(tree, dict):
        tree = list(tree.values())
    if isinstance(tree, list):
        for branch in tree:
            _count_floats(branch, sizes)
    elif isinstance(tree, mx.array) and mx.issubdtype(tree.dtype, mx.floating):
        name = str(tree.dtype).removeprefix("mlx.core.")
        sizes[name] = sizes.get(name, 0) + tree.size
