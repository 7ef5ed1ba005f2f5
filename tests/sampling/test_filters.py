"""The sets that top-k, top-p and min-p keep, and the selection of the largest that they stand on."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.sampling import reference

from vllm_mlx.core.sampling import SamplingParams
from vllm_mlx.sampling.filters import Filters, survivors
from vllm_mlx.sampling.ordering import largest


def kept_set(logits: np.ndarray, params: SamplingParams) -> set[int]:
    """What `survivors` keeps of a fully sorted row."""
    vocab = len(logits)
    values, ids = largest(mx.array(logits[None]), vocab, stable=True)
    top_p = params.top_p if params.top_p is not None and params.top_p < 1 else float("inf")
    top_k = params.top_k if params.top_k and 0 < params.top_k < vocab else vocab
    column = [[params.temperature or 1.0], [top_k], [top_p], [params.min_p or 0.0]]
    filters = Filters(*(mx.array([value]) for value in column))
    mass = mx.sum(mx.exp((values - values[:, :1]) / filters.temperature), axis=1, keepdims=True)
    kept, exact = survivors(values, filters, mass, vocab_size=vocab)
    assert exact is None
    return set(np.array(ids)[0][np.array(kept)[0]].tolist())


@given(
    st.lists(st.integers(-40, 40), min_size=2, max_size=80),
    st.builds(
        SamplingParams,
        temperature=st.sampled_from([0.3, 1.0, 1.7]),
        top_k=st.sampled_from([None, 0, 1, 2, 3, 10, 79]),
        top_p=st.none() | st.floats(0.01, 1.0),
        min_p=st.none() | st.floats(0.0, 1.0),
    ),
)
@settings(max_examples=200, deadline=None)
def test_the_surviving_set_is_the_reference_s(levels: list[int], params: SamplingParams) -> None:
    logits = np.array(levels, dtype=np.float32) / 8  # few levels: many equals
    got = kept_set(logits, params)
    inner = set(np.flatnonzero(reference.kept(logits, params, slack=-1e-5)).tolist())
    outer = set(np.flatnonzero(reference.kept(logits, params, slack=1e-5)).tolist())
    assert inner <= got <= outer
    assert int(np.argmax(logits)) in got


def test_equals_at_the_border_stand_together() -> None:
    logits = np.array([3.0, 2.0, 2.0, 2.0, 1.0], dtype=np.float32)
    assert kept_set(logits, SamplingParams(top_k=2)) == {0, 1, 2, 3}
    assert kept_set(logits, SamplingParams(top_p=0.6)) == {0, 1, 2, 3}
    assert kept_set(logits, SamplingParams(top_k=1, top_p=0.99)) == {0}


@given(
    st.sampled_from([1, 5, 64, 257, 4096, 30_000]),
    st.integers(1, 1500),
    st.sampled_from([None, 1.0, 0.01]),
    st.integers(0, 10**6),
)
@settings(max_examples=60, deadline=None)
def test_the_largest_are_exact_and_equals_come_in_order(
    vocab: int, count: int, grain: float | None, seed: int
) -> None:
    count = min(count, vocab)
    values = np.random.default_rng(seed).normal(size=(2, vocab)).astype(np.float32)
    if grain is not None:
        values = np.round(values / grain).astype(np.float32)
    expected = np.argsort(-values, axis=1, kind="stable")[:, :count]
    got, positions = largest(mx.array(values), count, stable=True)
    np.testing.assert_array_equal(np.array(positions), expected)
    np.testing.assert_array_equal(np.array(got), np.take_along_axis(values, expected, axis=1))
    loose, somewhere = largest(mx.array(values), count, stable=False)
    np.testing.assert_array_equal(np.array(loose), np.array(got))
    np.testing.assert_array_equal(
        np.take_along_axis(values, np.array(somewhere).astype(int), 1), np.array(got)
    )


@pytest.mark.parametrize("vocab", [4096 * 3 + 1, 4096 * 3 + 15])
def test_the_largest_of_a_row_that_is_mostly_ruled_out(vocab: int) -> None:
    values = np.full((1, vocab), -np.inf, dtype=np.float32)
    values[0, [vocab - 1, 17]] = [1.0, 2.0]
    got, positions = largest(mx.array(values), 20, stable=True)
    assert np.array(positions)[0, :2].tolist() == [17, vocab - 1]
    assert np.isneginf(np.array(got)[0, 2:]).all()
