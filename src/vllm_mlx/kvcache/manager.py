"""Gives sequences their blocks: match a prefix, reserve room, commit what is computed, release."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from vllm_mlx.core.stats import CacheStats
from vllm_mlx.kvcache.blocks import SCRATCH_BLOCK, BlockPool
from vllm_mlx.kvcache.hashing import child_name, root_name
from vllm_mlx.kvcache.index import PrefixIndex


@dataclass(slots=True, eq=False)
class BlockTable:
    """The blocks of one sequence in the order of its positions. Only the manager writes it.

    Attributes:
        block_ids: block i holds positions i * block_size to (i + 1) * block_size - 1.
        num_committed: leading blocks whose names are settled.
        names: names of the leading full blocks as far as they were needed; kept over a release, since a
            sequence's tokens never change, so that a resume hashes nothing twice.
    """

    root: bytes
    block_ids: list[int] = field(default_factory=list)
    num_committed: int = 0
    names: list[bytes] = field(default_factory=list)


class KVCacheManager:
    """Owns the pool and the names; nothing is ever copied, sharing is a reference count.

    Args:
        num_blocks: blocks of the pool, the scratch block 0 included.
        fingerprint: of the model; part of every name.
        prefix_reuse: False turns names off: nothing is found, nothing is kept.
    """

    def __init__(
        self, *, num_blocks: int, block_size: int, fingerprint: str, prefix_reuse: bool = True
    ) -> None:
        if block_size < 1:
            raise ValueError("block_size must be at least 1")
        self.block_size = block_size
        self.prefix_reuse = prefix_reuse
        self._fingerprint = fingerprint
        self._index = PrefixIndex()
        self._pool = BlockPool(num_blocks, on_evict=self._index.discard)
        self._hit_tokens = 0
        self._query_tokens = 0

    @property
    def capacity_tokens(self) -> int:
        """Tokens that fit when one sequence has the whole pool."""
        return self._pool.total * self.block_size

    def new_table(self, salt: str = "") -> BlockTable:
        """An empty table; tables of different salts never share a block."""
        return BlockTable(root_name(self._fingerprint, salt))

    def blocks_for(self, num_tokens: int) -> int:
        """Blocks that so many tokens need."""
        return -(-num_tokens // self.block_size)

    def names(self, table: BlockTable, token_ids: Sequence[int], num_blocks: int) -> list[bytes]:
        """Names of the sequence's first `num_blocks` full blocks."""
        size = self.block_size
        for i in range(len(table.names), num_blocks):
            parent = table.names[-1] if table.names else table.root
            table.names.append(child_name(parent, token_ids[i * size : (i + 1) * size]))
        return table.names[:num_blocks]

    def shareable(self, table: BlockTable, token_ids: Sequence[int], num_tokens: int) -> list[bytes]:
        """Names of the blocks of a prompt of so many tokens that `match` can find."""
        if not self.prefix_reuse:
            return []
        return self.names(table, token_ids, (num_tokens - 1) // self.block_size)

    def match(self, table: BlockTable, token_ids: Sequence[int]) -> list[int]:
        """Blocks of the pool that hold a leading part of `token_ids`; takes no reference.

        Only full blocks, and never all tokens: the last one must be computed to know what follows it.
        The answer holds until the next `reserve`.
        """
        found: list[int] = []
        if not self.prefix_reuse:
            return found
        for name in self.names(table, token_ids, (len(token_ids) - 1) // self.block_size):
            block_id = self._index.find(name)
            if block_id is None:
                break
            found.append(block_id)
        return found

    def reserve(self, table: BlockTable, num_tokens: int, prefix: Sequence[int] = ()) -> bool:
        """Give the table room for `num_tokens` tokens in all, or leave everything as it is.

        Args:
            prefix: what `match` found, for a table that is empty.

        Returns:
            False if there are too few blocks.
        """
        missing = self.blocks_for(num_tokens) - len(table.block_ids) - len(prefix)
        if missing > 0 and not self.fits(missing, prefix):
            return False
        for block_id in prefix:
            self._pool.share(block_id)
        if prefix:
            table.block_ids.extend(prefix)
            table.num_committed = len(prefix)
        table.block_ids.extend(self._pool.take() for _ in range(missing))
        return True

    def fits(self, num_blocks: int, prefix: Sequence[int] = (), releasing: Iterable[BlockTable] = ()) -> bool:
        """Whether so many blocks could be taken beside sharing `prefix`, once `releasing` were released."""
        held = Counter(block_id for table in releasing for block_id in table.block_ids)
        freed = sum(1 for block_id, count in held.items() if self._pool.refs(block_id) == count)
        # A block of the prefix that no one else would hold is available too, but not for other content.
        taken = sum(1 for block_id in prefix if self._pool.refs(block_id) == held[block_id])
        return num_blocks <= self._pool.available + freed - taken

    def commit(self, table: BlockTable, token_ids: Sequence[int], num_tokens: int) -> None:
        """Name the full blocks among the first `num_tokens` tokens, whose KV must be computed."""
        if not self.prefix_reuse:
            return
        full = num_tokens // self.block_size
        if full <= table.num_committed:
            return
        names = self.names(table, token_ids, full)
        for i in range(table.num_committed, full):
            if self._index.add(names[i], table.block_ids[i]):
                self._pool.keep(table.block_ids[i])
        table.num_committed = full

    def release(self, table: BlockTable) -> None:
        """Give all blocks back. The last go first, so that the beginnings of prompts are evicted last."""
        for block_id in reversed(table.block_ids):
            self._pool.drop(block_id)
        table.block_ids.clear()
        table.num_committed = 0

    def count_query(self, asked_tokens: int, hit_tokens: int) -> None:
        """Take a prompt's first lookup into the statistics."""
        self._query_tokens += asked_tokens
        self._hit_tokens += hit_tokens

    def stats(self) -> CacheStats:
        """The counts now."""
        pool = self._pool
        return CacheStats(
            block_size=self.block_size,
            total_blocks=pool.total,
            free_blocks=pool.free,
            cached_blocks=pool.cached,
            active_blocks=pool.total - pool.available,
            hit_tokens=self._hit_tokens,
            query_tokens=self._query_tokens,
            evicted_blocks=pool.evicted,
        )

    def check(self, tables: Iterable[BlockTable]) -> None:
        """Raise AssertionError unless `tables` explain every reference and every name is in its place."""
        self._pool.check()
        held: Counter[int] = Counter()
        for table in tables:
            if len(set(table.block_ids)) != len(table.block_ids):
                raise AssertionError("a table holds a block twice")
            held.update(table.block_ids)
        if SCRATCH_BLOCK in held:
            raise AssertionError("the scratch block was handed out")
        counts = {b: self._pool.refs(b) for b in range(self._pool.num_blocks) if self._pool.refs(b)}
        if counts != dict(held):
            raise AssertionError("reference counts differ from what the tables hold")
        if self._index.blocks() != self._pool.kept_blocks():
            raise AssertionError("named blocks and kept blocks differ")
