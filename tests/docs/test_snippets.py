"""Every command and program that a page shows runs as it is written.

A fenced block of bash, python or js has a mark after its language: {test} runs against a server with the
bundled model, {local} by itself, {manual} is for a person (it installs, serves or changes the clone), and
{client NAME} is run by `make test-clients`, with that client's packages. A block {file NAME} of any language
is a file beside the page's commands; {serve} starts the server that the page's {test} blocks ask.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from threading import Event
from typing import NamedTuple

import pytest
from tests.architecture.project import PACKAGE, ROOT

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs" / "guides").glob("*.md"))]
BLOCK = re.compile(r"^```(\w+)[ ]*([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
RUNNABLE = ("bash", "sh", "shell", "python", "js")
MARKS = ("{test}", "{local}", "{manual}", "{serve}")
FOR_CLIENT = re.compile(r"\{client ([\w-]+)\}")
FILE = re.compile(r"\{file ([\w.-]+)\}")
SHOWN_ADDRESS = "127.0.0.1:8000"
START_LIMIT_S = 60
SNIPPET_LIMIT_S = 120


class Snippet(NamedTuple):
    """One fenced block of a page."""

    page: str
    line: int
    language: str
    mark: str
    text: str


def blocks() -> list[Snippet]:
    found = []
    for page in PAGES:
        content = page.read_text(encoding="utf-8")
        for block in BLOCK.finditer(content):
            line = content[: block.start()].count("\n") + 1
            language, mark, text = block.groups()
            found.append(Snippet(page.relative_to(ROOT).as_posix(), line, language, mark.strip(), text))
    return found


def snippets() -> list[Snippet]:
    """What is run in some way."""
    return [block for block in blocks() if block.language in RUNNABLE and not FILE.fullmatch(block.mark)]


def marked(mark: str) -> pytest.MarkDecorator:
    chosen = [snippet for snippet in snippets() if snippet.mark == mark]
    return pytest.mark.parametrize("snippet", chosen, ids=lambda s: f"{s.page}:{s.line}")


def missing(*modules: str) -> str | None:
    """Why a snippet cannot run in this checkout yet, or None."""
    for module in modules:
        parent = module.rpartition(".")[0]
        if find_spec(parent) is None or find_spec(module) is None:
            return f"{module} does not exist yet"
    if not list((PACKAGE / "models" / "demo").glob("*.safetensors")):
        return "the bundled model is not here yet"
    return None


def environment() -> dict[str, str]:
    """Ours, with this checkout's package and commands first."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    return {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT / "src"), "HF_HUB_OFFLINE": "1"}


Addresses = Callable[[str], str]


@pytest.fixture(scope="module")
def address_for(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Addresses]:
    """Where a server with the bundled model listens for the commands of a page."""
    reason = missing("vllm_mlx.server.run", "vllm_mlx.service.build")
    if reason:
        pytest.skip(reason)
    own = {block.page: block for block in blocks() if block.mark == "{serve}"}
    running: dict[str, str] = {}
    with ExitStack() as servers:

        def address_for(page: str) -> str:
            command = own[page].text if page in own else "vllm-mlx serve"
            if command not in running:
                folder = tmp_path_factory.mktemp("page")
                for block in blocks():
                    name = FILE.fullmatch(block.mark)
                    if name is not None and block.page == page:
                        (folder / name[1]).write_text(block.text, encoding="utf-8")
                running[command] = servers.enter_context(serving(shlex.split(command), folder))
            return running[command]

        yield address_for


@contextmanager
def serving(words: Sequence[str], folder: Path) -> Iterator[str]:
    """A server that is started by the words of a command in a folder."""
    assert words[0] == "vllm-mlx"
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    more = ["--port", str(port), "--log-level", "warning"]
    command = [sys.executable, "-m", "vllm_mlx", *words[1:], *more]
    server = subprocess.Popen(command, env=environment(), cwd=folder)
    try:
        wait_until_up(server, f"http://127.0.0.1:{port}/health")
        yield f"127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(START_LIMIT_S)


def wait_until_up(server: subprocess.Popen[bytes], url: str) -> None:
    pause = Event()
    for _ in range(START_LIMIT_S * 10):
        assert server.poll() is None, "the server ended while it was starting"
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            pause.wait(0.1)
    pytest.fail("the server did not become ready")


def run(snippet: Snippet, text: str, folder: Path) -> str:
    """Run a block as its reader would; returns what it printed."""
    if snippet.language == "python":
        command = [sys.executable, "-c", text]
    else:
        if "curl" in text and shutil.which("curl") is None:
            pytest.skip("curl is not installed")
        command = ["bash", "-euo", "pipefail", "-c", text.replace("curl ", "curl -sS ")]
    done = subprocess.run(
        command,
        env=environment(),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=SNIPPET_LIMIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_block_says_how_it_is_proved() -> None:
    rest = [snippet for snippet in snippets() if not FOR_CLIENT.fullmatch(snippet.mark)]
    assert [f"{s.page}:{s.line}" for s in rest if s.mark not in MARKS] == []
    assert {s.mark for s in rest} == set(MARKS)


@pytest.mark.requirement(96)
@marked("{test}")
def test_a_snippet_for_a_running_server_runs(
    snippet: Snippet, address_for: Addresses, tmp_path: Path
) -> None:
    assert SHOWN_ADDRESS in snippet.text
    address = address_for(snippet.page)
    shown = run(snippet, snippet.text.replace(SHOWN_ADDRESS, address), tmp_path)
    assert shown.strip()
    assert '"error":{' not in shown


@pytest.mark.requirement(98)
@marked("{local}")
def test_a_snippet_without_a_server_runs(snippet: Snippet, tmp_path: Path) -> None:
    reason = missing("vllm_mlx.service.llm")
    if reason:
        pytest.skip(reason)
    assert run(snippet, snippet.text, tmp_path).strip()
