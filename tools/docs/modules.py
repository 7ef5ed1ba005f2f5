"""The map: every module with the first line of its docstring."""

from __future__ import annotations

import ast
from pathlib import Path

HEAD = """# Map

Every module and its one duty. Made from the modules' opening lines by `make docs`; edit those, not this page.
How the parts fit together is told in [architecture.md](architecture.md).
"""


def page(root: Path) -> str:
    """The page for the package whose folder this is."""
    folders: dict[Path, list[Path]] = {}
    for file in sorted(root.rglob("*.py")):
        folders.setdefault(file.parent, []).append(file)
    return "\n".join([HEAD, *(_section(root, folder, folders[folder]) for folder in sorted(folders))])


def _section(root: Path, folder: Path, files: list[Path]) -> str:
    name = folder.relative_to(root.parent).as_posix()
    init = folder / "__init__.py"
    lines = [f"## {name}/", ""]
    if init in files:
        lines += [first_line(init), ""]
    rest = [file for file in files if file != init]
    if rest:
        lines += ["| module | duty |", "| --- | --- |"]
        lines += [f"| {file.name} | {first_line(file).replace('|', chr(92) + '|')} |" for file in rest]
        lines.append("")
    return "\n".join(lines)


def first_line(file: Path) -> str:
    """The first line of a module's docstring; empty where there is none."""
    text = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    return text.partition("\n")[0]
