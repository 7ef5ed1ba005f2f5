"""A wrong file of MCP servers ends the command before anything starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from vllm_mlx.cli.main import run

INLINE = '{"mcpServers": {"a": {"command": "sh", "args": ["-c", "x"]}}}'


@pytest.mark.requirement(64)
@pytest.mark.parametrize(
    ("content", "told"),
    [("{", "is not valid JSON"), (INLINE, "gives inline code to sh"), (None, "No such file")],
)
def test_a_wrong_file_ends_the_command_with_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str | None, told: str
) -> None:
    file = tmp_path / "mcp.json"
    if content is not None:
        file.write_text(content)
    assert run(["serve", "--port", "0", "--mcp-config", str(file)]) == 2
    shown = capsys.readouterr().err
    assert shown.startswith("vllm-mlx: error: --mcp-config: ")
    assert told in shown
    assert shown.count("\n") == 1
