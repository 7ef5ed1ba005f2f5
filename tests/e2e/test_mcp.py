"""MCP through the whole path: the scripted model, the real app, and servers in processes of their own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from tests.e2e.server import LIMIT_S, ROOT, Server, eventually, is_idle, serving
from tests.fakes.wire import frames

pytestmark = pytest.mark.requirement(64)

ROGUE = ROOT / "tests" / "fakes" / "mcp_rogue.py"


def calls(tool: str, **arguments: Any) -> str:
    said = json.dumps({"name": tool, "arguments": arguments})
    return f"Let me see.\n<tool_call>\n{said}\n</tool_call>"


SCRIPT = [
    {"when": "Use fine", "text": calls("fine__echo", text="from the tool")},
    {"when": "Use deaf", "text": calls("deaf__echo", text="anybody?")},
    {"when": "Use dies", "text": calls("dies__echo", text="farewell")},
    {"when": "Use shy", "text": calls("shy__echo", text="secret")},
    {"when": "count", "text": "one two three four five six"},
]
AFTER = [
    {"when": "<tool_response>\nfrom the tool", "text": "It said: from the tool."},
    {"when": "broke in the call", "text": "It died."},
]


def entry(way: str, **more: Any) -> dict[str, Any]:
    return {"command": sys.executable, "args": [str(ROGUE), way], "approval": "auto", **more}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The scripted server with good, deaf, dying, unapproved and hopeless MCP servers."""
    folder = tmp_path_factory.mktemp("mcp")
    script, config = folder / "script.json", folder / "mcp.json"
    script.write_text(json.dumps([*AFTER, *SCRIPT]), encoding="utf-8")
    servers = {
        "fine": entry("fine"),
        "deaf": entry("deaf", timeout=3600),
        "dies": entry("dies"),
        "shy": entry("fine", approval="deny"),
        "mute": entry("mute", connect_timeout=3600),
        "babbles": entry("babbles"),
        "none": {"command": "/no/such/program"},
    }
    config.write_text(json.dumps({"mcpServers": servers}))
    words = ("tests.fakes.serve", str(script), "--port", "0", "--mcp-config", str(config))
    with serving(*words, log=folder / "log") as running:
        eventually(
            lambda: states(running)["fine"] == states(running)["deaf"] == states(running)["shy"] == "ready"
        )
        yield running


def states(server: Server) -> dict[str, str]:
    return {each["name"]: each["state"] for each in server.get("/v1/mcp/servers").json()["servers"]}


def ask(server: Server, text: str, **more: Any) -> httpx.Response:
    messages = [{"role": "user", "content": text}]
    return server.post("/v1/chat/completions", messages=messages, enable_thinking=False, **more)


@pytest.mark.parametrize("mcp_tools", [None, ["fine"], True])
def test_the_tokens_of_a_first_turn_are_counted_with_the_tools_of_servers(
    server: Server, mcp_tools: bool | list[str] | None
) -> None:
    asked: dict[str, Any] = {"messages": [{"role": "user", "content": "count"}], "mcp_tools": mcp_tools}
    shown = server.post("/v1/chat/completions/render", **asked).json()
    usage = server.post("/v1/chat/completions", **asked).json()["usage"]
    assert len(shown["token_ids"]) == usage["prompt_tokens"]
    assert ("fine__echo" in shown["prompt"]) is (mcp_tools is not None)
    counted = server.post("/v1/messages/count_tokens", **asked).json()
    usage = server.post("/v1/messages", max_tokens=64, **asked).json()["usage"]
    read = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
    assert counted["input_tokens"] == sum(usage[name] for name in read)
    given: dict[str, Any] = {"input": "count", "mcp_tools": mcp_tools}
    counted = server.post("/v1/responses/input_tokens", **given).json()
    usage = server.post("/v1/responses", **given).json()["usage"]
    assert counted["input_tokens"] == usage["input_tokens"]


def test_the_model_calls_a_tool_and_reads_its_result(server: Server) -> None:
    (choice,) = ask(server, "Use fine", mcp_tools=["fine"]).json()["choices"]
    assert choice["finish_reason"] == "stop"
    assert choice["message"]["content"].endswith("It said: from the tool.")
    (run,) = choice["message"]["mcp_calls"]
    assert (run["server"], run["content"], run["is_error"]) == ("fine", "from the tool", False)
    streamed = frames(ask(server, "Use fine", mcp_tools=["fine"], stream=True).text)
    text = "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in streamed)
    assert text == choice["message"]["content"]


