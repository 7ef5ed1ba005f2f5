"""Continue's `cn` without a terminal, over both APIs, with the settings of its guide: reads a file."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from task import URL, report

SETTINGS = f"""\
name: local
version: 1.0.0
schema: v1
models:
  - name: vllm-mlx
    provider: PROVIDER
    model: default
    apiBase: {URL}/v1
    apiKey: not-needed
    roles: [chat]
    capabilities: [tool_use]
"""
for provider in ("openai", "anthropic"):
    settings = Path.home() / f"{provider}.yaml"
    settings.write_text(SETTINGS.replace("PROVIDER", provider), encoding="utf-8")
    done = subprocess.run(
        [
            Path(os.environ["CLIENT"]) / "node_modules" / ".bin" / "cn",
            f"--config={settings}",
            "--auto",
            "-p",
            "When does the harbour close? See notes.txt.",
        ],
        env={**os.environ, "CONTINUE_TELEMETRY_ENABLED": "0"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    report(provider, done.stdout.strip())
