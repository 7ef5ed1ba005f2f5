"""Microseconds a token that the output machine takes, format by format, and the slope of its cost.

    python benchmarks/parsing.py [--words 4000] [--repeats 5]

The text of each format is half prose and half tool calls in its own syntax, in pieces of four characters, as
tokens are on average. Processor time, best of the repeats. The slope compares a text with one twice as long:
2.0 is linear.
"""

from __future__ import annotations

import argparse
import platform
import time

from vllm_mlx.core.tools import ToolSpec
from vllm_mlx.parsing.registry import FORMATS
from vllm_mlx.parsing.stream import OutputParser
from vllm_mlx.parsing.write import write_calls

PIECE = 4
ARGUMENTS = {"path": "src/main.py", "lines": [1, 2, 3], "text": "a kite flies where the wind is steady, " * 8}
TOOL = ToolSpec(
    "edit_file",
    None,
    {"type": "object", "properties": {"path": {"type": "string"}, "text": {"type": "string"}}},
)
PROSE = "The quick brown fox jumps over the lazy dog, and the day is long. "


def text_of(name: str, chars: int) -> str:
    """Prose and calls by turns."""
    calls = FORMATS.get(name).calls
    call = write_calls(calls[0], [("edit_file", ARGUMENTS)]) if calls else PROSE * 6
    turn = PROSE * (len(call) // len(PROSE)) + "\n" + call + "\n"
    return turn * (chars // len(turn) + 1)


def seconds(name: str, text: str, repeats: int) -> float:
    """Processor time to parse the text in pieces, best of the repeats."""
    pieces = [text[at : at + PIECE] for at in range(0, len(text), PIECE)]
    best = float("inf")
    for _ in range(repeats):
        parser = OutputParser(FORMATS.get(name), tools=(TOOL,))
        begin = time.process_time()
        for piece in pieces:
            parser.feed(piece)
        parser.finish()
        best = min(best, time.process_time() - begin)
    return best


def main() -> None:
    """Print a row a format."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--words", type=int, default=4000, help="length of a text in pieces")
    arguments.add_argument("--repeats", type=int, default=5)
    options = arguments.parse_args()
    print(f"{platform.machine()}, Python {platform.python_version()}, pieces of {PIECE} characters")
    for name in sorted({FORMATS.get(name).name for name in FORMATS}):
        one, two = (text_of(name, options.words * PIECE * times) for times in (1, 2))
        once, twice = (seconds(name, text, options.repeats) for text in (one, two))
        cost = once / (len(one) / PIECE) * 1e6
        print(f"{name:16} {cost:6.2f} us a token, slope {twice / once * 2 * len(one) / len(two):.2f}")


if __name__ == "__main__":
    main()
