"""What a bank of words and templates holds: training, development and final evaluation each have their own."""
# ruff: noqa: E501

from collections.abc import Iterator
from dataclasses import dataclass, fields


@dataclass(frozen=True)
class ArgKind:
    """A kind of tool argument: its names, ways to describe it, and ways to mention its value without its name."""

    names: tuple[str, ...]
    about: tuple[str, ...]
    bare: tuple[str, ...]


@dataclass(frozen=True)
class Verb:
    """What a tool does: its name's verb, its descriptions, and requests for it ({o} the thing, {args} the rest)."""

    name: str
    about: tuple[str, ...]
    ask: tuple[str, ...]


@dataclass(frozen=True)
class Bank:
    """`[a|b]` is a choice, `{x}` a slot. Nothing of one bank's templates, names and schemas stands in another."""

    train: bool
    onsets: tuple[str, ...]
    codas: tuple[str, ...]
    first: tuple[str, ...]
    place: tuple[str, ...]
    word: tuple[str, ...]
    prop: tuple[str, ...]
    keys: tuple[str, ...]
    system: tuple[str, ...]
    ack: tuple[str, ...]
    my: tuple[str, ...]
    of: tuple[str, ...]
    ask_my: tuple[str, ...]
    ask_of: tuple[str, ...]
    natural: tuple[tuple[str, str, str, str], ...]
    repeat: tuple[str, ...]
    field: tuple[str, ...]
    to_json: tuple[str, ...]
    kv: tuple[str, ...]
    find: tuple[tuple[str, str, str], ...]
    find_ask: tuple[str, ...]
    add: tuple[str, ...]
    sub: tuple[str, ...]
    thing: tuple[str, ...]
    verbs: tuple[Verb, ...]
    nouns: tuple[str, ...]
    args: dict[str, ArgKind]
    named: tuple[str, ...]
    results: tuple[str, ...]
    chat: dict[str, tuple[str, ...]]
    capital: tuple[str, ...]
    unknown: tuple[str, ...]

    def templates(self) -> Iterator[str]:
        """Every template of running text, for the test that no two banks share one."""
        for f in fields(self):
            if f.name not in (
                "train",
                "onsets",
                "codas",
                "first",
                "place",
                "word",
                "prop",
                "keys",
                "thing",
                "nouns",
            ):
                value = getattr(self, f.name)
                yield from _strings(tuple(x[:2] for x in value) if f.name == "natural" else value)


def listed(text: str) -> tuple[str, ...]:
    """Words that stand between bars."""
    return tuple(text.split("|"))


def _strings(x: object) -> Iterator[str]:
    if isinstance(x, str):
        yield x
    elif isinstance(x, dict):
        for v in x.values():
            yield from _strings(v)
    elif isinstance(x, tuple):
        for v in x:
            yield from _strings(v)
    elif isinstance(x, Verb):
        yield from x.about + x.ask
    elif isinstance(x, ArgKind):
        yield from x.about + x.bare
