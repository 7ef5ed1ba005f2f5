"""Waiting entries become a section of the changelog."""

from __future__ import annotations

from pathlib import Path

import pytest
from tools.changelog import release


def test_entries_move_above_the_older_versions(tmp_path: Path) -> None:
    (tmp_path / "changelog.d").mkdir()
    (tmp_path / "changelog.d" / "README.md").write_text("how")
    (tmp_path / "changelog.d" / "b.fixed.md").write_text("A fault.\n")
    (tmp_path / "changelog.d" / "a.added.md").write_text("A thing\nof two lines.\n")
    (tmp_path / "CHANGELOG.md").write_text("# Changes\n\nHead.\n\n## 0.1.0 (2020-01-01)\n\nOld.\n")
    release(tmp_path, "0.2.0", "2021-02-03")
    text = (tmp_path / "CHANGELOG.md").read_text()
    assert text == (
        "# Changes\n\nHead.\n\n## 0.2.0 (2021-02-03)\n\n### Added\n\n- A thing of two lines.\n\n"
        "### Fixed\n\n- A fault.\n\n## 0.1.0 (2020-01-01)\n\nOld.\n"
    )
    assert [file.name for file in (tmp_path / "changelog.d").iterdir()] == ["README.md"]


def test_an_entry_of_no_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "changelog.d").mkdir()
    (tmp_path / "changelog.d" / "a.md").write_text("x")
    (tmp_path / "CHANGELOG.md").write_text("# Changes\n")
    with pytest.raises(ValueError, match="the kind must be one of"):
        release(tmp_path, "0.2.0", "2021-02-03")
