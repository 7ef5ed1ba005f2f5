"""From a model's name to a folder on this machine."""

from __future__ import annotations

import importlib.resources
import logging
import os
import re
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HFValidationError,
    IncompleteSnapshotError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)

from vllm_mlx.core.errors import ModelLoadError

log = logging.getLogger(__name__)

DEMO = "demo"

# Weights and data; no code (*.py) and nothing that is executed when it is read (pickles).
ALLOWED_FILES = ["*.safetensors", "*.json", "*.jinja", "*.txt", "*.model", "*.tiktoken"]

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}(/[A-Za-z0-9_][\w.-]{0,95})?", re.ASCII)


def resolve_model(name: str, *, offline: bool = False) -> Path:
    """The folder of a model: `demo`, a local folder, or a Hugging Face id that is fetched where needed.

    Raises:
        ModelLoadError: there is no such model, or it cannot be fetched; says which.
    """
    if name == DEMO:
        return _demo_folder()
    if name and Path(name).expanduser().is_dir():
        return Path(name).expanduser().resolve()
    if name.startswith((".", "/", "~")) or name.count("/") > 1 or (os.sep != "/" and os.sep in name):
        # Clients that wait for the load see this as well, so it does not repeat the whole path.
        raise ModelLoadError(f"there is no model folder {Path(name).name!r} at the place that was given")
    if not _HUB_ID.fullmatch(name) or ".." in name or "--" in name:
        raise ModelLoadError(f"{name!r} is neither a local folder nor a Hugging Face id such as org/name")
    return _fetch(name, offline=offline)


def made_at(name: str) -> int | None:
    """Unix time of a model's files, which another start finds unchanged; None if they are not here yet."""
    try:
        return int((resolve_model(name, offline=True) / "config.json").stat().st_mtime)
    except (ModelLoadError, OSError):
        return None


def _demo_folder() -> Path:
    folder = Path(str(importlib.resources.files("vllm_mlx.models") / "demo"))
    if not (folder / "config.json").is_file():
        raise ModelLoadError("this installation does not hold the demo model")
    return folder


def _fetch(name: str, *, offline: bool) -> Path:
    try:
        return Path(snapshot_download(name, allow_patterns=ALLOWED_FILES, local_files_only=offline))
    except GatedRepoError as error:
        raise ModelLoadError(
            f"{name} is gated: accept its terms on the hub and log in with `hf auth login`"
        ) from error
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise ModelLoadError(f"there is no model {name} on the hub, and no such local folder") from error
    except (LocalEntryNotFoundError, IncompleteSnapshotError, OfflineModeIsEnabled) as error:
        where = "offline is set" if offline else "the hub cannot be reached"
        raise ModelLoadError(f"{name} is not on this machine, or not whole, and {where}") from error
    except Exception as error:  # the hub's client lets its HTTP library's own errors through
        log.debug("fetching %s failed", name, exc_info=error)
        raise ModelLoadError(
            f"{name} could not be fetched ({type(error).__name__}); another try goes on where this one ended"
        ) from error
