"""Entry point of the command and of `python -m vllm_mlx`."""

from __future__ import annotations

import sys

INTERRUPTED = 130
"""What a shell gives for a command that Ctrl-C ended."""


def main() -> int:
    """Run the command line; returns the exit code."""
    try:
        from vllm_mlx.cli.main import run  # noqa: PLC0415  (keeps `import vllm_mlx` free of the command line)

        return run(sys.argv[1:])
    except KeyboardInterrupt:  # before the server minds its signals itself: nothing to tell but the end
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
