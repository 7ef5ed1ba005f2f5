"""Claude Code without a terminal: reads a file and tells what it says."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

from task import URL, report

done = subprocess.run(
    [
        Path(os.environ["CLIENT"]) / "node_modules" / ".bin" / "claude",
        "--print",
        "When does the harbour close? See notes.txt.",
        "--output-format=json",
    ],
    env={
        **os.environ,
        "ANTHROPIC_BASE_URL": URL,
        "ANTHROPIC_API_KEY": "not-needed",
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    },
    stdout=subprocess.PIPE,
    check=True,
)
report("print", json.loads(done.stdout)["result"])
