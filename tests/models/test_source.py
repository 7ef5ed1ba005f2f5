"""From a name to a folder: what is looked up, what is fetched, and what is said when it cannot be."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.fakes.hub import FakeHub, fake_hub

from vllm_mlx.core.errors import ModelLoadError
from vllm_mlx.models.source import made_at, resolve_model

FILES = {
    "config.json": b"{}",
    "model.safetensors": b"0" * 4000,
    "tokenizer.json": b"[]",
    "chat_template.jinja": b"x",
    "vocab.txt": b"a",
    "evil.py": b"raise SystemExit",
    "pytorch_model.bin": b"pickle",
    "weights.pkl": b"pickle",
    "weights.pt": b"pickle",
}

# huggingface_hub reads its settings when it is imported: each case runs in a process of its own.
SCRIPT = """
import json, sys
from vllm_mlx.core.errors import ModelLoadError
from vllm_mlx.models.source import resolve_model
for name, offline in json.loads(sys.argv[1]):
    try:
        folder = resolve_model(name, offline=offline)
        print(json.dumps({"files": sorted(p.name for p in folder.iterdir())}))
    except ModelLoadError as error:
        print(json.dumps({"error": error.message}))
"""


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with fake_hub() as served:
        served.repos["org/good"] = FILES
        yield served


def resolve_in_process(hub_url: str, home: Path, *cases: tuple[str, bool]) -> list[dict[str, object]]:
    environment = {
        **os.environ,
        "HF_ENDPOINT": hub_url,
        "HF_HOME": str(home),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DOWNLOAD_TIMEOUT": "2",
        "HF_HUB_ETAG_TIMEOUT": "2",
        "PYTHONPATH": os.pathsep.join(sys.path),
        "NO_PROXY": "127.0.0.1",
    }
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps(cases)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_hub_model_is_fetched_without_code_or_pickles_and_then_found_offline(
    hub: FakeHub, tmp_path: Path
) -> None:
    wanted = ["chat_template.jinja", "config.json", "model.safetensors", "tokenizer.json", "vocab.txt"]
    first, second = resolve_in_process(hub.url, tmp_path, ("org/good", False), ("org/good", True))
    assert first == second == {"files": wanted}
    assert hub.fetched() == set(wanted)


def test_what_the_hub_lacks_or_locks_is_said_in_words(hub: FakeHub, tmp_path: Path) -> None:
    hub.repos["org/locked"] = FILES
    hub.gated.add("org/locked")
    locked, missing, offline = resolve_in_process(
        hub.url, tmp_path, ("org/locked", False), ("org/absent", False), ("org/good", True)
    )
    assert "is gated" in str(locked["error"])
    assert "there is no model org/absent on the hub" in str(missing["error"])
    assert "offline is set" in str(offline["error"])
    assert not any("org/good" in line for line in hub.asked)


def test_a_hub_that_cannot_be_reached_is_said_in_words(tmp_path: Path) -> None:
    with fake_hub() as gone:
        url = gone.url
    (answer,) = resolve_in_process(url, tmp_path, ("org/good", False))
    assert "cannot be reached" in str(answer["error"])


@pytest.mark.slow  # the hub's client tries again for some seconds
def test_a_broken_transfer_is_an_error_and_the_next_try_completes_it(hub: FakeHub, tmp_path: Path) -> None:
    hub.cut.add("model.safetensors")
    (broken,) = resolve_in_process(hub.url, tmp_path, ("org/good", False))
    assert "could not be fetched" in str(broken["error"])
    (offline,) = resolve_in_process(hub.url, tmp_path, ("org/good", True))
    assert "is not on this machine, or not whole" in str(offline["error"])
    hub.cut.clear()
    (whole,) = resolve_in_process(hub.url, tmp_path, ("org/good", False))
    assert "model.safetensors" in whole["files"]  # type: ignore[operator]


def test_a_local_folder_is_taken_as_it_is(tmp_path: Path) -> None:
    assert resolve_model(str(tmp_path)) == tmp_path.resolve()
    assert resolve_model(str(tmp_path), offline=True) == tmp_path.resolve()


@pytest.mark.parametrize(
    "name",
    [
        "",
        "/no/such",
        "./nothing",
        "../up",
        "~/nothing",
        "a/b/c",
        "org/..",
        "or g/x",
        "org/na\nme",
        "org/",
    ],
)
def test_a_name_that_is_neither_folder_nor_id_never_reaches_a_hub(name: str) -> None:
    with pytest.raises(ModelLoadError, match=r"neither a local folder|no model folder"):
        resolve_model(name)


def test_a_model_is_as_old_as_its_files(tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    assert made_at(str(tmp_path)) is None
    config.write_text("{}")
    os.utime(config, (5, 1_700_000_000))
    assert made_at(str(tmp_path)) == 1_700_000_000
    assert made_at("nobody/never-fetched") is None
    assert made_at("demo") is not None