def test_a_response_and_a_message_run_tools_as_well(server: Server) -> None:
    asked = {"mcp_tools": ["fine"], "chat_template_kwargs": {"enable_thinking": False}}
    output = server.post("/v1/responses", input="Use fine", **asked).json()["output"]
    runs = [item for item in output if item["type"] == "mcp_call"]
    assert [(run["server_label"], run["output"]) for run in runs] == [("fine", "from the tool")]
    assert output[-1]["content"][0]["text"] == "It said: from the tool."
    messages = [{"role": "user", "content": "Use fine"}]
    blocks = server.post("/v1/messages", messages=messages, max_tokens=500, **asked).json()["content"]
    assert [block["type"] for block in blocks[1:]] == ["mcp_tool_use", "mcp_tool_result", "text"]
    assert blocks[-1]["text"] == "It said: from the tool."


def test_a_tool_that_is_not_approved_is_the_clients_to_run(server: Server) -> None:
    (choice,) = ask(server, "Use shy", mcp_tools=["shy"]).json()["choices"]
    assert choice["finish_reason"] == "tool_calls"
    function = choice["message"]["tool_calls"][0]["function"]
    arguments = json.loads(function["arguments"])
    done = server.post("/v1/mcp/execute", tool_name=function["name"], arguments=arguments).json()
    assert (done["content"], done["is_error"]) == ("secret", False)


def test_a_server_killed_in_mid_call_is_told_to_the_model_and_starts_again(server: Server) -> None:
    eventually(lambda: states(server)["dies"] == "ready")
    (choice,) = ask(server, "Use dies", mcp_tools=["dies"]).json()["choices"]
    assert choice["message"]["content"].endswith("It died.")
    eventually(lambda: states(server)["dies"] == "ready")


@pytest.mark.requirement(80)
def test_servers_that_hang_or_babble_hurt_nobody(server: Server) -> None:
    assert server.get("/health").status_code == 200
    assert states(server)["mute"] == "connecting"
    eventually(lambda: states(server)["none"] == "failed")
    answer = ask(server, "Use it", mcp_tools=["none"])
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "mcp_server_unavailable")
    assert ask(server, "count", mcp_tools=True).json()["choices"][0]["message"]["content"]


def test_a_client_that_leaves_in_mid_call_frees_everything_beside_other_streams(server: Server) -> None:
    """The call is never answered; ordinary streams run meanwhile, and end whole."""
    body = {
        "messages": [{"role": "user", "content": "Use deaf"}],
        "mcp_tools": ["deaf"],
        "enable_thinking": False,
        "stream": True,
    }
    with httpx.stream("POST", server.url + "/v1/chat/completions", json=body, timeout=LIMIT_S) as answer:
        lines = answer.iter_lines()  # held: an iterator that nobody holds closes the connection
        assert any("mcp_calls" in line for line in lines)
        eventually(lambda: running(server, "deaf") == 1)
        with ThreadPoolExecutor(8) as pool:
            texts = list(pool.map(lambda _: ask(server, "count").json(), range(16)))
        assert {each["choices"][0]["message"]["content"] for each in texts} == {"one two three four five six"}
        assert running(server, "deaf") == 1
    eventually(lambda: running(server, "deaf") == 0)
    eventually(lambda: is_idle(server.url))


def running(server: Server, name: str) -> int:
    return int(server.get("/v1/status").json()["mcp"]["servers"][name]["running"])


def test_without_a_configuration_the_sdk_is_not_imported() -> None:
    code = (
        "import sys, vllm_mlx.server.run, vllm_mlx.cli.main\n"
        "from vllm_mlx.service.build import build_tool_loop\n"
        "from vllm_mlx.config import McpConfig\n"
        "assert build_tool_loop(McpConfig(), {}) is None\n"
        "print({'mcp', 'vllm_mlx.mcp.client', 'vllm_mlx.mcp.schema'} & set(sys.modules))"
    )
    environment = {"PYTHONPATH": str(ROOT / "src"), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=True,
    )
    assert done.stdout.strip() == "set()"
