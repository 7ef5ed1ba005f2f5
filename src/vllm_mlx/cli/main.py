"""The commands and their dispatch."""

from __future__ import annotations

import sys
from importlib.metadata import PackageNotFoundError, version

from vllm_mlx import __version__
from vllm_mlx.cli import serve
from vllm_mlx.cli.flags import USAGE_ERROR, Parser

COMMANDS = (serve,)
_ABOUT = "Serve models with MLX over the OpenAI and the Anthropic API."
_NEXT = "`vllm-mlx COMMAND --help` shows a command's flags; `vllm-mlx serve` alone serves the bundled model."


def run(argv: list[str]) -> int:
    """Run one command line; returns the exit code."""
    parser = build_parser()
    try:
        arguments = parser.parse_strictly(argv)
    except SystemExit as stop:  # argparse's way to say that help was shown or an error was printed
        return stop.code if isinstance(stop.code, int) else USAGE_ERROR
    command = getattr(arguments, "run", None)
    if command is None:
        parser.print_help(sys.stderr)
        return USAGE_ERROR
    try:
        return int(command(arguments))
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else USAGE_ERROR


def build_parser() -> Parser:
    """The parser of the whole program."""
    parser = Parser(prog="vllm-mlx", description=_ABOUT, epilog=_NEXT)
    parser.add_argument("--version", action="version", version=f"vllm-mlx {__version__}{_mlx()}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", parser_class=Parser)
    for command in COMMANDS:
        command.add_parser(commands)
    return parser


def _mlx() -> str:
    """Read from the metadata, so that `--version` works where MLX does not."""
    try:
        return f" (mlx {version('mlx')}, mlx-lm {version('mlx-lm')})"
    except PackageNotFoundError:
        return " (no mlx)"
