"""Qwen Code without a terminal, over OpenAI's API and Anthropic's: reads a file and tells what it says."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

from task import URL, report

SETTINGS = {
    "general": {"enableAutoUpdate": False},
    "privacy": {"usageStatisticsEnabled": False},
    "telemetry": {"enabled": False},
}
# With the test's proxy in its environment it would send even this machine's requests there.
PROXIES = {"HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"}

home = Path.home() / ".qwen"
home.mkdir()
(home / "settings.json").write_text(json.dumps(SETTINGS), encoding="utf-8")
for api, base_url in (("openai", f"{URL}/v1"), ("anthropic", URL)):
    name = api.upper()
    done = subprocess.run(
        [
            Path(os.environ["CLIENT"]) / "node_modules" / ".bin" / "qwen",
            f"--auth-type={api}",
            "--approval-mode=yolo",
            "--prompt=When does the harbour close? See notes.txt.",
        ],
        env={
            **{key: value for key, value in os.environ.items() if key not in PROXIES},
            f"{name}_BASE_URL": base_url,
            f"{name}_API_KEY": "not-needed",
            f"{name}_MODEL": "default",
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    report(api, done.stdout.strip())
