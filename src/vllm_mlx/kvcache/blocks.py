"""Which blocks of the pool are free, kept for later or in use: counts and lists, no arrays."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable

SCRATCH_BLOCK = 0
"""Padding rows write here; it is never handed out."""


class BlockPool:
    """Reference counts over block ids 1 to `num_blocks` - 1.

    A block is in exactly one of three states: *free* (holds nothing of use), *cached* (no one refers to it,
    but it is kept because its content has a name) or *active* (referred to at least once).

    Args:
        num_blocks: blocks of the pool, the scratch block included.
        on_evict: told the id of a cached block just before it is handed out for other content.
    """

    def __init__(self, num_blocks: int, on_evict: Callable[[int], None]) -> None:
        if num_blocks < 2:
            raise ValueError("a pool needs the scratch block and at least one more")
        self.num_blocks = num_blocks
        self.evicted = 0
        self._on_evict = on_evict
        self._refs = [0] * num_blocks
        self._kept = bytearray(num_blocks)
        self._free = deque(range(1, num_blocks))
        self._cached: OrderedDict[int, None] = OrderedDict()  # oldest release first

    @property
    def total(self) -> int:
        """Blocks that can be handed out."""
        return self.num_blocks - 1

    @property
    def free(self) -> int:
        return len(self._free)

    @property
    def cached(self) -> int:
        return len(self._cached)

    @property
    def available(self) -> int:
        """Blocks that `take` can hand out now."""
        return len(self._free) + len(self._cached)

    def refs(self, block_id: int) -> int:
        """How often the block is referred to."""
        return self._refs[block_id]

    def take(self) -> int:
        """A block for new content with one reference; the longest unused cached one if none is free.

        Raises:
            IndexError: every block is active.
        """
        if self._free:
            block_id = self._free.popleft()
        elif self._cached:
            block_id, _ = self._cached.popitem(last=False)
            self._on_evict(block_id)
            self._kept[block_id] = 0
            self.evicted += 1
        else:
            raise IndexError("no block is left")
        self._refs[block_id] = 1
        return block_id

    def share(self, block_id: int) -> None:
        """One more reference to a cached or active block."""
        if self._refs[block_id] == 0:
            del self._cached[block_id]
        self._refs[block_id] += 1

    def keep(self, block_id: int) -> None:
        """From now on the block is worth keeping when its last reference goes."""
        self._kept[block_id] = 1

    def drop(self, block_id: int) -> None:
        """One reference less; the last one makes the block cached or free."""
        if self._refs[block_id] < 1:
            raise ValueError(f"block {block_id} is not in use")
        self._refs[block_id] -= 1
        if self._refs[block_id] == 0:
            if self._kept[block_id]:
                self._cached[block_id] = None
            else:
                self._free.append(block_id)

    def check(self) -> None:
        """Raise AssertionError if the three states do not partition the pool."""
        active = {b for b in range(self.num_blocks) if self._refs[b] > 0}
        free, cached = set(self._free), set(self._cached)
        states = (active, free, cached)
        if sum(map(len, states)) != self.total or set().union(*states) != set(range(1, self.num_blocks)):
            raise AssertionError("free, cached and active blocks do not partition the pool")
        if len(self._free) != len(free):
            raise AssertionError("a block is free twice")
        if any(self._kept[b] for b in free) or not all(self._kept[b] for b in cached):
            raise AssertionError("a named block is free, or a nameless one is cached")

    def kept_blocks(self) -> set[int]:
        """Blocks whose content has a name, for checks."""
        return {b for b in range(self.num_blocks) if self._kept[b]}
