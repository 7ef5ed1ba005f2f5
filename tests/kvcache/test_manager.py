"""Blocks of the pool: who gets them, who shares them, when they come back."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule

from vllm_mlx.kvcache.manager import BlockTable, KVCacheManager

SIZE = 2


def make(num_blocks: int = 9, *, prefix_reuse: bool = True) -> KVCacheManager:
    return KVCacheManager(num_blocks=num_blocks, block_size=SIZE, fingerprint="m", prefix_reuse=prefix_reuse)


def fill(cache: KVCacheManager, token_ids: list[int], salt: str = "") -> BlockTable:
    """A table whose tokens were matched as far as possible, and computed."""
    table = cache.new_table(salt)
    assert cache.reserve(table, len(token_ids), cache.match(table, token_ids))
    cache.commit(table, token_ids, len(token_ids))
    return table


def counts(cache: KVCacheManager) -> tuple[int, int, int]:
    stats = cache.stats()
    return stats.free_blocks, stats.cached_blocks, stats.active_blocks


def test_full_blocks_are_cached_on_release_and_a_part_block_is_freed() -> None:
    cache = make()
    table = fill(cache, [1, 2, 3, 4, 5])
    assert counts(cache) == (5, 0, 3)
    cache.release(table)
    assert counts(cache) == (6, 2, 0)


@pytest.mark.requirement(59, 60)
def test_a_match_shares_full_blocks_and_copies_nothing() -> None:
    cache = make()
    one = fill(cache, [1, 2, 3, 4, 5])
    two = fill(cache, [1, 2, 3, 4, 6])
    assert two.block_ids[:2] == one.block_ids[:2]
    assert two.block_ids[2] != one.block_ids[2]
    assert counts(cache) == (4, 0, 4)
    cache.check([one, two])


def test_at_least_one_token_is_left_to_compute() -> None:
    cache = make()
    cache.release(fill(cache, [1, 2, 3, 4]))
    again = cache.new_table()
    assert len(cache.match(again, [1, 2, 3, 4])) == 1
    assert len(cache.match(cache.new_table(), [1, 2, 3, 4, 5])) == 2


@pytest.mark.requirement(60)
def test_a_block_is_found_only_after_the_same_prefix() -> None:
    cache = make()
    cache.release(fill(cache, [1, 2, 3, 4]))
    assert cache.match(cache.new_table(), [9, 9, 3, 4, 5]) == []
    assert cache.match(cache.new_table(), [3, 4, 5]) == []


def test_salts_never_share() -> None:
    cache = make()
    cache.release(fill(cache, [1, 2, 3], salt="mine"))
    assert cache.match(cache.new_table("yours"), [1, 2, 3]) == []
    assert len(cache.match(cache.new_table("mine"), [1, 2, 3])) == 1


def test_only_what_was_committed_is_found() -> None:
    cache = make()
    table = cache.new_table()
    tokens = [1, 2, 3, 4, 5, 6]
    assert cache.reserve(table, 6)
    cache.commit(table, tokens, 3)
    assert cache.match(cache.new_table(), tokens) == table.block_ids[:1]


def test_without_prefix_reuse_nothing_is_found_or_kept() -> None:
    cache = make(prefix_reuse=False)
    table = fill(cache, [1, 2, 3])
    assert cache.match(cache.new_table(), [1, 2, 3]) == []
    cache.release(table)
    assert counts(cache) == (8, 0, 0)


def test_cached_blocks_are_evicted_only_when_no_block_is_free_and_the_oldest_first() -> None:
    cache = make(num_blocks=5)
    cache.release(fill(cache, [1, 2]))
    cache.release(fill(cache, [3, 4]))
    table = cache.new_table()
    assert cache.reserve(table, 2 * SIZE)
    assert cache.stats().evicted_blocks == 0
    assert cache.reserve(table, 3 * SIZE)
    assert cache.stats().evicted_blocks == 1
    assert cache.match(cache.new_table(), [1, 2, 0]) == []
    assert len(cache.match(cache.new_table(), [3, 4, 0])) == 1


def test_the_end_of_a_prompt_is_evicted_before_its_beginning() -> None:
    cache = make(num_blocks=4)
    cache.release(fill(cache, [1, 2, 3, 4, 5, 6]))
    assert cache.reserve(cache.new_table(), SIZE)
    assert len(cache.match(cache.new_table(), [1, 2, 3, 4, 5, 6, 7])) == 2


def test_a_reservation_that_does_not_fit_changes_nothing() -> None:
    cache = make(num_blocks=4)
    cache.release(fill(cache, [1, 2, 3]))
    table = cache.new_table()
    before = counts(cache)
    prefix = cache.match(table, [1, 2, 3])
    assert not cache.reserve(table, 4 * SIZE, prefix)
    assert (counts(cache), table.block_ids) == (before, [])


def test_a_matched_block_that_no_one_holds_is_not_counted_as_room_too() -> None:
    cache = make(num_blocks=4)
    cache.release(fill(cache, [1, 2, 3, 4, 5, 6]))
    prefix = cache.match(cache.new_table(), [1, 2, 3, 4, 0])
    assert cache.fits(1, prefix)
    assert not cache.fits(2, prefix)


def test_a_second_copy_of_the_same_tokens_is_freed_in_the_end() -> None:
    cache = make()
    tables = [cache.new_table(), cache.new_table()]
    for table in tables:
        assert cache.reserve(table, 2)
    for table in tables:
        cache.commit(table, [1, 2], 2)
    for table in tables:
        cache.release(table)
    cache.check([])
    assert counts(cache) == (7, 1, 0)


def test_a_pool_needs_a_block_beside_the_scratch_block() -> None:
    with pytest.raises(ValueError, match="at least one more"):
        make(num_blocks=1)


class Pool(RuleBasedStateMachine):
    """Random sequences over a tiny pool, whose content is remembered beside it."""

    tables = Bundle("tables")

    def __init__(self) -> None:
        super().__init__()
        self.cache = make(num_blocks=7)
        self.live: dict[BlockTable, list[int]] = {}
        self.content: dict[int, tuple[int, ...]] = {}  # block: all tokens up to its end

    @rule(target=tables, tokens=st.lists(st.integers(0, 1), min_size=1, max_size=9))
    def begin(self, tokens: list[int]) -> object:
        table = self.cache.new_table()
        prefix = self.cache.match(table, tokens)
        assert len(prefix) * SIZE < len(tokens)
        for i, block_id in enumerate(prefix):
            assert self.content[block_id] == tuple(tokens[: (i + 1) * SIZE])
        before = counts(self.cache)
        if not self.cache.reserve(table, len(tokens), prefix):
            assert counts(self.cache) == before
            return multiple()
        self.live[table] = tokens
        self._compute(table, len(prefix))
        return table

    @rule(table=tables, tokens=st.lists(st.integers(0, 1), min_size=1, max_size=3), named=st.booleans())
    def grow(self, table: BlockTable, tokens: list[int], named: bool) -> None:
        longer = self.live[table] + tokens
        first = len(self.live[table]) // SIZE
        if self.cache.reserve(table, len(longer)):
            self.live[table] = longer
            self._compute(table, first, named=named)

    def _compute(self, table: BlockTable, first_block: int, *, named: bool = True) -> None:
        tokens = self.live[table]
        for i in range(first_block, len(table.block_ids)):
            self.content[table.block_ids[i]] = tuple(tokens[: (i + 1) * SIZE])
        if named:
            self.cache.commit(table, tokens, len(tokens))

    @rule(table=consumes(tables))
    def end(self, table: BlockTable) -> None:
        self.cache.release(table)
        del self.live[table]

    @invariant()
    def every_table_still_holds_its_text(self) -> None:
        self.cache.check(self.live)
        for table, tokens in self.live.items():
            for i, block_id in enumerate(table.block_ids):
                assert self.content[block_id] == tuple(tokens[: (i + 1) * SIZE])

    @invariant()
    def every_block_is_counted_once(self) -> None:
        assert sum(counts(self.cache)) == self.cache.stats().total_blocks == 6

    def teardown(self) -> None:
        for table in list(self.live):
            self.cache.release(table)
        assert self.cache.stats().active_blocks == 0


Pool.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestPool = pytest.mark.requirement(58)(Pool.TestCase)
