"""Penalties, bias and bans equal their formulas."""

from __future__ import annotations

from dataclasses import replace

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.sampling import reference
from tests.sampling.reference import row

from vllm_mlx.core.sampling import SamplingParams
from vllm_mlx.core.steps import RowSampling, SampledToken
from vllm_mlx.sampling.batch import Sampler
from vllm_mlx.sampling.penalties import build_edits

VOCAB = 40
ids = st.lists(st.integers(0, VOCAB - 1), max_size=60).map(tuple)
rows = st.lists(
    st.builds(
        row,
        st.builds(
            SamplingParams,
            repetition_penalty=st.none() | st.floats(0.1, 5.0),
            presence_penalty=st.none() | st.floats(-2, 2),
            frequency_penalty=st.none() | st.floats(-2, 2),
            logit_bias=st.none()
            | st.dictionaries(st.integers(0, VOCAB - 1), st.floats(-100, 100), max_size=30),
        ),
        prompt=ids,
        output=ids,
        banned=st.lists(st.integers(0, VOCAB - 1), max_size=3).map(tuple),
    ),
    min_size=1,
    max_size=4,
)


@pytest.mark.requirement(56)
@given(rows, st.integers(0, 10**6))
@settings(max_examples=60, deadline=None)
def test_edited_logits_equal_the_formula(rows: list[RowSampling], seed: int) -> None:
    logits = np.random.default_rng(seed).normal(size=(len(rows), VOCAB)).astype(np.float32) * 5
    edits = build_edits(rows, VOCAB)
    got = logits if edits is None else np.array(edits.apply(mx.array(logits)))
    for i, one in enumerate(rows):
        np.testing.assert_allclose(got[i], reference.edited(logits[i], one), rtol=1e-5, atol=1e-4)


def test_rows_without_edits_keep_their_bits_beside_rows_with_edits() -> None:
    logits = np.random.default_rng(0).normal(size=(2, VOCAB)).astype(np.float32)
    rows = [row(), row(SamplingParams(repetition_penalty=1.7, logit_bias={0: 3.0}))]
    edits = build_edits(rows, VOCAB)
    assert edits is not None
    got = np.array(edits.apply(mx.array(logits)))
    assert got[0].tobytes() == logits[0].tobytes()
    assert got[1].tobytes() != logits[1].tobytes()


def test_a_batch_without_edits_builds_none() -> None:
    neutral = SamplingParams(
        repetition_penalty=1.0, presence_penalty=0.0, frequency_penalty=0.0, logit_bias={}
    )
    assert build_edits([row(neutral, output=(1, 1)), row()], VOCAB) is None


@pytest.mark.requirement(56)
def test_presence_and_frequency_leave_the_prompt_alone() -> None:
    penal = row(SamplingParams(presence_penalty=2.0, frequency_penalty=2.0), prompt=(1, 1, 1), output=(2,))
    edits = build_edits([penal], VOCAB)
    assert edits is not None
    got = np.array(edits.apply(mx.ones((1, VOCAB))))[0]
    assert (got[1], got[2]) == (1.0, -3.0)


@pytest.mark.parametrize("foreign", [VOCAB, 2**31 - 1, -1])
def test_ids_outside_the_vocabulary_are_ignored(foreign: int) -> None:
    params = SamplingParams(
        repetition_penalty=2.0, logit_bias={foreign: 9.0} if foreign >= 0 else None, presence_penalty=1.0
    )
    one = row(params, prompt=(foreign,), output=(foreign,), banned=(foreign,))
    edits = build_edits([one], VOCAB)
    assert edits is not None
    assert np.array(edits.apply(mx.ones((1, VOCAB)))).tolist() == [[1.0] * VOCAB]


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_bias_can_force_and_forbid_a_token_and_a_ban_beats_it(temperature: float) -> None:
    logits = mx.array(np.random.default_rng(0).normal(size=(3, VOCAB)).astype(np.float32))
    best = int(logits[1].argmax().item())
    rows = [
        row(SamplingParams(temperature=temperature, logit_bias={7: 100.0})),
        row(SamplingParams(temperature=temperature, logit_bias={best: -100.0})),
        row(SamplingParams(temperature=temperature, logit_bias={7: 100.0}), banned=(7,)),
    ]
    got = [e.token_id for e in Sampler(VOCAB).sample(logits, rows) if isinstance(e, SampledToken)]
    assert got[0] == 7
    assert got[1] != best
    assert got[2] != 7


@given(rows, st.integers(0, 10**6), st.data())
@settings(max_examples=60, deadline=None)
def test_a_token_that_is_still_on_the_device_counts_as_if_it_were_read(
    rows: list[RowSampling], seed: int, data: st.DataObject
) -> None:
    logits = np.random.default_rng(seed).normal(size=(len(rows), VOCAB)).astype(np.float32) * 5
    newest = data.draw(st.lists(st.integers(0, VOCAB - 1), min_size=len(rows), max_size=len(rows)))
    unread = [data.draw(st.booleans()) for _ in rows]
    read = [
        replace(one, output_ids=(*one.output_ids, token)) if late else one
        for one, token, late in zip(rows, newest, unread, strict=True)
    ]
    late = [replace(one, num_unread=int(flag)) for one, flag in zip(rows, unread, strict=True)]
    expected = build_edits(read, VOCAB)
    got = build_edits(late, VOCAB, mx.array(newest, mx.uint32))
    assert (got is None) == (expected is None)
    if got is not None and expected is not None:
        array = mx.array(logits)
        assert np.array(got.apply(array)).tobytes() == np.array(expected.apply(array)).tobytes()
