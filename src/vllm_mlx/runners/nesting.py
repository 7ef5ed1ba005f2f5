"""Caches in the nesting that a model wants: most families keep one a layer, some a list of them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Any

from mlx_lm.models.cache import CacheList

Nesting = tuple[int, ...]
"""For each entry of a model's cache: how many caches are in it, or 0 where it is a cache itself."""


class CacheGroup:
    """Several caches of one layer, read by index as from mlx-lm's `CacheList`."""

    def __init__(self, caches: Sequence[Any]) -> None:
        self._caches = tuple(caches)

    def __getitem__(self, index: int) -> Any:
        return self._caches[index]


def nesting_of(own: Sequence[Any]) -> Nesting:
    """How the model's own cache is nested."""
    return tuple(len(entry.caches) if type(entry) is CacheList else 0 for entry in own)


def flat(own: Sequence[Any]) -> list[Any]:
    """Every cache of the model, in order."""
    caches: list[Any] = []
    for entry in own:
        caches += entry.caches if type(entry) is CacheList else [entry]
    return caches


def nested(caches: Sequence[Any], nesting: Nesting) -> list[Any]:
    """Caches as the model wants them; the reverse of `flat`."""
    rest = iter(caches)
    return [CacheGroup(tuple(islice(rest, count))) if count else next(rest) for count in nesting]
