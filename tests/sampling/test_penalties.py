"""Penalties, bias and bans equal their formulas."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

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
from vllm_mlx.sampling.offsets import build_offsets
from vllm_mlx.sampling.penalties import Histories, is_penalised

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


def edited(
    logits: np.ndarray,
    rows: list[RowSampling],
    histories: Histories | None = None,
    seq_ids: Sequence[int] | None = None,
    unread: Sequence[int] | None = None,
) -> np.ndarray:
    array = mx.array(logits)
    newest = None if unread is None else mx.array(unread, mx.uint32)
    penalties = (histories or Histories(VOCAB)).advance(rows, seq_ids, newest)
    offsets = build_offsets(rows, VOCAB)
    array = array if penalties is None else penalties.apply(array)
    return np.array(array if offsets is None else offsets.apply(array))


@pytest.mark.requirement(56)
@given(rows, st.integers(0, 10**6))
@settings(max_examples=60, deadline=None)
def test_edited_logits_equal_the_formula(rows: list[RowSampling], seed: int) -> None:
    logits = np.random.default_rng(seed).normal(size=(len(rows), VOCAB)).astype(np.float32) * 5
    got = edited(logits, rows)
    for i, one in enumerate(rows):
        np.testing.assert_allclose(got[i], reference.edited(logits[i], one), rtol=1e-5, atol=1e-4)


def test_rows_without_edits_keep_their_bits_beside_rows_with_edits() -> None:
    logits = np.random.default_rng(0).normal(size=(2, VOCAB)).astype(np.float32)
    rows = [row(), row(SamplingParams(repetition_penalty=1.7, logit_bias={0: 3.0}))]
    got = edited(logits, rows)
    assert got[0].tobytes() == logits[0].tobytes()
    assert got[1].tobytes() != logits[1].tobytes()


def test_neutral_settings_edit_nothing() -> None:
    neutral = SamplingParams(
        repetition_penalty=1.0, presence_penalty=0.0, frequency_penalty=0.0, logit_bias={}
    )
    assert not is_penalised(neutral)
    assert not is_penalised(SamplingParams())
    assert build_offsets([row(neutral, output=(1, 1)), row()], VOCAB) is None
    assert Histories(VOCAB).advance([], [], None) is None


@pytest.mark.requirement(56)
def test_presence_and_frequency_leave_the_prompt_alone() -> None:
    penal = row(SamplingParams(presence_penalty=2.0, frequency_penalty=2.0), prompt=(1, 1, 1), output=(2,))
    got = edited(np.ones((1, VOCAB), np.float32), [penal])[0]
    assert (got[1], got[2]) == (1.0, -3.0)


@pytest.mark.parametrize("foreign", [VOCAB, 2**31 - 1, -1])
def test_ids_outside_the_vocabulary_are_ignored(foreign: int) -> None:
    params = SamplingParams(
        repetition_penalty=2.0, logit_bias={foreign: 9.0} if foreign >= 0 else None, presence_penalty=1.0
    )
    one = row(params, prompt=(foreign,), output=(foreign,), banned=(foreign,))
    assert edited(np.ones((1, VOCAB), np.float32), [one]).tolist() == [[1.0] * VOCAB]


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
    got = edited(logits, late, unread=newest)
    assert got.tobytes() == edited(logits, read).tobytes()


@dataclass
class Text:
    """A sequence of the property below; `newest` is sampled and maybe not read by the host."""

    params: SamplingParams
    prompt: list[int]
    output: list[int] = field(default_factory=list)

    def read(self) -> RowSampling:
        return RowSampling(self.params, 1, 0, self.prompt, list(self.output))

    def unread(self) -> RowSampling:
        return replace(self.read(), output_ids=self.output[:-1], num_unread=1)


penalised = st.builds(
    SamplingParams,
    repetition_penalty=st.sampled_from([None, 1.3, 0.7]),
    presence_penalty=st.sampled_from([0.5, -1.0]),
    frequency_penalty=st.sampled_from([None, 0.4]),
)
token = st.integers(0, VOCAB - 1)
# What happens to one of four places of a batch before the next step.
event = st.tuples(
    st.integers(0, 3), st.sampled_from(["go on", "redraw", "again", "rest", "preempt", "replace"]), token
)


@pytest.mark.requirement(56)
@given(
    st.lists(st.tuples(penalised, st.lists(token, max_size=20)), min_size=4, max_size=4),
    st.lists(
        st.tuples(st.lists(event, max_size=3), st.lists(token, min_size=4, max_size=4), st.booleans()),
        min_size=2,
        max_size=40,
    ),
    st.randoms(use_true_random=False),
)
@settings(max_examples=60, deadline=None)
def test_what_is_remembered_equals_what_the_lists_say_whatever_happens(starts, steps, random) -> None:
    """Rows come and go, change places, are tried again, drawn again, preempted, and follow one another."""
    logits = np.random.default_rng(0).normal(size=(4, VOCAB)).astype(np.float32)
    histories = Histories(VOCAB)
    texts = {i: Text(params, prompt) for i, (params, prompt) in enumerate(starts)}
    next_id = 4
    for events, sampled, late in steps:
        happened = {sorted(texts)[place]: (what, other) for place, what, other in events}
        here, rows = [], []
        for seq_id, newest in zip(sorted(texts), sampled, strict=True):
            what, other = happened.get(seq_id, ("go on", 0))
            text = texts[seq_id]
            if what == "rest":
                continue
            if what == "replace":
                del texts[seq_id]
                histories.forget([seq_id])
                texts[next_id] = text = Text(text.params, [other], [other] * len(text.output))
                seq_id, next_id = next_id, next_id + 1
            elif what == "preempt":
                histories.forget([seq_id])
                text.output.append(newest)
            elif what == "redraw" and text.output:
                text.output[-1] = other
            elif what == "go on":
                text.output.append(newest)
            here.append(seq_id)
            rows.append(text.unread() if late and what == "go on" else text.read())
        order = random.sample(range(len(here)), len(here))
        here, rows = [here[i] for i in order], [rows[i] for i in order]
        if not here:
            continue
        unread = [texts[seq_id].output[-1] if texts[seq_id].output else 0 for seq_id in here]
        got = edited(logits[: len(rows)], rows, histories, here, unread)
        expected = edited(logits[: len(rows)], [texts[seq_id].read() for seq_id in here])
        assert got.tobytes() == expected.tobytes()


def test_a_sequence_that_was_forgotten_leaves_nothing_behind() -> None:
    histories, params = Histories(VOCAB), SamplingParams(presence_penalty=1.0)
    logits = np.ones((1, VOCAB), np.float32)
    edited(logits, [row(params, output=(5, 6))], histories, [0])
    histories.forget([0])
    other = row(params, output=(7, 8, 9))
    assert np.flatnonzero(edited(logits, [other], histories, [0])[0] != 1).tolist() == [7, 8, 9]


class Watched(Sequence[int]):
    """A list that counts how many of its entries were looked at."""

    def __init__(self, tokens: Sequence[int]) -> None:
        self.tokens = list(tokens)
        self.looks = 0

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, place):
        self.looks += 1
        return self.tokens[place]


@pytest.mark.requirement(56)
@pytest.mark.parametrize("num_unread", [0, 1])
def test_decoding_reads_no_text_again(num_unread: int) -> None:
    params = SamplingParams(repetition_penalty=1.2, frequency_penalty=0.3, temperature=0.0)
    outputs = [Watched(range(30)), Watched(range(20))]
    prompts = [Watched([1, 2] * 50), Watched([3])]
    sampler = Sampler(VOCAB)
    newest = mx.array([3, 4], mx.uint32)

    def step() -> None:
        rows = [RowSampling(params, i, 0, prompts[i], outputs[i], num_unread=num_unread) for i in range(2)]
        sampler.sample_lazy(mx.ones((2, VOCAB)), sampler.prepare(rows, newest, [8, 9])).read()
        for output in outputs:
            output.tokens.append(3)

    step()
    assert all(each.looks >= len(each) - 1 for each in (*outputs, *prompts)), "the first step reads the lists"
    for each in (*outputs, *prompts):
        each.looks = 0
    steps = 100  # past several widths of the history
    for _ in range(steps):
        step()
    assert sum(each.looks for each in prompts) == 0
    assert sum(each.looks for each in outputs) <= (0 if num_unread else 2 * steps)
