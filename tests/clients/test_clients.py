"""Real clients, each in an environment of its own, finish a task with a tool call over scripted answers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from tests.clients.install import Client, NotInstallable, install, table
from tests.e2e.server import serving

RUN_LIMIT_S = 300
RESULT = "nine-4711"
ANSWER = "It closes at nine."
THOUGHT = "<think>\nI look at what I have.\n</think>\n\n"
NOWHERE = "http://127.0.0.1:9"


def script(client: Client, work: Path) -> list[dict[str, object]]:
    """A call, and an answer once its result is there; a closed thought in the prompt tells not to think."""
    call = json.dumps(client.call).replace("{work}", str(work))
    called = f"<tool_call>\n{call}\n</tool_call>"
    return [
        {"when": [RESULT, "</think>"], "text": ANSWER},
        {"when": RESULT, "text": THOUGHT + ANSWER},
        {"when": ["<tools>", "</think>"], "text": called},
        {"when": "<tools>", "text": THOUGHT + called},
        {"text": "A title"},
    ]


@pytest.mark.requirement(38, 39, 43, 44, 84)
@pytest.mark.parametrize("client", table(), ids=lambda client: client.name)
def test_the_client_finishes_a_task_with_a_tool(client: Client, tmp_path: Path) -> None:
    if client.heavy and not os.environ.get("HEAVY"):
        pytest.skip("installs for long: HEAVY=1 runs it")
    try:
        install(client)
    except NotInstallable as reason:
        pytest.skip(f"not installable here: {reason}")
    work, home = tmp_path / "work", tmp_path / "home"
    for folder in (work, home):
        folder.mkdir()
    (work / "notes.txt").write_text(f"The harbour closes at {RESULT}.\n", encoding="utf-8")
    file = tmp_path / "script.json"
    file.write_text(json.dumps(script(client, work)), encoding="utf-8")
    with ExitStack() as stack:
        servers = [
            stack.enter_context(
                serving("tests.fakes.serve", str(file), "--port", "0", log=tmp_path / f"server-{place}.log")
            )
            for place in range(client.servers)
        ]
        said = run(client, work, home, [server.url for server in servers])
    assert said.splitlines() == [f"{way}: {ANSWER}" for way in client.ways]
    for server in servers:
        assert server.log.read_text() == ""  # it logs errors only


def run(client: Client, work: Path, home: Path, urls: list[str]) -> str:
    """What the client's program prints.

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
    errors = work.parent / "errors.log"
    with errors.open("wb") as log:
        process = subprocess.Popen(
            client.command(),
            cwd=work,
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
