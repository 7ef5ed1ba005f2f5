"""Sampling of one row in numpy, float64 and plain loops: what the batched graph must agree with."""

from __future__ import annotations

from collections import Counter

import mlx.core as mx
import numpy as np

from vllm_mlx.core.sampling import NEUTRAL, SamplingParams
from vllm_mlx.core.steps import RowSampling
from vllm_mlx.sampling.seeds import gumbel, row_keys


def row(
    params: SamplingParams | None = None,
    *,
    seed: int = 1,
    choice: int = 0,
    prompt: tuple[int, ...] = (1, 2, 3),
    output: tuple[int, ...] = (),
    banned: tuple[int, ...] = (),
) -> RowSampling:
    """A row with few words."""
    return RowSampling(params or SamplingParams(), seed, choice, list(prompt), list(output), banned)


def noise(row: RowSampling, vocab_size: int) -> np.ndarray:
    """The row's Gumbel noise for the whole vocabulary."""
    keys = mx.array(row_keys([row]))
    return np.array(gumbel(keys, mx.arange(vocab_size, dtype=mx.uint32)[None]))[0].astype(np.float64)


def edited(logits: np.ndarray, row: RowSampling) -> np.ndarray:
    """Logits after penalties, bias and bans."""
    params = row.params.resolve(NEUTRAL)
    result = logits.astype(np.float64)
    for token in set(row.prompt_ids) | set(row.output_ids):
        value = result[token]
        result[token] = value / params.repetition_penalty if value > 0 else value * params.repetition_penalty
    for token, count in Counter(row.output_ids).items():
        result[token] -= params.presence_penalty + count * params.frequency_penalty
    for token, addend in (params.logit_bias or {}).items():
        result[token] += addend
    for token in row.banned_ids:
        result[token] = -np.inf
    return result


def kept(logits: np.ndarray, params: SamplingParams, slack: float = 0.0) -> np.ndarray:
    """Which tokens survive, in float64; `slack` loosens (or, negative, tightens) every border."""
    params = params.resolve(NEUTRAL)
    scaled = logits.astype(np.float64) / params.temperature
    weights = np.exp(scaled - scaled.max())
    left = np.ones(len(logits), dtype=bool)
    if params.top_k > 0 and params.top_k < len(logits):
        left = logits >= np.sort(logits)[-params.top_k]
    mass = weights[left].sum()
    by_min_p = weights >= params.min_p * (1 - slack)
    if params.top_p >= 1:
        return left & by_min_p
    # A token stays if what is strictly likelier has less than p of the mass... for the first of its equals.
    in_run = np.zeros(len(logits), dtype=bool)
    before = 0.0
    for token in sorted(np.flatnonzero(left), key=lambda t: -logits[t]):
        if before >= params.top_p * mass * (1 + slack):
            break
        in_run |= left & (logits == logits[token])
        before += weights[token]
    return in_run & by_min_p


def token(logits: np.ndarray, row: RowSampling) -> int:
    """The token of the documented order of operations."""
    changed = edited(logits, row)
    temperature = row.params.resolve(NEUTRAL).temperature
    if temperature < 1e-5:
        return int(np.argmax(changed))
    survivors = kept(changed, row.params)
    scores = (changed - changed.max()) / temperature + noise(row, len(logits))
    return int(np.argmax(np.where(survivors, scores, -np.inf)))
