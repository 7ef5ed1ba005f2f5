"""Masked sampling: only allowed tokens, whatever the settings, and nothing to the rows beside."""

from __future__ import annotations

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
from vllm_mlx.sampling.masks import RowMask, rule_out

VOCAB = 1037


def packed(allowed: list[set[int]], extra_words: int = 0) -> np.ndarray:
    bits = np.zeros((len(allowed), (VOCAB // 32 + 1 + extra_words) * 32), np.uint8)
    for i, ids in enumerate(allowed):
        bits[i, list(ids)] = 1
    return np.packbits(bits, axis=1, bitorder="little").view(np.uint32)


def drawn(logits: np.ndarray, rows: list[RowSampling], mask: RowMask | None) -> list[SampledToken | RowFault]:
    sampler = Sampler(VOCAB)
    return sampler.sample_lazy(mx.array(logits), sampler.prepare(rows), mask).read()


@pytest.mark.requirement(63)
@given(ids=st.sets(st.integers(0, VOCAB - 1)), rows=st.integers(1, 3), extra=st.integers(0, 2))
@settings(max_examples=30, deadline=None)
def test_exactly_the_logits_without_a_bit_are_ruled_out(ids: set[int], rows: int, extra: int) -> None:
    logits = np.random.default_rng(1).normal(size=(rows, VOCAB)).astype(np.float32)
    left = np.array(rule_out(mx.array(logits), mx.array(packed([ids] * rows, extra))))
    expected = np.full_like(logits, -np.inf)
    expected[:, list(ids)] = logits[:, list(ids)]
    assert np.array_equal(left, expected)


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
    mask = RowMask(bound, packed(allowed)) if bound else None
    together = drawn(logits, rows, mask)
    for i, each in enumerate(together):
        assert isinstance(each, SampledToken)
        if i in bound:
            assert each.token_id in allowed[bound.index(i)]
            alone = RowMask([0], packed([allowed[bound.index(i)]]))
            assert [each] == drawn(logits[i : i + 1], [rows[i]], alone)
        else:
            assert [each] == drawn(logits[i : i + 1], [rows[i]], None)


def test_a_row_that_is_drawn_again_keeps_its_mask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "CANDIDATES", 8)
    rows = [row(SamplingParams(temperature=30.0, top_p=0.999), seed=i) for i in range(6)]
    logits = np.random.default_rng(2).normal(size=(6, VOCAB)).astype(np.float32)
    allowed = {*range(100, 300)}
    sampler = Sampler(VOCAB)
    pending = sampler.sample_lazy(
        mx.array(logits), sampler.prepare(rows), RowMask([1, 2, 5], packed([allowed] * 3))
    )
    result = pending.read()
    assert {1, 2, 5} & set(pending.redrawn)
    for i in (1, 2, 5):
        token = result[i]
        assert isinstance(token, SampledToken)
        assert token.token_id in allowed


def test_logprobs_stay_those_of_the_model() -> None:
    logits = np.random.default_rng(3).normal(size=(1, VOCAB)).astype(np.float32)
    rows = [row(SamplingParams(temperature=0.0, logprobs=1))]
    (token,) = drawn(logits, rows, RowMask([0], packed([{9}])))
    assert isinstance(token, SampledToken)
    assert token.logprob is not None
    expected = logits[0, 9] - np.log(np.exp(logits[0]).sum())
    assert (token.token_id, token.logprob.token_id) == (9, 9)
    assert token.logprob.logprob == pytest.approx(expected, abs=1e-4)
    assert token.logprob.top[0][0] == int(logits[0].argmax())


def test_a_row_without_any_allowed_token_is_at_fault_alone() -> None:
    logits = np.zeros((2, VOCAB), np.float32)
    rows = [row(SamplingParams(temperature=0.0)), row(SamplingParams(temperature=0.0))]
    first, second = drawn(logits, rows, RowMask([1], packed([set()])))
    assert isinstance(first, SampledToken)
    assert isinstance(second, RowFault)
