"""Servers that several modules ask; nobody changes them, so one of each is enough."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest
from tests.e2e.server import Server, serving
from tests.fakes.model_folders import model_folder  # noqa: F401  (a fixture; it also settles the BLAS)
from tests.fakes.models import save_model

CONTEXT = 8192

SCRIPT = [
    {
        "when": "What is the weather",
        "text": (
            "<think>\nI need the tool.\n</think>\n\n"
            '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Zürich"}}\n</tool_call>'
        ),
    },
    {"when": "emoji", "text": "Grüße 👩‍👩‍👧 日本語 🏳️‍🌈!"},
    {"when": "count", "text": "one two three four five six"},
    {"when": "forever", "text": "and on ", "endless": True},
    {"when": "</think>", "text": "No thought."},
    {"text": "<think>\nHm.\n</think>\n\nA thought."},
]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def chat_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random qwen3 with a ChatML template."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    return save_model(folder, "qwen3", chat=True, config={"max_position_embeddings": CONTEXT})


@pytest.fixture(scope="session")
def tiny(chat_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """`vllm-mlx serve` over the tiny model."""
    log = tmp_path_factory.mktemp("tiny") / "log"
    # The words that the README and older set-ups use.
    words = (str(chat_folder), "--port", "0", "--continuous-batching", "--max-tokens", "24")
    with serving("vllm_mlx", "serve", *words, log=log) as server:
        yield server


@pytest.fixture(scope="session")
def scripted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The real app over `SCRIPT`."""
    folder = tmp_path_factory.mktemp("scripted")
    script = folder / "script.json"
    script.write_text(json.dumps(SCRIPT), encoding="utf-8")
    with serving("tests.fakes.serve", str(script), "--port", "0", log=folder / "log") as server:
        yield server


@pytest.fixture(scope="session")
def sdk(tiny: Server) -> Iterator[openai.OpenAI]:
    """The official client of the tiny model."""
    with tiny.sdk() as client:
        yield client


@pytest.fixture(scope="session")
def scripted_sdk(scripted: Server) -> Iterator[openai.OpenAI]:
    """The official client of the script."""
    with scripted.sdk() as client:
        yield client
