"""Lazy name -> "module:attribute" tables: the one mechanism behind every plug point."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from importlib import import_module
from typing import Generic, TypeVar, cast

T = TypeVar("T")


class UnknownName(KeyError):
    """A name that no entry of the table answers to."""

    def __str__(self) -> str:
        return str(self.args[0])


class Registry(Generic[T]):
    """An open set with three members or more; a member is imported when it is first asked for.

    Args:
        kind: what the members are, for error messages ("output format").
        entries: name to "package.module:attribute".
    """

    def __init__(self, kind: str, entries: Mapping[str, str]) -> None:
        self.kind = kind
        self._entries = dict(entries)

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._entries))

    def hint(self, name: str) -> str:
        """The end of a sentence about a name that is none of these: the closest one, if one is close."""
        close = get_close_matches(name, self._entries, 1)
        return f"; did you mean {close[0]!r}?" if close else ""

    def get(self, name: str) -> T:
        """Import and return the member.

        Raises:
            UnknownName: no entry has that name; the message offers the closest one.
        """
        if name not in self._entries:
            raise UnknownName(f"unknown {self.kind} {name!r}{self.hint(name)}")
        module, _, attribute = self._entries[name].partition(":")
        return cast(T, getattr(import_module(module), attribute))
