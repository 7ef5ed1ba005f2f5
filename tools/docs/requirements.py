"""The page of requirements: each row with the tests that prove it."""

from __future__ import annotations

from pathlib import Path

from tests.requirements import ROWS, proofs

HEAD = """# Requirements and their proofs

What the server must do, by number, and the tests that are marked as proving it
(`@pytest.mark.requirement(number)`). Made by `make docs`; the titles stand in `tests/requirements.py`.

| row | what | proved by |
| --- | --- | --- |
"""


def page(tests: Path) -> str:
    """The page for a folder of tests."""
    found = proofs(tests)
    return (
        HEAD
        + "\n".join(f"| {row} | {ROWS[row]} | {_names(found.get(row, []))} |" for row in sorted(ROWS))
        + "\n"
    )


def _names(names: list[str]) -> str:
    """The files, not the tests: the reader wants to know where to look."""
    files = sorted({name.partition("::")[0] for name in names})
    return "<br>".join(f"`{file}`" for file in files) or "no test yet"
