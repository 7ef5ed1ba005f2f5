"""Runner factories for an engine in a child process; what they make is written in the model's folder."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

from tests.fakes.letters import save_letters
from tests.fakes.runner import FakeRunner
from vllm_mlx.config import CacheConfig, EngineConfig, ModelConfig
from vllm_mlx.core.errors import ModelLoadError

FILE = "fake.json"


def describe(
    folder: Path, *, load_error: Exception | None = None, kill_self: bool = False, **options: object
) -> Path:
    """Write down what `fake_runner` is to do: options of `FakeRunner`, or how to fail."""
    failure = None if load_error is None else [type(load_error).__name__, str(load_error)]
    written = {"load_error": failure, "kill_self": kill_self, "options": options}
    (folder / FILE).write_text(json.dumps(written))
    save_letters(folder)
    return folder


def fake_runner(folder: Path, model: ModelConfig, engine: EngineConfig, cache: CacheConfig) -> FakeRunner:
    """A `FakeRunner`, in place of `build_runner`."""
    written = json.loads((folder / FILE).read_text())
    if written["kill_self"]:
        os.kill(os.getpid(), 9)
    if written["load_error"] is not None:
        kind, message = written["load_error"]
        known: dict[str, Callable[[str], Exception]] = {"ModelLoadError": ModelLoadError}
        raise known.get(kind, ValueError)(message)
    return FakeRunner(**{"keep_plans": False, **written["options"]})
