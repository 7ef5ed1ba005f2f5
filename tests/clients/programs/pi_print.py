"""Pi without a terminal, over each API, with the settings of its guide: reads a file."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

from task import URL, report

APIS = {"openai-completions": f"{URL}/v1", "openai-responses": f"{URL}/v1", "anthropic-messages": URL}
MODEL = {"id": "default", "reasoning": True, "contextWindow": 65536, "maxTokens": 8192}
providers = {
    api: {"baseUrl": base_url, "api": api, "apiKey": "not-needed", "models": [MODEL]}
    for api, base_url in APIS.items()
}
home = Path.home() / ".pi" / "agent"
home.mkdir(parents=True)
(home / "models.json").write_text(json.dumps({"providers": providers}), encoding="utf-8")
for api in APIS:
    done = subprocess.run(
        [
            Path(os.environ["CLIENT"]) / "node_modules" / ".bin" / "pi",
            "--offline",
            *("--provider", api, "--model", "default", "--thinking", "high"),
            "--print",
            "When does the harbour close? See notes.txt.",
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    report(api, done.stdout.strip())
