"""Starts the real app over a script: `python -m tests.fakes.serve SCRIPT [--port N]`.

`tests/fakes/scripted.py` says what a script file holds (`load_script`).
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

from tests.fakes.scripted import load_script, scripted_service
from vllm_mlx.config import McpConfig, ModelConfig, ServerConfig
from vllm_mlx.server.run import serve
from vllm_mlx.service.build import build_tool_loop


def main(argv: list[str]) -> int:
    """Serve until told to stop; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.fakes.serve")
    parser.add_argument("script", type=Path, help="JSON file; see tests/fakes/scripted.py")
    parser.add_argument("--port", type=int, default=8000, help="0 picks a free one")
    parser.add_argument("--tool-call-parser", default="auto")
    parser.add_argument("--reasoning-parser", default="auto")
    parser.add_argument("--shutdown-timeout", type=float, default=30.0)
    parser.add_argument("--mcp-config", help="file of MCP servers, as the real command takes it")
    given = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        model = ModelConfig(
            model=str(Path(folder) / "scripted"),
            tool_call_parser=given.tool_call_parser,
            reasoning_parser=given.reasoning_parser,
        )
        service = scripted_service(Path(model.model), load_script(given.script), model=model)
        config = ServerConfig(port=given.port, shutdown_timeout=given.shutdown_timeout, log_level="error")
        tool_loop = build_tool_loop(McpConfig(mcp_config=given.mcp_config), os.environ)
        return serve(service, config, tool_loop=tool_loop)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
