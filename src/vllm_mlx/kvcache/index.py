"""Finds the block that holds a name's content, and the name of a block."""

from __future__ import annotations


class PrefixIndex:
    """A one-to-one map between names and blocks."""

    def __init__(self) -> None:
        self._block_of: dict[bytes, int] = {}
        self._name_of: dict[int, bytes] = {}

    def __len__(self) -> int:
        return len(self._block_of)

    def find(self, name: bytes) -> int | None:
        """The block with that content, if there is one."""
        return self._block_of.get(name)

    def add(self, name: bytes, block_id: int) -> bool:
        """Name a block; False (and nothing changes) if another block has the name already.

        That happens when two sequences computed the same tokens side by side; the later copy stays
        nameless and is simply freed in the end.
        """
        if name in self._block_of:
            return False
        self._block_of[name] = block_id
        self._name_of[block_id] = name
        return True

    def discard(self, block_id: int) -> None:
        """Forget a block's name, because its content is about to change."""
        name = self._name_of.pop(block_id, None)
        if name is not None:
            del self._block_of[name]

    def blocks(self) -> set[int]:
        """All blocks with a name, for checks."""
        if {b: n for n, b in self._block_of.items()} != self._name_of:
            raise AssertionError("names and blocks are not one to one")
        return set(self._name_of)
