"""Which rows share a forward, and to which sizes forwards are padded."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from tests.fakes.models import VOCAB

from vllm_mlx.models.loader import load
from vllm_mlx.runners.base import Row
from vllm_mlx.runners.forward import BUCKETED, EXACT, PLANNED, Layout, PagedForward
from vllm_mlx.runners.geometry import places_of, token_rows
from vllm_mlx.runners.kernels.paged_attention import gather_attention
from vllm_mlx.runners.paged import PagedCache
from vllm_mlx.runners.probe import PagedPlan, probe

FOLDER = Callable[..., Path]
BLOCK = 8
PLAIN = Layout(block_size=BLOCK, split=True, shapes=BUCKETED)
KERNEL = replace(PLAIN, kernel=True)


def row(seq_id: int, tokens: int, start: int = 0) -> Row:
    blocks = -(-(start + tokens) // BLOCK)
    return Row(seq_id, list(range(tokens)), start, range(100 * seq_id + 1, 100 * seq_id + 1 + blocks))


def grouped(folder: Path, layout: Layout, *rows: Row) -> list[list[int]]:
    forward = PagedForward(load(folder).model, [], layout)
    return [[row.seq_id for row in group] for group in forward.groups(rows)]


def test_without_the_kernel_single_tokens_share_and_every_chunk_is_alone(model_folder: FOLDER) -> None:
    rows = row(1, 1, 40), row(2, 20), row(3, 1, 9), row(4, 20), row(5, 100, 100)
    assert grouped(model_folder("qwen3"), PLAIN, *rows) == [[1, 3], [2], [4], [5]]
    alone = replace(PLAIN, batch=False)
    assert grouped(model_folder("qwen3"), alone, *rows) == [[1], [3], [2], [4], [5]]


def test_short_tails_join_the_single_tokens_and_come_last(model_folder: FOLDER) -> None:
    rows = row(1, 64, 300), row(2, 1, 9), row(3, 390, 300), row(4, 7), row(5, 1, 2)
    assert grouped(model_folder("qwen3"), KERNEL, *rows) == [[2, 5, 4, 1], [3]]


def test_a_tail_that_would_read_a_long_history_token_by_token_stays_a_chunk(model_folder: FOLDER) -> None:
    assert grouped(model_folder("qwen3"), KERNEL, row(1, 1, 9), row(2, 60, 9000)) == [[1], [2]]


def test_a_chunk_of_some_length_is_a_tail_only_with_history(model_folder: FOLDER) -> None:
    rows = row(1, 1, 9), row(2, 292, 98), row(3, 292)
    assert grouped(model_folder("qwen3"), KERNEL, *rows) == [[1, 2], [3]]


def test_chunks_without_history_that_pad_to_one_length_share(model_folder: FOLDER) -> None:
    rows = row(1, 600), row(2, 590), row(3, 700), row(4, 600, 16), row(5, 580), row(6, 70)
    assert grouped(model_folder("qwen3"), KERNEL, *rows) == [[6], [1, 2, 5], [3], [4]]


def test_a_chunk_that_only_asks_for_its_last_logits_is_cut_where_the_head_does_not_split(
    model_folder: FOLDER,
) -> None:
    from_whole = replace(KERNEL, split=False)
    forward = PagedForward(load(model_folder("qwen3")).model, [], from_whole)
    plain = row(1, 20)
    asking = replace(row(2, 20), sampling=object())  # type: ignore[arg-type]
    found = [(r.seq_id, r.start, len(r.token_ids)) for (r,) in forward.groups([plain, asking])]
    assert found == [(1, 0, 20), (2, 0, 19), (2, 19, 1)]


def test_lengths_are_rounded_to_few_values() -> None:
    assert [EXACT.chunk(n) for n in (1, 7, 390)] == [1, 7, 390]
    assert [BUCKETED.chunk(n) for n in (1, 2, 33, 256, 257, 390, 600)] == [1, 32, 64, 256, 320, 448, 640]
    assert len({BUCKETED.chunk(n) for n in range(1, 2001)}) <= 30
    assert [BUCKETED.rows(n) for n in (1, 3, 64, 65, 500)] == [1, 4, 64, 128, 512]
    assert [BUCKETED.blocks(n, 16) for n in (1, 16, 17, 250)] == [16, 16, 32, 256]


def test_attention_that_is_planned_by_shape_takes_powers_of_two_rows() -> None:
    for count in range(1, 200):
        pieces = PLANNED.pieces(count, 100)
        assert sum(pieces) == count
        assert set(pieces) <= {1, 2, 4, 8}
        assert BUCKETED.pieces(count, 100) == EXACT.pieces(count, 100) == (count,)


@pytest.mark.parametrize("counts", [(3, 1), (5, 1), (3, 9), (7, 9)], ids=str)
def test_rows_that_attend_in_pieces_get_what_each_gets_alone(
    counts: tuple[int, int], model_folder: FOLDER
) -> None:
    rows, tokens = counts
    model = load(model_folder("qwen3")).model
    caches = [PagedCache(1000 * BLOCK, block_size=BLOCK) for _ in model.layers]
    forward = PagedForward(model, caches, replace(PLAIN, shapes=PLANNED))
    group = [replace(row(i, tokens), token_ids=[7 * i + j for j in range(tokens)]) for i in range(rows)]
    together = np.array(forward.logits(forward.states(group).last(range(rows))))
    alone = [np.array(forward.logits(forward.states([each]).last([0])))[0] for each in group]
    assert np.abs(together - np.stack(alone)).max() < 1e-4


def test_tokens_as_rows_know_their_slots_and_tables() -> None:
    rows = [row(1, 1, 12), row(2, 3, 7)]
    tokens = token_rows(rows, BLOCK, pad_rows=6, pad_blocks=4)
    offsets, slots, tables = places_of(mx.array(tokens.places), 6)
    assert offsets.tolist() == [12, 7, 8, 9, 0, 0]
    # Padding writes to slot 1 of the scratch block, which nothing reads.
    assert slots.tolist() == [102 * 8 + 4, 201 * 8 + 7, 202 * 8, 202 * 8 + 1, 1, 1]
    assert tables.tolist() == [
        [101, 102, 0, 0],
        *[[201, 202, 0, 0]] * 2,
        [201, 202, 0, 0],
        *[[0] * 4] * 2,
    ]
    assert tokens.token_ids.tolist() == [0, 0, 1, 2, 0, 0]


@pytest.mark.parametrize("family", ["qwen3", "gpt_oss"])
def test_rows_get_the_same_states_whichever_forward_computes_them(family: str, model_folder: FOLDER) -> None:
    model = load(model_folder(family)).model
    plan = probe(model, block_size=BLOCK, vocab_size=VOCAB, shapes=BUCKETED, attention=gather_attention)
    assert isinstance(plan, PagedPlan)
    assert plan.kernel
    found = []
    for kernel, tail in ((False, 64), (True, 64), (True, 5)):
        caches = [
            PagedCache(60 * BLOCK, block_size=BLOCK, window=layer.window, attention=gather_attention)
            for layer in plan.layers
        ]
        for cache, layer in zip(caches, plan.layers, strict=True):
            cache.allocate(layer)
        layout = replace(plan.layout(BLOCK, BUCKETED), kernel=kernel, compiled=False, tail_tokens=tail)
        forward = PagedForward(model, caches, layout)
        tables = {seq_id: list(range(12 * seq_id - 11, 12 * seq_id + 1)) for seq_id in (1, 2, 3)}
        ids = {seq_id: np.random.default_rng(seq_id).integers(0, VOCAB, 50).tolist() for seq_id in tables}
        states: dict[int, list[np.ndarray]] = {seq_id: [] for seq_id in tables}
        for cuts in (
            ((1, 0, 30), (2, 0, 28)),
            ((1, 30, 31), (2, 28, 34), (3, 0, 27)),
            ((3, 27, 40), (1, 31, 33)),
        ):
            rows = [Row(i, ids[i][start:end], start, tables[i]) for i, start, end in cuts]
            for group in forward.groups(rows):
                computed = forward.states(group)
                forward.submit(computed.array)
                last = np.array(forward.logits(computed.last(range(len(group)))))[:, 0]
                for i, member in enumerate(group):
                    whole = np.array(forward.logits(computed.of(i)))[0]
                    assert len(whole) == len(member.token_ids)
                    assert np.allclose(whole[-1], last[i], atol=1e-4)
                    states[member.seq_id].append(whole)
        found.append([np.concatenate(states[i]) for i in sorted(states)])
    for other in found[1:]:
        for ours, first in zip(other, found[0], strict=True):
            assert np.abs(ours - first).max() < 1e-3
