"""Where the project's files are; what several tests of the shape ask."""

from __future__ import annotations

import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "vllm_mlx"


def tracked() -> list[Path]:
    """The files that git knows, and those that it would add."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [ROOT / line for line in sorted(set(listed.stdout.splitlines())) if (ROOT / line).is_file()]


def python_files() -> list[Path]:
    """Our Python files, product, tests and tools."""
    return [file for file in tracked() if file.suffix == ".py"]
