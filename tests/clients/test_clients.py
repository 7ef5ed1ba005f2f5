"""Real clients, each in an environment of its own, finish a task with a tool call over scripted answers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
from tests.clients.install import Client, NotInstallable, install, table
from tests.docs.test_snippets import FOR_CLIENT, SHOWN_ADDRESS, Snippet, snippets
from tests.e2e.server import serving

RUN_LIMIT_S = 300
RESULT = "nine-4711"
ANSWER = "It closes at nine."
THOUGHT = "<think>\nI look at what I have.\n</think>\n\n"
TABLE = {client.name: client for client in table()}
SHOWN = [snippet for snippet in snippets() if FOR_CLIENT.fullmatch(snippet.mark)]
NOWHERE = "http://127.0.0.1:9"


def script(client: Client, work: Path) -> list[dict[str, object]]:
    """A call, and an answer once its result is there; a closed thought in the prompt tells not to think."""
    call = json.dumps(client.call).replace("{work}", str(work))
    called = f"<tool_call>\n{call}\n</tool_call>"
    formed = json.dumps({"sentence": ANSWER})
    return [
        {"when": ["by the schema", "</think>"], "text": formed},
        {"when": "by the schema", "text": f"<think>\nBy the schema.\n</think>{formed}"},
        {"when": [RESULT, "</think>"], "text": ANSWER},
        {"when": RESULT, "text": THOUGHT + ANSWER},
        {"when": ["<tools>", "</think>"], "text": called},
        {"when": "<tools>", "text": THOUGHT + called},
        {"text": "A title"},
    ]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """An empty home; the folder to work in is beside it, and has one file."""
    for folder in (tmp_path / "work", tmp_path / "home"):
        folder.mkdir()
    (tmp_path / "work" / "notes.txt").write_text(f"The harbour closes at {RESULT}.\n", encoding="utf-8")
    return tmp_path / "home"


def need(client: Client) -> None:
    """Skip the test, with the reason, where the client cannot be had."""
    if client.heavy and not os.environ.get("HEAVY"):
        pytest.skip("installs for long: HEAVY=1 runs it")
    try:
        install(client)
    except NotInstallable as reason:
        pytest.skip(f"not installable here: {reason}")


@contextmanager
def servers(folder: Path, answers: list[dict[str, object]], count: int = 1) -> Iterator[list[str]]:
    """The addresses of servers over one script, which must log no error."""
    file = folder / "script.json"
    file.write_text(json.dumps(answers), encoding="utf-8")
    logs = [folder / f"server-{place}.log" for place in range(count)]
    with ExitStack() as stack:
        words = ("tests.fakes.serve", str(file), "--port", "0")
        yield [stack.enter_context(serving(*words, log=log)).url for log in logs]
    assert [log.read_text(encoding="utf-8") for log in logs] == [""] * count


@pytest.mark.requirement(38, 39, 43, 44, 84)
@pytest.mark.parametrize("client", TABLE.values(), ids=TABLE)
def test_the_client_finishes_a_task_with_a_tool(client: Client, tmp_path: Path, home: Path) -> None:
    need(client)
    with servers(tmp_path, script(client, tmp_path / "work"), client.servers) as urls:
        said = run(client, client.program, home, urls)
    assert said.splitlines() == [f"{way}: {ANSWER}" for way in client.ways]


@pytest.mark.requirement(96)
@pytest.mark.parametrize("snippet", SHOWN, ids=lambda snippet: f"{snippet.page}:{snippet.line}")
def test_what_a_guide_shows_runs(snippet: Snippet, tmp_path: Path, home: Path) -> None:
    client = TABLE[snippet.mark.strip("{}").split()[1]]
    need(client)
    program = tmp_path / ("shown.mjs" if snippet.language == "js" else "shown.py")
    with servers(tmp_path, [{"text": ANSWER}]) as urls:
        shown_url, url = f"http://{SHOWN_ADDRESS}", urls[0]
        assert shown_url in snippet.text
        program.write_text(snippet.text.replace(shown_url, url), encoding="utf-8")
        assert ANSWER in run(client, program, home, urls)


def run(client: Client, program: Path, home: Path, urls: list[str]) -> str:
    """What the program prints, run by the client's own Python or Node.

    It sees nothing of this environment but where commands are, and a proxy that nobody answers stands for
    the internet.
    """
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "CLIENT": str(client.folder),
        "BASE_URL": urls[0],
        "BASE_URLS": " ".join(urls),
        **dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), NOWHERE),
        **dict.fromkeys(("NO_PROXY", "no_proxy"), "127.0.0.1,localhost"),
    }
    errors = home.parent / "errors.log"
    with errors.open("wb") as log:
        process = subprocess.Popen(
            client.command(program),
            cwd=home.parent / "work",
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            start_new_session=True,
        )
    try:
        said, _ = process.communicate(timeout=RUN_LIMIT_S)
    finally:
        with suppress(ProcessLookupError):  # an agent may leave helpers behind
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        print(errors.read_text(encoding="utf-8", errors="replace")[-3000:])  # shown if the test fails
    assert process.returncode == 0, said
    return said
