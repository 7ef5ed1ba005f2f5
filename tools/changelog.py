"""`python -m tools.changelog VERSION`: move the waiting entries of changelog.d/ into CHANGELOG.md."""

from __future__ import annotations

import datetime
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
KINDS = {"added": "Added", "changed": "Changed", "fixed": "Fixed", "removed": "Removed"}


def waiting(folder: Path) -> dict[str, list[Path]]:
    """The entries by kind.

    Raises:
        ValueError: a file whose name has no known kind.
    """
    found: dict[str, list[Path]] = {kind: [] for kind in KINDS}
    for file in sorted(folder.glob("*.md")):
        if file.name == "README.md":
            continue
        kind = file.name.split(".")[-2]
        if kind not in KINDS:
            raise ValueError(f"{file.name}: the kind must be one of {', '.join(KINDS)}")
        found[kind].append(file)
    return found


def section(version: str, day: str, entries: dict[str, list[Path]]) -> str:
    """The changelog's section for a version."""
    lines = [f"## {version} ({day})", ""]
    for kind, files in entries.items():
        if files:
            lines += [f"### {KINDS[kind]}", ""]
            lines += ["- " + " ".join(file.read_text(encoding="utf-8").split()) for file in files]
            lines.append("")
    return "\n".join(lines)


def release(root: Path, version: str, day: str) -> None:
    """Write the section above the older ones and remove the entries."""
    entries = waiting(root / "changelog.d")
    log = root / "CHANGELOG.md"
    head, mark, older = log.read_text(encoding="utf-8").partition("\n## ")
    log.write_text(f"{head.rstrip()}\n\n{section(version, day, entries)}{mark}{older}", encoding="utf-8")
    for files in entries.values():
        for file in files:
            file.unlink()


if __name__ == "__main__":
    if len(sys.argv) != 2 or not re.fullmatch(r"\d+\.\d+\.\d+", sys.argv[1]):
        sys.exit("usage: python -m tools.changelog VERSION, as in 0.2.0")
    release(ROOT, sys.argv[1], datetime.datetime.now(tz=datetime.UTC).date().isoformat())
