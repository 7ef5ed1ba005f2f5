"""A model folder's safetensors files: whether they are whole, and a name for what they hold."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from vllm_mlx.core.errors import ModelLoadError

INDEX = "model.safetensors.index.json"
_PATTERN = "model*.safetensors"
"""What mlx-lm loads; pickles are not looked at."""

_MAX_HEADER_BYTES = 100 * 2**20  # the format's own limit
_SAMPLES = 16
_SAMPLE_BYTES = 4096


def fingerprint_folder(folder: Path) -> str:
    """A cheap, stable name for config and weights: names, sizes, headers and samples of the data.

    Raises:
        ModelLoadError: weights are missing or cut short.
    """
    digest = hashlib.sha256((folder / "config.json").read_bytes())
    for path in weight_files(folder):
        digest.update(f"{path.name}\0{path.stat().st_size}\0".encode())
        _add_file(digest, path)
    return digest.hexdigest()[:32]


def weight_files(folder: Path) -> list[Path]:
    """The weight files, by name; every one the index lists is there.

    Raises:
        ModelLoadError: there is none, or one is missing.
    """
    found = sorted(path for path in folder.glob(_PATTERN) if path.is_file())
    listed = _listed(folder)
    missing = sorted(listed - {path.name for path in found})
    if missing:
        raise ModelLoadError(
            f"the model lacks {len(missing)} of its {len(listed)} weight files: {missing[0]}"
        )
    if not found:
        raise ModelLoadError("the model folder holds no model*.safetensors file")
    return found


def _listed(folder: Path) -> set[str]:
    try:
        index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        return set(index["weight_map"].values())
    except FileNotFoundError:
        return set()
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ModelLoadError(f"the model's {INDEX} cannot be read") from error


def _add_file(digest: Any, path: Path) -> None:
    size = path.stat().st_size
    with path.open("rb") as file:
        header_size = int.from_bytes(file.read(8), "little")
        if size < 8 or header_size > min(size - 8, _MAX_HEADER_BYTES):
            raise ModelLoadError(f"{path.name} is no safetensors file, or cut short")
        header = file.read(header_size)
        data = 8 + header_size
        if size < data + _data_bytes(header, path.name):
            raise ModelLoadError(f"{path.name} is cut short; fetch it again")
        digest.update(header)
        for i in range(_SAMPLES):
            file.seek(data + (size - data) * i // _SAMPLES)
            digest.update(file.read(_SAMPLE_BYTES))


def _data_bytes(header: bytes, name: str) -> int:
    """Size of the data section that a safetensors header announces."""
    try:
        tensors = json.loads(header)
        ends = [entry["data_offsets"][1] for key, entry in tensors.items() if key != "__metadata__"]
        return int(max(ends, default=0))
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        raise ModelLoadError(f"{name} has no valid safetensors header") from error
