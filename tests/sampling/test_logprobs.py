"""Reported log-probabilities are log_softmax of the raw logits."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest
from tests.sampling.reference import row

from vllm_mlx.core.sampling import SamplingParams
from vllm_mlx.core.steps import RowFault, SampledToken
from vllm_mlx.sampling.batch import Sampler
from vllm_mlx.sampling.logprobs import prompt_logprobs


def log_softmax(logits: np.ndarray) -> np.ndarray:
    wide = logits.astype(np.float64)
    shifted = wide - wide.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def best_first(values: np.ndarray, count: int) -> list[int]:
    return np.argsort(-values, kind="stable")[:count].tolist()


@pytest.mark.parametrize("vocab", [5, 100, 5_000, 50_000])
@pytest.mark.parametrize("grain", [None, 0.5])  # 0.5 makes many equals
def test_logprobs_ignore_sampling_settings_and_come_best_first(vocab: int, grain: float | None) -> None:
    logits = np.random.default_rng(vocab).normal(size=(5, vocab)).astype(np.float32) * 2
    if grain is not None:
        logits = np.round(logits / grain) * grain
    settings = [
        SamplingParams(logprobs=20),
        SamplingParams(temperature=0.0, logprobs=0),
        SamplingParams(temperature=0.3, top_k=2, logprobs=5, repetition_penalty=1.5, logit_bias={0: 30.0}),
        SamplingParams(),
        SamplingParams(top_p=0.4, logprobs=1),
    ]
    result = Sampler(vocab).sample(mx.array(logits), [row(p, output=(1, 2)) for p in settings])
    expected = log_softmax(logits)
    for i, (params, entry) in enumerate(zip(settings, result, strict=True)):
        assert isinstance(entry, SampledToken)
        if params.logprobs is None:
            assert entry.logprob is None
            continue
        assert entry.logprob is not None
        assert entry.logprob.token_id == entry.token_id
        assert entry.logprob.logprob == pytest.approx(expected[i, entry.token_id], abs=1e-5)
        assert [token for token, _ in entry.logprob.top] == best_first(logits[i], params.logprobs)
        for token, value in entry.logprob.top:
            assert value == pytest.approx(expected[i, token], abs=1e-5)


def test_tokens_that_the_model_rules_out_are_no_alternatives() -> None:
    logits = np.full((1, 10), -np.inf, dtype=np.float32)
    logits[0, [3, 8]] = 1.0
    (entry,) = Sampler(10).sample(mx.array(logits), [row(SamplingParams(logprobs=5))])
    assert isinstance(entry, SampledToken)
    assert entry.logprob is not None
    assert [token for token, _ in entry.logprob.top] == [3, 8]


@pytest.mark.parametrize("length", [1, 7, 300])
def test_prompt_logprobs_cover_every_position_also_in_pieces(length: int) -> None:
    vocab = 20_000  # 300 positions are more than one piece
    logits = np.random.default_rng(1).normal(size=(length, vocab)).astype(np.float32)
    next_ids = np.random.default_rng(2).integers(0, vocab, size=length).tolist()
    got = prompt_logprobs(mx.array(logits), next_ids, 2)
    assert isinstance(got, list)
    expected = log_softmax(logits)
    assert [entry.token_id for entry in got] == next_ids
    for i, entry in enumerate(got):
        assert entry.logprob == pytest.approx(expected[i, next_ids[i]], abs=1e-5)
        assert [token for token, _ in entry.top] == best_first(logits[i], 2)


def test_prompt_logprobs_without_alternatives_and_of_no_positions() -> None:
    got = prompt_logprobs(mx.zeros((2, 4)), [0, 3], 0)
    assert isinstance(got, list)
    assert [entry.top for entry in got] == [(), ()]
    assert prompt_logprobs(mx.zeros((0, 4)), [], 1) == []


def test_prompt_logprobs_of_bad_logits_are_a_fault() -> None:
    logits = np.zeros((3, 8), dtype=np.float32)
    logits[1, 2] = np.nan
    assert isinstance(prompt_logprobs(mx.array(logits), [0, 1, 2], 1), RowFault)


def test_prompt_logprobs_refuse_a_wrong_count_of_ids() -> None:
    with pytest.raises(ValueError, match="one following token"):
        prompt_logprobs(mx.zeros((2, 4)), [0], 1)
