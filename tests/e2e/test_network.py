"""Where a server listens, and whom it calls: nobody."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.server import LIMIT_S, Server, serving

OFFLINE = Path(__file__).parent / "offline"
HI = [{"role": "user", "content": "hi"}]


def watched(log: Path) -> dict[str, str]:
    # None of the variables that would switch the hub off.
    return {"OUTBOUND_LOG": str(log), "HF_HUB_OFFLINE": "0", "TRANSFORMERS_OFFLINE": "0"}


@pytest.mark.requirement(118)
@pytest.mark.parametrize("words", [(), ("--offline",)])
def test_a_local_model_is_served_without_any_outbound_connection(
    words: tuple[str, ...], chat_folder: Path, tmp_path: Path
) -> None:
    outbound = tmp_path / "outbound"
    command = ("vllm_mlx", "serve", str(chat_folder), "--port", "0", *words)
    with serving(*command, log=tmp_path / "log", before=(OFFLINE,), environment=watched(outbound)) as server:
        answer = server.post("/v1/chat/completions", messages=HI, max_tokens=4)
        assert answer.status_code == 200
        assert server.post("/v1/completions", prompt="x", max_tokens=4, stream=True).status_code == 200
        assert server.get("/v1/status").status_code == 200
    assert not outbound.exists(), outbound.read_text()


@pytest.mark.requirement(80, 118)
def test_no_address_in_a_request_is_called_and_no_file_is_read(chat_folder: Path, tmp_path: Path) -> None:
    """Media by URL has sent other servers to addresses that only they can reach, and to their disks."""
    outbound, secret = tmp_path / "outbound", tmp_path / "secret.txt"
    secret.write_text("the-secret", encoding="utf-8")
    command = ("vllm_mlx", "serve", str(chat_folder), "--port", "0")
    told = []
    with serving(*command, log=tmp_path / "log", before=(OFFLINE,), environment=watched(outbound)) as server:
        for address in ("http://192.0.2.1/a.png", "http://127.0.0.1:9/a", "ftp://[::1]/a", secret.as_uri()):
            for path, body in by_address(address):
                answer = server.post(path, **body, max_tokens=4)
                assert answer.status_code == (200 if "a result" in str(body) else 400), (path, answer.text)
                told.append(answer.text)
    assert not outbound.exists(), outbound.read_text()
    assert "the-secret" not in "".join(told)


def by_address(address: str) -> list[tuple[str, dict[str, Any]]]:
    """Requests of each dialect that name something to fetch, in a user's turn or in a tool's result."""
    source, file = {"type": "url", "url": address}, {"filename": "a", "file_url": address}
    image, document = ({"type": kind, "source": source} for kind in ("image", "document"))
    shown = {"type": "input_image", "image_url": address}
    result = {"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": "a result"}]}
    use = {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "f", "input": {}}]}
    called = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
    output = {"type": "function_call_output", "call_id": "c"}
    seen = {"type": "input_text", "text": "a result"}
    chats = [
        {"type": "image_url", "image_url": {"url": address}},
        {"type": "audio_url", "audio_url": {"url": address}},
        {"type": "video_url", "video_url": {"url": address}},
        {"type": "file", "file": file},
    ]
    mcp = {"type": "mcp", "server_label": "a", "server_url": address}
    turns: list[tuple[str, Any]] = [
        *(("/v1/chat/completions", [part]) for part in chats),
        *(("/v1/messages", [block]) for block in (image, document)),
    ]
    return [
        *((path, {"messages": [{"role": "user", "content": content}]}) for path, content in turns),
        *(
            ("/v1/messages", {"messages": [*HI, use, {"role": "user", "content": [answered]}]})
            for answered in (result | {"content": [*result["content"], block]} for block in (image, document))
        ),
        ("/v1/messages", {"messages": HI, "mcp_servers": [{"type": "url", "url": address, "name": "a"}]}),
        ("/v1/responses", {"input": [{"role": "user", "content": [shown]}]}),
        ("/v1/responses", {"input": [{"role": "user", "content": [{"type": "input_file", **file}]}]}),
        ("/v1/responses", {"input": [called, output | {"output": [seen, shown]}]}),
        ("/v1/responses", {"input": "hi", "tools": [mcp]}),
    ]


def test_the_watch_sees_and_refuses_an_outbound_connection(tmp_path: Path) -> None:
    outbound = tmp_path / "outbound"
    code = "import socket\nsocket.create_connection(('example.invalid', 80))"
    environment = {**os.environ, **watched(outbound), "PYTHONPATH": str(OFFLINE)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=False)
    assert done.returncode == 1
    assert outbound.read_text() == "socket.getaddrinfo example.invalid\n"


def another_address() -> str | None:
    """An address of this machine beside 127.0.0.1; Linux answers on the whole of 127.0.0.0/8."""
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.2", 0))
        except OSError:
            return None
    return "127.0.0.2"


def answers(host: str, port: int) -> bool:
    with socket.socket() as connection:
        connection.settimeout(LIMIT_S)
        return connection.connect_ex((host, port)) == 0


@pytest.mark.requirement(6)
def test_by_default_only_this_machine_can_connect(tiny: Server) -> None:
    assert tiny.announced.endswith(f"http://127.0.0.1:{tiny.port}\n")
    other = another_address()
    if other is None:
        pytest.skip("127.0.0.2 is not an address here")
    assert answers("127.0.0.1", tiny.port)
    assert not answers(other, tiny.port)


@pytest.mark.requirement(7)
def test_another_host_is_bound_on_request(chat_folder: Path, tmp_path: Path) -> None:
    command = ("vllm_mlx", "serve", str(chat_folder), "--port", "0", "--host", "0.0.0.0")
    server = Server(*command, log=tmp_path / "log")
    try:
        assert answers(another_address() or "127.0.0.1", server.port)
    finally:
        server.end()


@pytest.mark.requirement(82, 81)
@pytest.mark.parametrize("bits", [4, 8])
def test_a_quantised_folder_is_served_as_it_is(bits: int, model_folder, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    folder = model_folder("llama", bits=bits, chat=True)
    recorded = json.loads((folder / "config.json").read_text())
    assert recorded["quantization"]["bits"] == bits
    command = ("vllm_mlx", "serve", str(folder), "--port", "0", "--served-model-name", "small")
    with serving(*command, log=tmp_path / "log") as server:
        answer = server.post("/v1/chat/completions", messages=HI, max_tokens=4, ignore_eos=True).json()
        assert (answer["model"], answer["usage"]["completion_tokens"]) == ("small", 4)
        assert server.get("/v1/status").json()["runner"]["path"] == "paged"
