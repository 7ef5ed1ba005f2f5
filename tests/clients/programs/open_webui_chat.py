"""Open WebUI in front of a server: its model list, and the task through its own API."""

from __future__ import annotations

import json
import urllib.request
from typing import Any

import openai
from between import running
from openai_sdk import chat
from task import LIMIT_S, URL, report

SETTINGS = {
    "OPENAI_API_BASE_URL": URL + "/v1",
    "OPENAI_API_KEY": "not-needed",
    "ENABLE_OLLAMA_API": "false",
    "WEBUI_AUTH": "false",
    "WEBUI_SECRET_KEY": "of-a-test",
    "DATA_DIR": "data",
    "OFFLINE_MODE": "true",
    "HF_HUB_OFFLINE": "1",
    "ANONYMIZED_TELEMETRY": "false",
    "DO_NOT_TRACK": "true",
    "SCARF_NO_ANALYTICS": "true",
}


def asked(url: str, body: Any = None) -> Any:
    """What it answers to JSON."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=LIMIT_S) as reply:
        return json.load(reply)


(served,) = (model["id"] for model in asked(URL + "/v1/models")["data"])
with running("open-webui", "serve", "--host", "127.0.0.1", ready="/health", **SETTINGS) as url:
    key = asked(url + "/api/v1/auths/signin", {"email": "", "password": ""})["token"]
    with openai.OpenAI(base_url=url + "/api/v1", api_key=key, max_retries=0, timeout=LIMIT_S) as client:
        report("chat", chat(client, streamed=False, model=served))
        report("chat streamed", chat(client, streamed=True, model=served))
