"""Which tokens survive top-k, top-p and min-p, and which of the survivors is drawn."""

from __future__ import annotations

from dataclasses import dataclass

import mlx.core as mx

from vllm_mlx.sampling import seeds
from vllm_mlx.sampling.ordering import largest


@dataclass(frozen=True, slots=True)
class Filters:
    """Per-row settings as (R, 1) arrays.

    Attributes:
        temperature: above 0.
        top_k: the vocabulary's size where it is off.
        top_p: infinite where it is off.
        min_p: 0 where it is off.
    """

    temperature: mx.array
    top_k: mx.array
    top_p: mx.array
    min_p: mx.array


@dataclass(frozen=True, slots=True)
class Draw:
    """What was drawn for R rows: (R,) arrays.

    Attributes:
        token_ids: uint32.
        best: the largest logit; -inf if no token was allowed.
        exact: whether the candidates held every survivor; if not, the draw must be repeated with more. None
            where they do for certain.
    """

    token_ids: mx.array
    best: mx.array
    exact: mx.array | None = None


def draw_greedy(logits: mx.array) -> Draw:
    """The token with the largest logit, the lowest id among equals; (R, V)."""
    token_ids = mx.argmax(logits, axis=1, keepdims=True)
    best = mx.take_along_axis(logits, token_ids, axis=1)
    return Draw(token_ids[:, 0], best[:, 0])


def draw_unfiltered(logits: mx.array, temperature: mx.array, keys: mx.array) -> Draw:
    """One token of softmax(logits / temperature), by the Gumbel-max trick: no softmax and no sort.

    Args:
        logits: (R, V) float32.
        temperature: (R, 1).
        keys: (R, 2) uint32.
    """
    best = mx.max(logits, axis=1, keepdims=True)
    ids = mx.arange(logits.shape[1], dtype=mx.uint32)[None]
    scores = (logits - best) + temperature * seeds.gumbel(keys, ids)
    return Draw(mx.argmax(scores, axis=1), best[:, 0])


def draw_filtered(
    logits: mx.array, filters: Filters, keys: mx.array, *, candidates: int, unbounded_mass: bool
) -> Draw:
    """One token of the distribution that the filters leave, looking at the likeliest `candidates` only.

    Args:
        logits: (R, V) float32.
        keys: (R, 2) uint32.
        candidates: how many; V makes it a full sort, which is always exact.
        unbounded_mass: a row has top-p but no top-k, so that top-p is a share of the whole row's mass.
    """
    values, ids = largest(logits, candidates, stable=False)
    best = values[:, :1]
    mass = None
    if unbounded_mass:
        mass = mx.sum(mx.exp((logits - best) / filters.temperature), axis=1, keepdims=True)
    kept, exact = survivors(values, filters, mass, vocab_size=logits.shape[1])
    scores = mx.where(kept, (values - best) + filters.temperature * seeds.gumbel(keys, ids), -mx.inf)
    winner = mx.argmax(scores, axis=1, keepdims=True)
    return Draw(mx.take_along_axis(ids, winner, axis=1)[:, 0], best[:, 0], exact)


def survivors(
    values: mx.array, filters: Filters, mass: mx.array | None, *, vocab_size: int
) -> tuple[mx.array, mx.array | None]:
    """Which of the likeliest tokens the filters keep.

    All three look at softmax(logits / temperature). Top-k keeps the k likeliest; top-p the shortest run of
    the likeliest whose share of what top-k left reaches p; min-p those with at least min_p times the
    likeliest one's probability. Equals stand or fall together: with them at the border, top-k and top-p
    keep them all, because an order among equals would be arbitrary. The likeliest token always stays.

    Args:
        values: (R, C) logits, largest first.
        mass: (R, 1) the sum over the whole row of exp((logit - largest) / temperature), for rows with top-p
            and no top-k; None if there are none.

    Returns:
        (R, C) kept, and (R,) whether nothing beyond the C candidates can have been kept; None if there is
        nothing beyond.
    """
    best = values[:, :1]
    weights = mx.exp((values - best) / filters.temperature)
    count = values.shape[1]
    kth = mx.take_along_axis(values, mx.minimum(filters.top_k, count) - 1, axis=1)
    limited = filters.top_k < vocab_size
    in_top_k = (values >= kth) | ~limited
    weights_left = mx.where(in_top_k, weights, 0.0)
    reached = mx.cumsum(weights_left, axis=1)
    whole = reached[:, -1:] if mass is None else mx.where(limited, reached[:, -1:], mass)
    in_run = ((reached - weights_left) < filters.top_p * whole) & in_top_k
    last_of_run = mx.min(mx.where(in_run, values, mx.inf), axis=1, keepdims=True)
    kept = (values >= last_of_run) & (weights >= filters.min_p)
    if count >= vocab_size:
        return kept, None
    # What is kept is a run from the top: if it ends before the last candidate, nothing below was kept. Under
    # top-k the run that top-p measured must have ended, too, or its mass was not the whole of it.
    return kept, ~mx.where(limited[:, 0], in_top_k[:, -1], kept[:, -1])
