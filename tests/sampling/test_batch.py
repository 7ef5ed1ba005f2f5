"""Sampling through its front door, against a plain reference and against itself in other batches."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.limits import LIMIT_S
from tests.sampling import reference
from tests.sampling.reference import row

from vllm_mlx.core.sampling import SamplingParams
from vllm_mlx.core.steps import RowFault, RowSampling, SampledToken
from vllm_mlx.sampling.batch import CANDIDATES, FEW_CANDIDATES, Sampler

VOCAB = 3000


def tokens(logits: np.ndarray, rows: list[RowSampling], **options: bool) -> list[int]:
    result = Sampler(logits.shape[1]).sample(mx.array(logits), rows, **options)
    assert all(isinstance(entry, SampledToken) for entry in result), result
    return [entry.token_id for entry in result if isinstance(entry, SampledToken)]


def normal(rows: int, vocab: int = VOCAB, *, scale: float = 3.0, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).normal(size=(rows, vocab)) * scale).astype(np.float32)


some_params = st.builds(
    SamplingParams,
    temperature=st.sampled_from([None, 0.0, 1e-6, 0.05, 0.7, 1.0, 1.5, 100.0]),
    top_k=st.sampled_from(
        [None, -1, 0, 1, 2, 40, FEW_CANDIDATES - 1, FEW_CANDIDATES, CANDIDATES - 1, CANDIDATES, 2000, 10**6]
    ),
    top_p=st.sampled_from([None, 1.0, 0.999, 0.9, 0.5, 1e-6]),
    min_p=st.sampled_from([None, 0.0, 0.02, 0.3, 1.0]),
    repetition_penalty=st.sampled_from([None, 1.0, 1.3, 0.8]),
    presence_penalty=st.sampled_from([None, 0.0, 1.5, -2.0]),
    frequency_penalty=st.sampled_from([None, 0.0, 0.5, -1.0]),
    logit_bias=st.sampled_from([None, {0: 5.0}, {1: -100.0, 4: 2.5}]),
    logprobs=st.sampled_from([None, 0, 3]),
)
some_rows = st.lists(
    st.builds(
        row,
        some_params,
        seed=st.integers(-(2**63), 2**64 - 1),
        choice=st.integers(0, 127),
        prompt=st.lists(st.integers(0, 4), min_size=1, max_size=6).map(tuple),
        output=st.lists(st.integers(0, 4), max_size=6).map(tuple),
        banned=st.sampled_from([(), (2,), (0, 3)]),
    ),
    min_size=1,
    max_size=6,
)


@given(some_rows, st.sampled_from([5, 17, 1024, 1025, VOCAB]), st.integers(0, 10**6))
@settings(max_examples=60, deadline=None)
def test_every_row_gets_the_reference_s_token(rows: list[RowSampling], vocab: int, seed: int) -> None:
    logits = normal(len(rows), vocab, seed=seed)
    got = tokens(logits, rows)
    for i, one in enumerate(rows):
        changed = reference.edited(logits[i], one)
        expected = reference.token(logits[i], one)
        if got[i] != expected:  # float32 against float64: only a border or a near tie may tell them apart
            temperature = one.params.temperature if one.params.temperature is not None else 1.0
            assert reference.kept(changed, one.params, slack=1e-4)[got[i]]
            scores = (changed - changed.max()) / temperature + reference.noise(one, vocab)
            border = not reference.kept(changed, one.params, slack=-1e-4)[expected]
            assert border or abs(scores[got[i]] - scores[expected]) < 1e-3


@given(some_rows, st.randoms(use_true_random=False), st.integers(0, 10**6))
@settings(max_examples=60, deadline=None)
def test_a_row_gets_the_same_alone_and_in_any_batch(rows: list[RowSampling], random, seed: int) -> None:
    logits = normal(len(rows), seed=seed)
    sampler = Sampler(VOCAB)
    together = sampler.sample(mx.array(logits), rows)
    order = list(range(len(rows)))
    random.shuffle(order)
    order = order[: random.randint(1, len(order))]
    shuffled = sampler.sample(mx.array(logits[order]), [rows[i] for i in order])
    assert shuffled == [together[i] for i in order]
    for i, one in enumerate(rows):
        assert sampler.sample(mx.array(logits[i : i + 1]), [one]) == [together[i]]


@pytest.mark.parametrize("vocab", [5, 500, 5_000, 50_000])
def test_a_greedy_row_takes_the_argmax_beside_hot_neighbours(vocab: int) -> None:
    logits = normal(6, vocab)
    hot = [
        SamplingParams(temperature=100.0),
        SamplingParams(top_p=0.3),
        SamplingParams(top_k=3, repetition_penalty=2.0),
        SamplingParams(min_p=0.5, logit_bias={0: 100.0}),
    ]
    rows = [row(SamplingParams(temperature=0.0)), *map(row, hot), row(SamplingParams(temperature=0.0))]
    got = tokens(logits, rows)
    assert (got[0], got[5]) == (logits[0].argmax(), logits[5].argmax())


@pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16])
def test_half_precision_logits_are_computed_with_in_single_precision(dtype: mx.Dtype) -> None:
    logits = mx.array(normal(4)).astype(dtype)
    rows = [row(SamplingParams(temperature=t, top_p=0.9), seed=s) for s, t in enumerate([0.0, 0.5, 1.0, 2.0])]
    sampler = Sampler(VOCAB)
    assert sampler.sample(logits, rows) == sampler.sample(logits.astype(mx.float32), rows)


@pytest.mark.parametrize(
    "params",
    [
        SamplingParams(top_k=-1, top_p=1.0, min_p=0.0),
        SamplingParams(top_k=0),
        SamplingParams(top_k=VOCAB),
        SamplingParams(top_k=10**9),
    ],
)
def test_neutral_settings_are_off_while_other_rows_filter(params: SamplingParams) -> None:
    logits = normal(3, scale=0.1)
    rows = [row(SamplingParams(top_k=1)), row(params), row(SamplingParams(top_p=0.01))]
    assert tokens(logits, rows)[1] == tokens(logits[1:2], [row()])[0]


@pytest.mark.parametrize(
    "params",
    [
        SamplingParams(top_k=1),
        SamplingParams(top_p=1e-9),
        SamplingParams(min_p=1.0),
        SamplingParams(top_k=1, top_p=1e-9, min_p=1.0, temperature=100.0),
        SamplingParams(temperature=2e-5),
    ],
)
def test_the_likeliest_token_always_survives(params: SamplingParams) -> None:
    logits = normal(1)
    assert {tokens(logits, [row(params, seed=s)])[0] for s in range(20)} == {int(logits.argmax())}


@pytest.mark.parametrize("temperature", [1e-5, 1e-3, 50.0, 100.0])
def test_extreme_logits_and_temperatures_neither_overflow_nor_hide_the_order(temperature: float) -> None:
    logits = np.zeros((1, 64), dtype=np.float32)
    logits[0, 7], logits[0, 9] = 3e38, -3e38
    for params in (
        SamplingParams(temperature=temperature),
        SamplingParams(temperature=temperature, top_p=0.9),
    ):
        assert tokens(logits, [row(params)]) == [7]


FLAT_AND_TIED = {
    "flat": np.zeros(VOCAB),
    "two levels": np.where(np.arange(VOCAB) % 2, 1.0, 0.0),
    "ties across the cut": np.where(np.arange(VOCAB) < 1500, 2.0, 1.0),
    "almost flat": np.linspace(0, 1e-3, VOCAB),
    "a peak over a plain": np.where(np.arange(VOCAB) == 77, 9.0, 0.0),
    "mostly ruled out": np.where(np.arange(VOCAB) < 3, 1.0, -np.inf),
}


@pytest.mark.parametrize("shape", FLAT_AND_TIED)
@pytest.mark.parametrize(
    "params",
    [
        SamplingParams(top_p=0.9),
        SamplingParams(top_p=0.2),
        SamplingParams(top_k=50),
        SamplingParams(top_k=CANDIDATES - 1),
        SamplingParams(top_k=1500, top_p=0.5),
        SamplingParams(top_k=500, top_p=0.5),
        SamplingParams(min_p=0.5),
        SamplingParams(top_p=0.99, min_p=0.9),
    ],
)
def test_the_cut_draws_what_a_full_sort_draws(shape: str, params: SamplingParams) -> None:
    logits = np.tile(FLAT_AND_TIED[shape].astype(np.float32), (5, 1))
    rows = [row(params, seed=s) for s in range(5)]
    got = tokens(logits, rows)
    assert got == tokens(logits, rows, full_sort=True)
    for token in got:
        assert reference.kept(logits[0], params, slack=1e-3)[token]


@given(st.integers(0, 10**6), some_params)
@settings(max_examples=40, deadline=None)
def test_the_cut_draws_what_a_full_sort_draws_whatever_the_settings(
    seed: int, params: SamplingParams
) -> None:
    logits = normal(2, seed=seed, scale=0.7)
    rows = [row(params, seed=seed), row(params, seed=seed + 1)]
    assert tokens(logits, rows) == tokens(logits, rows, full_sort=True)


def test_a_row_drawn_again_keeps_its_logprobs_and_leaves_the_others_alone() -> None:
    logits = np.stack([normal(1)[0], np.zeros(VOCAB, dtype=np.float32), normal(1, seed=1)[0]])
    rows = [row(SamplingParams(top_p=0.95, logprobs=1), seed=s) for s in range(3)]
    sampler = Sampler(VOCAB)
    pending = sampler.sample_lazy(mx.array(logits), sampler.prepare(rows))
    assert pending.may_redraw
    for i, entry in enumerate(pending.read()):
        assert isinstance(entry, SampledToken)
        assert entry.logprob is not None
        assert entry.logprob.token_id == entry.token_id
        assert entry.token_id == tokens(logits[i : i + 1], rows[i : i + 1], full_sort=True)[0]


def test_a_seed_reproduces_and_choices_seeds_and_positions_differ() -> None:
    logits = np.zeros((1, 50_000), dtype=np.float32)
    base = {"seed": 12345, "choice": 0, "output": (1, 2)}
    assert tokens(logits, [row(**base)]) == tokens(logits, [row(**base)])
    others = [{"seed": 12346}, {"seed": 12345 + 2**32}, {"seed": -12345}, {"choice": 1}, {"output": (1,)}]
    drawn = [tokens(logits, [row(**(base | other))])[0] for other in others]
    assert len({tokens(logits, [row(**base)])[0], *drawn}) == 6


def test_a_preempted_row_draws_again_what_it_drew() -> None:
    logits = normal(1)
    assert tokens(logits, [row(prompt=(5, 6), output=(7,))]) == tokens(logits, [row(prompt=(5, 6, 7))])


def test_global_random_state_is_neither_read_nor_changed() -> None:
    logits = normal(1)
    mx.random.seed(1)
    first = tokens(logits, [row()])
    after = mx.random.uniform().item()
    mx.random.seed(1)
    assert mx.random.uniform().item() == after
    mx.random.seed(2)
    assert tokens(logits, [row()]) == first


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        (SamplingParams(), [0.4, 0.3, 0.2, 0.1]),
        (SamplingParams(temperature=0.5), [16 / 30, 9 / 30, 4 / 30, 1 / 30]),
        (SamplingParams(top_k=2), [4 / 7, 3 / 7, 0, 0]),
        (SamplingParams(top_p=0.75), [4 / 9, 3 / 9, 2 / 9, 0]),
        (SamplingParams(min_p=0.4), [4 / 9, 3 / 9, 2 / 9, 0]),
        (SamplingParams(top_k=3, top_p=0.7), [4 / 7, 3 / 7, 0, 0]),
        (SamplingParams(temperature=0.5, top_p=0.8), [16 / 25, 9 / 25, 0, 0]),
    ],
)
def test_frequencies_over_seeds_are_the_distribution(params: SamplingParams, expected: list[float]) -> None:
    draws = 4096
    logits = np.tile(np.log(np.array([0.4, 0.3, 0.2, 0.1], dtype=np.float32)), (draws, 1))
    drawn = np.array(tokens(logits, [row(params, seed=s) for s in range(draws)]))
    shares = np.bincount(drawn, minlength=4) / draws
    # 4.5 standard deviations of the widest share
    np.testing.assert_allclose(shares, expected, atol=4.5 * 0.5 / draws**0.5)
    assert all(share == 0 for share, want in zip(shares, expected, strict=True) if want == 0)


def test_frequencies_over_positions_are_the_distribution() -> None:
    draws = 4096
    logits = np.tile(np.log(np.array([0.4, 0.3, 0.2, 0.1], dtype=np.float32)), (draws, 1))
    rows = [RowSampling(SamplingParams(), 7, 0, range(i), ()) for i in range(draws)]
    shares = np.bincount(np.array(tokens(logits, rows)), minlength=4) / draws
    np.testing.assert_allclose(shares, [0.4, 0.3, 0.2, 0.1], atol=4.5 * 0.5 / draws**0.5)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize(
    "params", [SamplingParams(temperature=0.0), SamplingParams(), SamplingParams(top_p=0.9, logprobs=2)]
)
def test_a_row_of_bad_logits_fails_alone(bad: float, params: SamplingParams) -> None:
    logits = normal(4)
    rows = [row(params, seed=s) for s in range(4)]
    healthy = Sampler(VOCAB).sample(mx.array(logits), rows)
    logits[2, 1234] = bad
    got = Sampler(VOCAB).sample(mx.array(logits), rows)
    assert isinstance(got[2], RowFault)
    assert [got[i] for i in (0, 1, 3)] == [healthy[i] for i in (0, 1, 3)]


@pytest.mark.parametrize(
    "params", [SamplingParams(temperature=0.0), SamplingParams(), SamplingParams(top_k=2)]
)
def test_a_row_that_allows_no_token_fails_alone(params: SamplingParams) -> None:
    logits = normal(2, 5)
    got = Sampler(5).sample(mx.array(logits), [row(params, banned=(0, 1, 2, 3, 4)), row(params)])
    assert isinstance(got[0], RowFault)
    assert isinstance(got[1], SampledToken)


def test_columns_beyond_the_vocabulary_are_never_sampled() -> None:
    logits = np.zeros((1, 64), dtype=np.float32)
    logits[:, 60:] = 50.0
    for params in (SamplingParams(temperature=0.0), SamplingParams(logprobs=20), SamplingParams(top_p=0.9)):
        (entry,) = Sampler(60).sample(mx.array(logits), [row(params)])
        assert isinstance(entry, SampledToken)
        assert entry.token_id < 60
        assert entry.logprob is None or entry.logprob.logprob == pytest.approx(-np.log(60), abs=1e-5)


def test_logits_that_do_not_fit_the_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        Sampler(5).sample(mx.zeros((2, 5)), [row()])
    with pytest.raises(ValueError, match="do not fit"):
        Sampler(6).sample(mx.zeros((1, 5)), [row()])


def test_a_step_without_rows_samples_nothing() -> None:
    assert Sampler(5).sample(mx.zeros((0, 5)), []) == []


def test_settings_that_change_between_steps_take_effect() -> None:
    sampler = Sampler(VOCAB)
    logits = mx.array(normal(2))
    cold, hot = row(SamplingParams(temperature=0.0)), row(SamplingParams(temperature=50.0))
    first = sampler.sample(logits, [cold, hot])
    assert sampler.sample(logits, [hot, cold]) != first
    assert sampler.sample(logits, [cold, hot]) == first


def test_a_lazy_sample_can_be_submitted_and_read_later() -> None:
    logits = mx.array(normal(3))
    rows = [row(seed=s) for s in range(3)]
    sampler = Sampler(VOCAB)
    pending = sampler.sample_lazy(logits, sampler.prepare(rows))
    pending.submit()
    other = sampler.sample(logits, [row(SamplingParams(top_k=3))] * 3)
    result = pending.read()
    assert other != result
    assert result == sampler.sample(logits, rows)
    assert not pending.may_redraw
    assert pending.token_ids.tolist() == [e.token_id for e in result if isinstance(e, SampledToken)]


@pytest.mark.parametrize(
    "params", [SamplingParams(), SamplingParams(top_p=0.95), SamplingParams(temperature=0.0)]
)
def test_another_thread_may_look_at_the_tokens_that_are_certain_before_they_are_read(
    params: SamplingParams,
) -> None:
    logits = np.stack([normal(1)[0], np.zeros(VOCAB, dtype=np.float32), normal(1, seed=1)[0], normal(1)[0]])
    logits[3, 7] = np.nan
    sampler = Sampler(VOCAB)
    pending = sampler.sample_lazy(mx.array(logits), sampler.prepare([row(params, seed=s) for s in range(4)]))
    pending.submit()
    with ThreadPoolExecutor(1) as other:
        seen = other.submit(pending.peek).result(LIMIT_S)
    said = [entry.token_id if isinstance(entry, SampledToken) else None for entry in pending.read()]
    uncertain = {1} if pending.may_redraw else set()  # a flat row: the candidates do not hold its mass
    assert seen == [None if i in uncertain else token for i, token in enumerate(said)]
    assert said[3] is None
