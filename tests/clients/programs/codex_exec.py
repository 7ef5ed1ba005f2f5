"""Codex without a terminal, with the settings of its guide: runs a command and tells what it printed."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from task import URL, report

SETTINGS = f"""\
model = "default"
model_provider = "vllm-mlx"
model_context_window = 65536
web_search = "disabled"
check_for_update_on_startup = false

[analytics]
enabled = false

[model_providers.vllm-mlx]
name = "vllm-mlx"
base_url = "{URL}/v1"
wire_api = "responses"
"""
home = Path.home() / ".codex"
home.mkdir()
(home / "config.toml").write_text(SETTINGS, encoding="utf-8")
last = home / "last.txt"
subprocess.run(
    [
        Path(os.environ["CLIENT"]) / "node_modules" / ".bin" / "codex",
        "exec",
        "--skip-git-repo-check",
        "--dangerously-bypass-approvals-and-sandbox",  # its sandbox does not start within a container
        f"--output-last-message={last}",
        "When does the harbour close? See notes.txt.",
    ],
    stdout=subprocess.DEVNULL,
    check=True,
)
report("exec", last.read_text(encoding="utf-8").strip())
