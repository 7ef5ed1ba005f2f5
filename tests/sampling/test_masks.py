"""Masked sampling: only allowed tokens, whatever the settings, and nothing to the rows beside."""

from __future__ import annotations

from collections.abc import Sequence

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.sampling.reference import row

from vllm_mlx.core.sampling import SamplingParams
from vllm_mlx.core.steps import RowFault, RowSampling, SampledToken
from vllm_mlx.sampling import batch
from vllm_mlx.sampling.batch import Sampler
from vllm_mlx.sampling.masks import MaskTable, PlacedMask, RowMask

VOCAB = 1037


def packed(allowed: list[set[int]], vocab: int = VOCAB, extra_words: int = 0) -> np.ndarray:
    bits = np.zeros((len(allowed), (vocab // 32 + 1 + extra_words) * 32), np.uint8)
    for i, ids in enumerate(allowed):
        bits[i, list(ids)] = 1
    return np.packbits(bits, axis=1, bitorder="little").view(np.uint32)


def bound_to(rows: list[int], allowed: list[set[int]], vocab: int = VOCAB, extra_words: int = 0) -> RowMask:
    words = packed(allowed, vocab, extra_words)
    return RowMask(rows, memoryview(words), [each.tobytes() for each in words])


def drawn(logits: np.ndarray, rows: list[RowSampling], mask: RowMask | None) -> list[SampledToken | RowFault]:
    sampler = Sampler(VOCAB)
    return sampler.sample_lazy(mx.array(logits), sampler.prepare(rows), mask).read()


SETTINGS = [
    SamplingParams(temperature=0.0),
    SamplingParams(temperature=1.0),
    SamplingParams(temperature=0.8, top_p=0.9),
    SamplingParams(temperature=1.3, top_k=7, min_p=0.01),
    SamplingParams(temperature=30.0, top_p=0.99),
    SamplingParams(temperature=1.0, repetition_penalty=1.3, logit_bias={3: 100.0, 5: -100.0}),
]


@pytest.mark.requirement(58, 63)
@given(
    chosen=st.lists(st.tuples(st.sampled_from(SETTINGS), st.booleans()), min_size=1, max_size=7),
    seed=st.integers(0, 10**6),
)
@settings(max_examples=60, deadline=None)
def test_bound_rows_draw_what_is_allowed_and_free_rows_what_they_would_draw_alone(
    chosen: list[tuple[SamplingParams, bool]], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    logits = (rng.normal(size=(len(chosen), VOCAB)) * 3).astype(np.float32)
    rows = [row(params, seed=seed + i, prompt=(1, 2), output=(3,)) for i, (params, _) in enumerate(chosen)]
    bound = [i for i, (_, binds) in enumerate(chosen) if binds]
    allowed = [set(rng.integers(0, VOCAB, rng.integers(1, 40)).tolist()) for _ in bound]
    mask = bound_to(bound, allowed) if bound else None
    together = drawn(logits, rows, mask)
    for i, each in enumerate(together):
        assert isinstance(each, SampledToken)
        if i in bound:
            assert each.token_id in allowed[bound.index(i)]
            alone = bound_to([0], [allowed[bound.index(i)]])
            assert [each] == drawn(logits[i : i + 1], [rows[i]], alone)
        else:
            assert [each] == drawn(logits[i : i + 1], [rows[i]], None)


def test_a_row_that_is_drawn_again_keeps_its_mask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "CANDIDATES", 8)
    rows = [row(SamplingParams(temperature=30.0, top_p=0.999), seed=i) for i in range(6)]
    logits = np.random.default_rng(2).normal(size=(6, VOCAB)).astype(np.float32)
    allowed = {*range(100, 300)}
    sampler = Sampler(VOCAB)
    pending = sampler.sample_lazy(mx.array(logits), sampler.prepare(rows), bound_to([1, 2, 5], [allowed] * 3))
    result = pending.read()
    assert {1, 2, 5} & set(pending.redrawn)
    for i in (1, 2, 5):
        token = result[i]
        assert isinstance(token, SampledToken)
        assert token.token_id in allowed


def test_logprobs_stay_those_of_the_model() -> None:
    logits = np.random.default_rng(3).normal(size=(1, VOCAB)).astype(np.float32)
    rows = [row(SamplingParams(temperature=0.0, logprobs=1))]
    (token,) = drawn(logits, rows, bound_to([0], [{9}]))
    assert isinstance(token, SampledToken)
    assert token.logprob is not None
    expected = logits[0, 9] - np.log(np.exp(logits[0]).sum())
    assert (token.token_id, token.logprob.token_id) == (9, 9)
    assert token.logprob.logprob == pytest.approx(expected, abs=1e-4)
    assert token.logprob.top[0][0] == int(logits[0].argmax())


def test_a_row_without_any_allowed_token_is_at_fault_alone() -> None:
    logits = np.zeros((2, VOCAB), np.float32)
    rows = [row(SamplingParams(temperature=0.0)), row(SamplingParams(temperature=0.0))]
    first, second = drawn(logits, rows, bound_to([1], [set()]))
    assert isinstance(first, SampledToken)
    assert isinstance(second, RowFault)


def allowed_by(placed: PlacedMask, rows: Sequence[int], vocab: int = VOCAB) -> list[set[int]]:
    """What each of these rows may sample."""
    left = np.array(placed.rule_out(mx.zeros((len(rows), vocab)), rows))
    return [set(np.flatnonzero(np.isfinite(each)).tolist()) for each in left]


@pytest.mark.requirement(63)
@given(
    steps=st.lists(
        st.lists(st.tuples(st.integers(0, 9), st.integers(0, 14)), min_size=1, max_size=8), max_size=12
    )
)
@settings(max_examples=60, deadline=None)
def test_a_mask_that_is_known_is_the_mask_that_was_brought(steps: list[list[tuple[int, int]]]) -> None:
    table = MaskTable(4)  # so few that masks come, go and come back, and that one step needs more of them
    for step in steps:
        wanted = dict(step)  # by row the only id that it may sample
        mask = bound_to(list(wanted), [{token_id} for token_id in wanted.values()])
        expected = [{wanted[i]} if i in wanted else set(range(VOCAB)) for i in range(10)]
        assert allowed_by(table.place(mask), range(10)) == expected


@pytest.mark.requirement(63)
@given(
    vocab=st.sampled_from([VOCAB, 1024, 31]),
    bound=st.sets(st.integers(0, 69)),
    asked=st.one_of(
        st.lists(st.integers(0, 69), min_size=1, max_size=6, unique=True),
        st.integers(1, 70).map(range),
    ),
    ids=st.sets(st.integers(0, 30)),
    extra=st.integers(0, 2),
    slots=st.sampled_from([8, 512, 2000]),
)
@settings(max_examples=150, deadline=None)
def test_exactly_the_logits_without_a_bit_are_ruled_out_however_many_rows_are_bound(
    vocab: int, bound: set[int], asked: Sequence[int], ids: set[int], extra: int, slots: int
) -> None:
    logits = np.random.default_rng(4).normal(size=(len(asked), vocab)).astype(np.float32)
    allowed = {i: ids | {i % vocab} for i in sorted(bound)}
    placed = MaskTable(slots).place(bound_to(list(allowed), list(allowed.values()), vocab, extra))
    left = np.array(placed.rule_out(mx.array(logits), asked))
    for place, i in enumerate(asked):
        expected = np.full(vocab, -np.inf, np.float32)
        here = list(allowed.get(i, range(vocab)))
        expected[here] = logits[place, here]
        assert np.array_equal(left[place], expected)


def test_masks_that_were_placed_stay_what_they_are_when_others_take_their_slots() -> None:
    table = MaskTable(2)
    first = table.place(bound_to([0, 1], [{1}, {2}]))
    for token_id in range(3, 9):
        table.place(bound_to([0, 1], [{token_id}, {token_id + 100}]))
    assert allowed_by(first, [0, 1]) == [{1}, {2}]


def test_a_step_that_fails_leaves_no_masks_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    sampler = Sampler(VOCAB)
    rows = [row(SamplingParams(temperature=0.0))]
    logits = mx.array(np.arange(VOCAB, dtype=np.float32)[None])
    pending = sampler.sample_lazy(logits, sampler.prepare(rows), bound_to([0], [{5}]))

    def fail(*arrays: object) -> None:
        raise RuntimeError("the device is unwell")

    monkeypatch.setattr(mx, "async_eval", fail)
    with pytest.raises(RuntimeError):
        pending.submit()
    monkeypatch.undo()
    brought = RowMask(
        [0], memoryview(packed([{7}])), [packed([{5}])[0].tobytes()]
    )  # under the name that was lost
    (token,) = sampler.sample_lazy(logits, sampler.prepare(rows), brought).read()
    assert isinstance(token, SampledToken)
    assert token.token_id == 7


@pytest.mark.requirement(63)
@pytest.mark.parametrize("vocab", [165, 192])  # of no other test: what is compiled is kept by its shapes
def test_a_lone_row_is_ruled_by_a_gpu_s_one_kernel_as_by_a_cpu_s_two(
    vocab: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mx, "default_device", lambda: mx.Device(mx.gpu))
    placed = MaskTable(8).place(bound_to([2], [{0, 33, vocab - 1}], vocab))
    assert allowed_by(placed, range(4), vocab) == [
        {0, 33, vocab - 1} if i == 2 else set(range(vocab)) for i in range(4)
    ]
