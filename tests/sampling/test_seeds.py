"""Keys are a row's own, and the noise is Gumbel noise wherever it is computed."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest
from tests.sampling.reference import noise, row

from vllm_mlx.core.sampling import SamplingParams
from vllm_mlx.core.steps import RowSampling
from vllm_mlx.sampling.seeds import gumbel, row_keys


def rows_at(seed: int, choice: int, positions: range) -> list[RowSampling]:
    return [RowSampling(SamplingParams(), seed, choice, range(p), ()) for p in positions]


def test_no_two_keys_of_neighbouring_seeds_choices_and_positions_meet() -> None:
    seeds = [0, 1, 2, 3, -1, -2, 2**32, 2**32 + 1, 2**63 - 1, -(2**63), 2**64 - 3]
    rows = [r for seed in seeds for choice in (0, 1, 127) for r in rows_at(seed, choice, range(1, 400))]
    assert len({tuple(key) for key in row_keys(rows).tolist()}) == len(rows)


def test_a_key_does_not_depend_on_the_other_rows() -> None:
    rows = [row(seed=s, output=(1,) * s) for s in range(5)]
    alone = [row_keys([one])[0].tolist() for one in rows]
    assert row_keys(rows[::-1]).tolist() == alone[::-1]


def test_noise_of_a_few_tokens_is_the_noise_of_the_vocabulary_at_those_tokens() -> None:
    one = row(seed=9)
    picked = [3, 999, 3, 151_935]
    few = np.array(gumbel(mx.array(row_keys([one])), mx.array([picked], dtype=mx.uint32)))[0]
    np.testing.assert_array_equal(few, noise(one, 151_936)[picked].astype(np.float32))


@pytest.mark.parametrize("seed", [0, 1, 2**40])
def test_noise_is_standard_gumbel(seed: int) -> None:
    draws = np.sort(noise(row(seed=seed), 200_000))
    assert np.isfinite(draws).all()
    uniform = np.exp(-np.exp(-draws))
    # Kolmogorov-Smirnov: 1.95 / sqrt(n) is exceeded once in a thousand honest samples
    expected = (np.arange(len(draws)) + 0.5) / len(draws)
    assert np.abs(uniform - expected).max() < 1.95 / len(draws) ** 0.5
    # and the tail that lets unlikely tokens win
    assert 9 < draws[-1] < 23


def test_noises_of_neighbouring_rows_are_uncorrelated() -> None:
    noises = [
        noise(row(seed=s, choice=c, output=(1,) * p), 50_000) for s in (0, 1) for c in (0, 1) for p in (0, 1)
    ]
    correlation = np.corrcoef(noises) - np.eye(len(noises))
    assert np.abs(correlation).max() < 5 / 50_000**0.5
    shifted = np.corrcoef(noises[0][1:], noises[0][:-1])[0, 1]
    assert abs(shifted) < 5 / 50_000**0.5
