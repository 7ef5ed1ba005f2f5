"""A router in front of two servers: the task through it, and a share of the requests for each server."""

from __future__ import annotations

import json
import os
import urllib.request
from pathlib import Path

from between import running
from openai_sdk import chat, client_of
from task import LIMIT_S, report

SERVERS = os.environ["BASE_URLS"].split()
ROUTERS = {"sglang-router": ["sglang-router", "launch"], "vllm-router": ["vllm-router"]}


def tokens_of(server: str) -> int:
    """How many tokens it has generated."""
    with urllib.request.urlopen(f"{server}/v1/status", timeout=LIMIT_S) as reply:
        return int(json.load(reply)["engine"]["generated_tokens"])


words = ROUTERS[Path(os.environ["CLIENT"]).name]
with running(
    *words, "--host", "127.0.0.1", "--policy", "round_robin", "--worker-urls", *SERVERS, ready="/v1/models"
) as url:
    with client_of(url) as client:
        answers = [chat(client, streamed=False), chat(client, streamed=True)]
    report("chat", answers[0])
    report("chat streamed", answers[1])
    report("both servers", answers[0] if all(map(tokens_of, SERVERS)) else "one was not asked")
