"""Pools: what array operations make of them and what kernels do that write in place, and in which order."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from tests.fakes.models import VOCAB
from tests.runners.kernels.host import on_host, runs_kernels

from vllm_mlx.models.loader import load
from vllm_mlx.runners.base import Row
from vllm_mlx.runners.forward import PLANNED, PagedForward
from vllm_mlx.runners.kernels.check import access_failure
from vllm_mlx.runners.kernels.paged_attention import Attention, gather_attention
from vllm_mlx.runners.paged import PagedCache
from vllm_mlx.runners.pool import InPlacePool, LayerShape, NewPool, ScatterPool
from vllm_mlx.runners.probe import PagedPlan, probe

FOLDER = Callable[..., Path]
BLOCK = 8
BLOCKS = 60
SHAPE = LayerShape(2, 16, 2, 16, mx.float32)


@dataclass
class Memory:
    """Writes pools in place and reads them as the kernels do, and insists on their order.

    Attributes:
        accesses: writes, gathers and attentions so far.
        newest: by array of a pool, the token of the last write to it.
    """

    accesses: Counter[str] = field(default_factory=Counter)
    newest: dict[int, int] = field(default_factory=dict)

    def write(
        self,
        keys: mx.array,
        values: mx.array,
        new_keys: mx.array,
        new_values: mx.array,
        slots: mx.array,
        after: mx.array,
    ) -> mx.array:
        self._note("write", keys, after)
        keys[slots] = new_keys
        if values.size:
            values[slots] = new_values
        done = after + 1
        self.newest[id(keys)] = self.newest[id(values)] = int(done.item())
        return done

    def gather(self, pool: mx.array, slots: mx.array, after: mx.array) -> mx.array:
        self._note("gather", pool, after)
        return mx.contiguous(pool[slots].transpose(0, 2, 1, 3))

    def attention(
        self, queries: mx.array, keys: mx.array, values: mx.array, *args: Any, **options: Any
    ) -> mx.array:
        """An `Attention`."""
        for pool in (keys, values):
            self._note("attention", pool, options["after"])
        return gather_attention(queries, keys, values, *args, **options)

    def _note(self, access: str, pool: mx.array, after: mx.array) -> None:
        assert after.item() == self.newest.get(id(pool), 0)
        self.accesses[access] += 1

    @property
    def new_pool(self) -> NewPool:
        return partial(InPlacePool, write=self.write, gather=self.gather)


def forward_of(
    folder: Path, new_pool: NewPool, *, attention: Attention = gather_attention, kernel: bool
) -> PagedForward:
    model = load(folder).model
    plan = probe(model, block_size=BLOCK, vocab_size=VOCAB, shapes=PLANNED, attention=gather_attention)
    assert isinstance(plan, PagedPlan)
    caches = [
        PagedCache(
            BLOCKS * BLOCK, block_size=BLOCK, window=layer.window, new_pool=new_pool, attention=attention
        )
        for layer in plan.layers
    ]
    for cache, layer in zip(caches, plan.layers, strict=True):
        cache.allocate(layer)
    layout = replace(plan.layout(BLOCK, PLANNED), kernel=kernel, compiled=False, tail_tokens=12)
    return PagedForward(model, caches, layout)


def logits_of(forward: PagedForward) -> list[np.ndarray[Any, Any]]:
    """What three sequences get that join, are cut in chunks and decode together."""
    tables = {seq_id: list(range(12 * seq_id - 11, 12 * seq_id + 1)) for seq_id in (1, 2, 3)}
    ids = {seq_id: np.random.default_rng(seq_id).integers(0, VOCAB, 60).tolist() for seq_id in tables}
    found: dict[int, list[np.ndarray[Any, Any]]] = {seq_id: [] for seq_id in tables}
    for cuts in (
        ((1, 0, 20), (2, 0, 18), (3, 0, 19)),  # one length when padded: three of one forward
        ((1, 20, 28), (2, 18, 40)),  # a tail and a chunk
        ((1, 28, 29), (2, 40, 41), (3, 19, 27)),
        ((1, 29, 30), (2, 41, 42), (3, 27, 28)),
    ):
        rows = [Row(i, ids[i][start:end], start, tables[i]) for i, start, end in cuts]
        for group in forward.groups(rows):
            states = forward.states(group)
            forward.submit(states.array)
            for i, row in enumerate(group):
                found[row.seq_id].append(np.array(forward.logits(states.of(i)))[0])
    return [np.concatenate(found[seq_id]) for seq_id in sorted(found)]


@pytest.mark.parametrize("family", ["qwen3", "gpt_oss"])
@pytest.mark.parametrize("kernel", [False, True])
def test_a_pool_written_in_place_gives_the_same_and_each_access_waits_for_the_last_write(
    family: str, kernel: bool, model_folder: FOLDER
) -> None:
    folder, memory = model_folder(family), Memory()
    expected = logits_of(forward_of(folder, ScatterPool, kernel=kernel))
    found = logits_of(forward_of(folder, memory.new_pool, kernel=kernel, attention=memory.attention))
    for ours, theirs in zip(found, expected, strict=True):
        assert np.array_equal(ours, theirs)
    assert memory.accesses["write"] > 0
    assert memory.accesses["gather"] > 0
    assert (memory.accesses["attention"] > 0) == kernel


@pytest.mark.slow
@runs_kernels
@pytest.mark.parametrize("family", ["qwen3", "gemma3_text"])
def test_the_kernels_text_gives_the_same_on_the_host(
    family: str, model_folder: FOLDER, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = model_folder(family)
    access = on_host("pool_access", monkeypatch, tmp_path)
    new_pool = partial(InPlacePool, write=access.write_slots, gather=access.gather_slots)
    for kernel in (False, True):
        expected = logits_of(forward_of(folder, ScatterPool, kernel=kernel))
        found = logits_of(forward_of(folder, new_pool, kernel=kernel))
        for ours, theirs in zip(found, expected, strict=True):
            assert np.array_equal(ours, theirs)


@pytest.mark.parametrize("shape", [SHAPE, replace(SHAPE, value_dim=0), replace(SHAPE, dtype=mx.bfloat16)])
def test_the_check_of_access_admits_pools_that_keep_what_they_are_given(shape: LayerShape) -> None:
    memory = Memory()
    for new_pool in (ScatterPool, memory.new_pool):
        assert access_failure(new_pool, shape, BLOCK) is None
    assert memory.accesses["write"] > 1


def forgetful(keys: mx.array, values: mx.array, *rest: mx.array) -> mx.array:
    """A write to a copy, as of an array that the device still reads."""
    return Memory().write(keys + 0, values + 0, *rest[:3], mx.zeros((1,), mx.int32))


def short(keys: mx.array, values: mx.array, *rest: mx.array) -> mx.array:
    """A grid that does not cover the last token."""
    new_keys, new_values, slots, _ = rest
    return Memory().write(keys, values, new_keys[:-1], new_values[:-1], slots[:-1], mx.zeros((1,), mx.int32))


@pytest.mark.parametrize("write", [forgetful, short])
def test_the_check_of_access_refuses_what_loses_a_write(write: Any) -> None:
    new_pool = partial(InPlacePool, write=write, gather=partial(_untimed, Memory()))
    assert "not what was written" in (access_failure(new_pool, SHAPE, BLOCK) or "")


def _untimed(memory: Memory, pool: mx.array, slots: mx.array, _: mx.array) -> mx.array:
    return memory.gather(pool, slots, mx.array(memory.newest.get(id(pool), 0)))


def broken(*_: mx.array) -> mx.array:
    raise RuntimeError("no such kernel here")


def test_a_model_pages_in_place_only_where_the_kernels_prove_right(
    model_folder: FOLDER, caplog: pytest.LogCaptureFixture
) -> None:
    model, memory = load(model_folder("qwen3")).model, Memory()
    new_pool = memory.new_pool
    plan = probe(model, block_size=BLOCK, vocab_size=VOCAB, in_place=new_pool)
    assert isinstance(plan, PagedPlan)
    assert plan.new_pool is new_pool
    assert not caplog.records
    for write, reason in ((forgetful, "not what was written"), (broken, "no such kernel here")):
        wrong = partial(InPlacePool, write=write, gather=partial(_untimed, Memory()))
        plan = probe(model, block_size=BLOCK, vocab_size=VOCAB, in_place=wrong)
        assert isinstance(plan, PagedPlan)
        assert plan.new_pool is ScatterPool
        (record,) = caplog.records
        assert record.levelno == logging.WARNING
        assert "not written in place" in record.message
        assert reason in record.message
        caplog.clear()


def test_a_pool_that_grows_has_room_for_what_is_written_and_no_more_than_its_size() -> None:
    pool = ScatterPool(100, SHAPE, grow_from=10)
    new = mx.ones((1, 2, 16))
    sizes = []
    for slot in (9, 10, 95):
        pool.write(mx.array([slot]), slot, new, new)
        sizes.append(pool.keys.shape[0])
    assert sizes == [10, 20, 96]
    assert [i for i in range(96) if pool.keys[i].any()] == [9, 10, 95]
