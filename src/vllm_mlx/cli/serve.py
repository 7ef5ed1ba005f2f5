"""`vllm-mlx serve`: from a checked configuration to a running server."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from pathlib import Path
from typing import Any

from vllm_mlx.cli.flags import USAGE_ERROR, add_flags
from vllm_mlx.cli.sources import CONFIG_VARIABLE, BadSource, resolve, unread
from vllm_mlx.config import Config, InvalidSetting, settings
from vllm_mlx.core.errors import ModelLoadError
from vllm_mlx.mcp.config import BadMcpConfig
from vllm_mlx.models.backend import check_backend, require_backend

NO_BACKEND = 2
_ABOUT = (
    "Serve one model over HTTP. Any flag can stand in the file of --config too, without its dashes; a flag "
    "given here wins. A switch --X of the file is taken back with --no-X. In brackets: what holds if nothing "
    "is said."
)


def add_parser(commands: Any) -> None:
    """Add the command to the program's parser."""
    parser = commands.add_parser(
        "serve",
        help="serve a model over HTTP",
        usage="vllm-mlx serve [MODEL] [--FLAG [VALUE] ...]",
        description=_ABOUT,
    )
    parser.add_argument(
        "model",
        nargs="?",
        default=argparse.SUPPRESS,
        help="Hugging Face id or local folder; without one the bundled model `demo` is served",
    )
    parser.add_argument("--config", metavar="FILE", type=Path, help="YAML file with any of these settings")
    add_flags(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Serve until told to stop; returns the exit code."""
    try:
        config = configuration(arguments, dict(os.environ))
    except BadSource as error:
        sys.stderr.write(f"vllm-mlx: error: {error}\n")
        return USAGE_ERROR
    for sentence in unread(os.environ):
        sys.stderr.write(f"vllm-mlx: warning: {sentence}\n")
    try:
        # Only the process that computes imports MLX.
        (check_backend if config.engine.engine_process else require_backend)()
    except ModelLoadError as error:
        sys.stderr.write(f"vllm-mlx: error: {error.message}\n")
        return NO_BACKEND
    return _serve(config)


def configuration(arguments: argparse.Namespace, environment: dict[str, str]) -> Config:
    """The configuration that a command line asks for in an environment.

    Raises:
        BadSource: a value cannot be used; the text says which and why.
    """
    given = vars(arguments)
    flags = {one.name: given[one.name] for one in settings() if one.name in given}
    file = arguments.config
    if file is None and environment.get(CONFIG_VARIABLE):
        file = Path(environment[CONFIG_VARIABLE])
    return resolve(flags, environment, file)


def _serve(config: Config) -> int:
    from vllm_mlx.server.run import serve  # noqa: PLC0415  (fastapi and mlx are only paid for when serving)
    from vllm_mlx.service.build import build_service, build_tool_loop  # noqa: PLC0415  (as above)

    logging.basicConfig(
        level=config.server.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    try:
        tool_loop = build_tool_loop(config.mcp, os.environ)
        service = build_service(config)
    except BadMcpConfig as error:
        sys.stderr.write(f"vllm-mlx: error: --mcp-config: {error}\n")
        return USAGE_ERROR
    except InvalidSetting as error:
        sys.stderr.write(f"vllm-mlx: error: --{error.name.replace('_', '-')} {error.problem}\n")
        return USAGE_ERROR
    return serve(service, config.server, config.access, tool_loop)
