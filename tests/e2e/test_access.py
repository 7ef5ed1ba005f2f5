"""`vllm-mlx serve` with keys and names, as a person starts it."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from tests.e2e.server import LIMIT_S, Server, eventually

KEY = "geheim-schlüssel-1"
CHAT = {"messages": [{"role": "user", "content": "the-prompt"}], "max_tokens": 2}


@pytest.mark.requirement(57, 80, 93)
def test_keys_from_a_file_guard_a_server_with_strict_names(chat_folder: Path, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text(f"{KEY}\n", encoding="utf-8")
    names = ("--served-model-name", "main,alias", "--strict-model-id")
    words = (str(chat_folder), "--port", "0", "--api-key-file", str(keys), *names)
    server = Server("vllm_mlx", "serve", *words, log=tmp_path / "log", environment={"VLLM_MLX_API_KEY": "k2"})
    try:
        with httpx.Client(base_url=server.url, timeout=LIMIT_S) as client:
            eventually(lambda: client.get("/health").status_code == 200)
            assert client.post("/v1/chat/completions", json=CHAT).status_code == 401
            client.headers["x-api-key"] = KEY
            listed = client.get("/v1/models").json()
            assert [model["id"] for model in listed["data"]] == ["main", "alias"]
            assert client.post("/v1/chat/completions", json=CHAT | {"model": "x"}).status_code == 404
            answer = client.post("/v1/chat/completions", json=CHAT | {"model": "alias"})
            assert answer.json()["model"] == "alias"
            status = client.get("/v1/status", headers={"x-api-key": "k2"})
            assert status.status_code == 200
            assert KEY not in status.text
        server.process.terminate()
        assert server.process.wait(LIMIT_S) == 0
    finally:
        logged = server.end()
    assert "POST /v1/chat/completions 200 " in logged
    assert answer.headers["x-request-id"] in logged
    assert not [secret for secret in (KEY, "the-prompt", "k2") if secret in logged]
