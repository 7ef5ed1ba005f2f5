"""Turns the settings of `config.py` into flags of a parser, and text into settings' values."""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NoReturn

from vllm_mlx.cli.refused import REFUSED
from vllm_mlx.config import InvalidSetting, Rule, Setting, settings

AREA_TITLES = {
    "model": "Model",
    "engine": "Engine",
    "cache": "KV cache",
    "server": "Server",
    "access": "Access",
    "mcp": "MCP",
}
USAGE_ERROR = 2
_NEAR = 0.7  # of difflib's ratio: `prot` is near `port` (0.75), `bogus` is not near `host` (0.44)
_WORDS = {
    "true": True,
    "1": True,
    "yes": True,
    "on": True,
    "false": False,
    "0": False,
    "no": False,
    "off": False,
}


class Parser(argparse.ArgumentParser):
    """A parser whose complaints are one line, and which knows close and refused names."""

    def __init__(self, **options: Any) -> None:
        options.setdefault("allow_abbrev", False)
        options.setdefault("formatter_class", _Help)
        super().__init__(**options)

    def error(self, message: str) -> NoReturn:
        """Say what is wrong in one line on stderr and exit with 2."""
        sys.stderr.write(f"vllm-mlx: error: {message}\n")
        sys.exit(USAGE_ERROR)

    def parse_strictly(self, argv: Sequence[str]) -> argparse.Namespace:
        """Parse; a flag that is refused or unknown ends the program with a sentence about it."""
        for word in argv:
            flag = word.partition("=")[0]
            if flag in REFUSED:
                self.error(f"{flag}: {REFUSED[flag]}")
        known, rest = self.parse_known_args(list(argv))
        if rest:
            every = [flag for _, flags in spellings() for flag in flags]
            self.error(unknown(rest[0].partition("=")[0], [*every, "--config", "--help", "--version"]))
        return known


class _Help(argparse.HelpFormatter):
    """Wider than argparse's own, so that a flag and its help mostly fit one line."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=36, width=110)


class _Collect(argparse.Action):
    """Keeps the value; of several all where there may be many, or the smallest where the setting says so."""

    def __init__(self, *, rule: Rule, many: bool, **options: Any) -> None:
        super().__init__(**options)
        self._rule = rule
        self._many = many

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        earlier = getattr(namespace, self.dest, None)
        if earlier is not None and self._many:
            values = earlier + values
        elif earlier is not None and self._rule.smallest_wins:
            values = min(earlier, values)
        setattr(namespace, self.dest, values)


def unknown(name: str, known: Sequence[str]) -> str:
    """The sentence for a name that does not exist, with the nearest one that does."""
    kind = "flag" if name.startswith("-") else "argument"
    return f"unknown {kind} {name}{did_you_mean(name, known)}"


def did_you_mean(name: str, known: Iterable[str], common: str = "--") -> str:
    """The end of a sentence about an unknown name: the nearest known one, or nothing where none is near.

    Args:
        common: what all names begin with; it would make any two look alike.
    """
    bare = {one.removeprefix(common): one for one in known}
    close = difflib.get_close_matches(name.removeprefix(common), bare, 1, _NEAR)
    return f"; did you mean {bare[close[0]]}?" if close else ""


def flag_of(name: str) -> str:
    """`max_num_seqs` is `--max-num-seqs`."""
    return "--" + name.replace("_", "-")


def variable_of(name: str) -> str:
    """`max_num_seqs` is `VLLM_MLX_MAX_NUM_SEQS`."""
    return "VLLM_MLX_" + name.upper()


def flags_of(one: Setting) -> list[str]:
    """Every spelling on the command line that gives this setting a value, the main one first."""
    on = [flag_of(one.name), *one.rule.aliases]
    if one.kind is not bool:
        return on
    return [*on, *_off_flags(one)]


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Give the parser a flag for each setting, grouped by area; absent flags leave no attribute.

    The setting `model` is the command's positional argument and gets no flag.
    """
    groups: dict[str, Any] = {}
    for one in settings():
        if one.name == "model":
            continue
        if one.area not in groups:
            groups[one.area] = parser.add_argument_group(AREA_TITLES[one.area])
        if one.kind is bool:
            _add_switch(groups[one.area], one)
        else:
            groups[one.area].add_argument(
                flag_of(one.name),
                *one.rule.aliases,
                dest=one.name,
                default=argparse.SUPPRESS,
                action=_Collect,
                rule=one.rule,
                many=one.many,
                type=_reader(one),
                metavar=one.rule.metavar or _metavar(one),
                help=_help(one),
            )


def read(one: Setting, text: str) -> Any:
    """The value that a text of the command line or the environment stands for; commas part many values.

    Raises:
        InvalidSetting: the text is no value of the setting's type.
    """
    if one.many:
        return tuple(part.strip() for part in text.split(","))
    if one.kind is str:
        return text
    if one.kind is bool:
        if text.strip().lower() not in _WORDS:
            raise InvalidSetting(one.name, f"must be true or false, not {text!r}")
        return _WORDS[text.strip().lower()]
    try:
        return one.kind(text)
    except ValueError:
        kind = "a whole number" if one.kind is int else "a number"
        shown = text if len(text) <= 40 else text[:40] + "..."
        raise InvalidSetting(one.name, f"must be {kind}, not {shown!r}") from None


def _reader(one: Setting) -> Any:
    def convert(text: str) -> Any:
        try:
            return read(one, text)
        except InvalidSetting as error:
            raise argparse.ArgumentTypeError(error.problem) from None

    return convert


def _add_switch(group: Any, one: Setting) -> None:
    on = [flag_of(one.name), *one.rule.aliases]
    off = _off_flags(one)
    group.add_argument(
        *on, dest=one.name, default=argparse.SUPPRESS, action="store_const", const=True, help=_help(one)
    )
    if off:
        group.add_argument(
            *off,
            dest=one.name,
            default=argparse.SUPPRESS,
            action="store_const",
            const=False,
            help=argparse.SUPPRESS,  # the line of the flag itself says how it is switched off
        )


def _off_flags(one: Setting) -> list[str]:
    named = [] if one.rule.always_on else ["--no-" + flag_of(one.name).removeprefix("--")]
    return [*named, *one.rule.off_aliases]


def _metavar(one: Setting) -> str:
    return {int: "N", float: "X", str: "TEXT"}[one.kind]


def _help(one: Setting) -> str:
    text = one.rule.help
    if one.rule.choices:
        text += f" ({', '.join(one.rule.choices)})"
    if one.many:
        text += "; several with commas, or the flag again"
    if one.default in (None, ()) or one.rule.always_on:
        return text.replace("%", "%%")
    shown = one.default
    if one.kind is bool:
        shown = f"on; off by {', '.join(_off_flags(one))}" if one.default else "off"
    return f"{text} [{shown}]".replace("%", "%%")


def spellings() -> Iterator[tuple[Setting, list[str]]]:
    """Each setting with its flags; what the reference page and its test are made from."""
    for one in settings():
        yield one, ([] if one.name == "model" else flags_of(one))
