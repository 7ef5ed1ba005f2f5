"""opencode without a terminal, with the settings of its guide: reads a file and tells what it says."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

from task import URL, report

SETTINGS = {
    "$schema": "https://opencode.ai/config.json",
    "model": "vllm-mlx/default",
    "share": "disabled",
    "autoupdate": False,
    "provider": {
        "vllm-mlx": {
            "npm": "@ai-sdk/openai-compatible",
            "name": "vllm-mlx",
            "options": {"baseURL": f"{URL}/v1", "apiKey": "not-needed"},
            "models": {"default": {"name": "default", "limit": {"context": 65536, "output": 8192}}},
        }
    },
}
Path("opencode.json").write_text(json.dumps(SETTINGS), encoding="utf-8")
done = subprocess.run(
    [
        Path(os.environ["CLIENT"]) / "node_modules" / ".bin" / "opencode",
        "run",
        "--format=json",
        "When does the harbour close? See notes.txt.",
    ],
    env={
        **os.environ,
        "OPENCODE_DISABLE_AUTOUPDATE": "1",
        "OPENCODE_DISABLE_MODELS_FETCH": "1",
        "OPENCODE_DISABLE_LSP_DOWNLOAD": "1",
        "OPENCODE_DISABLE_DEFAULT_PLUGINS": "1",
    },
    stdout=subprocess.PIPE,
    text=True,
    check=True,
)
events = [json.loads(line) for line in done.stdout.splitlines()]
report("run", [event["part"]["text"] for event in events if event["type"] == "text"][-1])
