"""Finds out, on the loaded model itself, whether the paged path computes what the model's own cache does."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import mlx.core as mx
import numpy as np
from mlx_lm.models.cache import ArraysCache, ChunkedKVCache, KVCache, RotatingKVCache, make_prompt_cache

from vllm_mlx.core.errors import ModelLoadError
from vllm_mlx.models.head import SplitModel
from vllm_mlx.runners.base import Row
from vllm_mlx.runners.device import device_name
from vllm_mlx.runners.forward import EXACT, Layout, PagedForward, Shapes
from vllm_mlx.runners.geometry import lay_out
from vllm_mlx.runners.kernels.check import access_failure, failure
from vllm_mlx.runners.kernels.paged_attention import Attention, HeadShape
from vllm_mlx.runners.nesting import Nesting, flat, nesting_of
from vllm_mlx.runners.paged import PagedCache
from vllm_mlx.runners.pool import LayerShape, NewPool, ScatterPool

log = logging.getLogger(__name__)

_PROMPTS = (21, 10)
_CUT = 13
_DECODES = 2

# Relative L2 error of a position's logits. Allowed is at least a floor (fp32 on a CPU; fp32 elsewhere, where
# products may be TF32; 16 bits), and so many times what the model's own cache shows between a prompt
# in one piece and in single tokens: that is rounding too, and in a mixture of experts a choice that flips by
# it. Beyond the ceiling nothing is called rounding.
_FLOOR_EXACT = 1e-3
_FLOOR_TF32 = 0.01
_FLOOR_16_BIT = 0.02
_NOISE_FACTOR = 4
_CEILING = 0.2

# (mask rank, rows together), from the fastest to the most cautious.
_CAUTIOUS = ((4, False),)
_LAYOUTS = ((4, True), (5, True), *_CAUTIOUS)

_HOT = 16
"""Tokens at the old edge of a window whose values are made large, so that one too many or too few shows."""


@dataclass(frozen=True, slots=True)
class PagedPlan:
    """How a model pages.

    Attributes:
        layers: shape of each cache.
        nesting: how the model wants them.
        mask_rank, new_pool, batch, split, kernel, compiled: see `PagedCache` and `Layout`.
        seam: whether every layer's attention came through the seam, which a paged kernel needs.
        attention: which attention single tokens use and why, in words for an operator.
    """

    layers: tuple[LayerShape, ...]
    nesting: Nesting
    mask_rank: int
    batch: bool
    split: bool
    seam: bool
    new_pool: NewPool = ScatterPool
    kernel: bool = False
    compiled: bool = False
    attention: str = "keys are gathered"

    def layout(self, block_size: int, shapes: Shapes) -> Layout:
        """How `PagedForward` is to run the model."""
        return Layout(
            block_size=block_size,
            split=self.split,
            shapes=shapes,
            batch=self.batch,
            kernel=self.kernel,
            compiled=self.compiled,
            nesting=self.nesting if any(self.nesting) else (),
        )


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a model does not page, in words for an operator."""

    reason: str


@dataclass(frozen=True, slots=True)
class _Trial:
    """Random prompts and their continuations, and what the model's own cache makes of them."""

    prompts: tuple[tuple[int, ...], ...]
    decodes: tuple[tuple[int, ...], ...]
    fills: tuple[int, ...]
    expected: list[mx.array]
    noise: float
    tolerance: float


def probe(
    model: Any,
    *,
    block_size: int,
    vocab_size: int,
    shapes: Shapes = EXACT,
    attention: Attention | None = None,
    in_place: NewPool | None = None,
) -> PagedPlan | Refusal:
    """Run short random prompts through the model's own cache and through paged ones, and compare logits.

    Prompts of two lengths, one in two chunks, continue in one batch; where a layer has a window, two more
    sequences begin with random keys and values, one of them longer than the window. Layouts are tried from
    the fastest to the most cautious.

    Args:
        attention: a kernel for single tokens, to be used if it proves right on this model and this device.
        in_place: makes pools that kernels write, to be used likewise.

    Raises:
        ModelLoadError: the model does not even run with its own cache.
    """
    own = _run_once(model, vocab_size)
    refused = _unpageable(own)
    if refused is not None:
        return refused
    try:
        split = _splits(model, vocab_size)
        trial, layers = _reference(model, vocab_size)
    except Exception as error:  # no family may stop the server
        log.debug("the probe's reference failed", exc_info=error)
        return Refusal(f"the load probe failed: {_words(error)}")
    worst: list[str] = []
    nesting = nesting_of(own)
    new_pool = _proved_pool(in_place, layers, block_size)
    for mask_rank, batch in _CAUTIOUS if _has_index(layers, nesting) else _LAYOUTS:
        plan = PagedPlan(layers, nesting, mask_rank, batch, split, seam=False, new_pool=new_pool)
        try:
            error_found, uses = _attempt(model, plan, trial, block_size, shapes)
        except Exception as error:  # as above
            log.debug("paged layout %s failed", plan, exc_info=error)
            worst.append(_words(error))
            continue
        log.debug("error %g, tolerance %g", error_found, trial.tolerance)
        if error_found <= trial.tolerance:
            plan = replace(plan, seam=all(use.own for use in uses))
            if attention is None:
                return plan
            refused_kernel = _kernel_failure(plan, uses, attention, block_size)
            if refused_kernel is not None:
                log.warning("the paged kernel is not used: %s", refused_kernel)
                return replace(plan, attention=f"keys are gathered, since {refused_kernel}")
            return _with_kernel(model, plan, trial, block_size, shapes, attention)
        worst.append(f"logits differ by {error_found:.2g}")
    if trial.noise > _CEILING:
        return Refusal(
            "with the model's own cache the logits depend on how a prompt is cut in pieces "
            f"(they differ by {trial.noise:.2g}), which the paged cache does not repeat"
        )
    return Refusal(f"the paged cache does not give what the model's own cache gives: {worst[-1]}")


def _kernel_failure(
    plan: PagedPlan, uses: Sequence[_Use], attention: Attention, block_size: int
) -> str | None:
    """Why the kernel cannot serve these layers on this device; None if nothing speaks against it."""
    if not (plan.seam and plan.batch):
        return "this family computes attention or offsets its own way"
    if block_size < 2:
        return "blocks of one token leave no place for padding"
    seen = set()
    for layer, use in zip(plan.layers, uses, strict=True):
        if layer.heads != layer.value_heads:
            return "keys and values have different heads"
        shape = HeadShape(
            use.query_heads, layer.heads, layer.key_dim, layer.value_dim, layer.dtype, block_size
        )
        if (shape, layer.window, use.sinks) in seen:
            continue
        seen.add((shape, layer.window, use.sinks))
        try:
            reason = failure(attention, shape, layer.window, sinks=use.sinks)
        except Exception as error:  # a compiler or a driver may fail in any way
            log.debug("the kernel check failed", exc_info=error)
            reason = _words(error)
        if reason is not None:
            return reason
    return None


def _proved_pool(in_place: NewPool | None, layers: Sequence[LayerShape], block_size: int) -> NewPool:
    """The pool that kernels write if they prove right on this device, else one of array operations."""
    if in_place is None:
        return ScatterPool
    for shape in {replace(layer, window=None) for layer in layers}:
        try:
            reason = access_failure(in_place, shape, block_size)
        except Exception as error:  # a compiler or a driver may fail in any way
            log.debug("the check of pool access failed", exc_info=error)
            reason = _words(error)
        if reason is not None:
            log.warning("the pool is not written in place: %s; steps may copy it", reason)
            return ScatterPool
    return in_place


def _with_kernel(
    model: Any, plan: PagedPlan, trial: _Trial, block_size: int, shapes: Shapes, attention: Attention
) -> PagedPlan:
    """The plan with the kernel, and compiled, as far as the model's logits stay what they are."""
    best = plan
    for compiled in (False, True):
        wanted = replace(plan, kernel=True, compiled=compiled)
        try:
            error_found, _ = _attempt(model, wanted, trial, block_size, shapes, attention)
            problem = f"logits differ by {error_found:.2g}" if error_found > trial.tolerance else ""
        except Exception as error:  # as above
            log.debug("the kernel's step failed", exc_info=error)
            problem = _words(error)
        if problem:
            log.warning("%s is not used: %s", "a compiled step" if compiled else "the paged kernel", problem)
            note = f"; not compiled, since {problem}" if compiled else f", since {problem}"
            return replace(best, attention=best.attention + note)
        how = ", in a compiled step" if compiled else ""
        best = replace(wanted, attention=f"single tokens attend by the paged kernel{how}")
    return best


def _words(error: Exception) -> str:
    line = next(iter(str(error).splitlines()), "")
    return f"{type(error).__name__}: {line[:120]}" if line else type(error).__name__


def _run_once(model: Any, vocab_size: int) -> list[Any]:
    """The model's own cache, after four tokens."""
    try:
        own = list(make_prompt_cache(model))
        mx.eval(model(mx.arange(4)[None] % vocab_size, cache=own))
    except Exception as error:  # no family may stop the server with a traceback
        log.debug("the model does not run", exc_info=error)
        raise ModelLoadError(f"the model loads but does not run here: {_words(error)}") from error
    return own


def _unpageable(own: Sequence[Any]) -> Refusal | None:
    for i, entry in enumerate(own):
        for cache in flat([entry]):
            if type(cache) in (KVCache, ChunkedKVCache):
                continue
            if type(cache) is RotatingKVCache and not cache.keep:
                continue
            kind = type(cache).__name__
            if isinstance(cache, ArraysCache):
                kind = f"state that each token changes as a whole ({kind})"
            return Refusal(f"layer {i} keeps a {kind}, which cannot be paged")
    return None if own else Refusal("the model keeps no cache")


def _has_index(layers: Sequence[LayerShape], nesting: Nesting) -> bool:
    """Whether a layer keeps caches of unlike shapes: keys and values, and an index that selects among them.

    An index counts positions within the row, padding included, and selects only in contexts longer than a
    probe can afford. So rows of different lengths are not put together.
    """
    rest = iter(layers)
    groups = [{(shape.heads, shape.key_dim) for shape in islice(rest, count or 1)} for count in nesting]
    return any(len(group) > 1 for group in groups)


def _splits(model: Any, vocab_size: int) -> bool:
    """Whether the head can be run apart from the backbone."""
    token_ids = mx.arange(4)[None] % vocab_size
    halves = SplitModel(model)
    try:
        apart = halves.head(halves.backbone(token_ids, make_prompt_cache(model)))
        whole = model(token_ids, cache=make_prompt_cache(model))
        return apart.shape == whole.shape and _distance(apart, whole) <= _floor(whole.dtype)
    except Exception as error:  # not splitting is always right
        log.debug("the head does not split", exc_info=error)
        return False


def _floor(dtype: mx.Dtype) -> float:
    if dtype != mx.float32:
        return _FLOOR_16_BIT
    return _FLOOR_EXACT if device_name() == "cpu" else _FLOOR_TF32


def _distance(found: mx.array, expected: mx.array) -> float:
    """Largest relative L2 error over positions; infinite where a number is not finite."""
    found, expected = found.astype(mx.float32), expected.astype(mx.float32)
    # Some families forbid ids with -inf, which is no difference where both do.
    difference = mx.where(found == expected, 0.0, found - expected)
    size = mx.linalg.norm(mx.where(mx.isinf(expected), 0.0, expected), axis=-1)
    error = mx.linalg.norm(difference, axis=-1) / (size + 1e-9)
    worst = float(np.asarray(mx.max(error)))
    return worst if np.isfinite(worst) else float("inf")


def _reference(model: Any, vocab_size: int) -> tuple[_Trial, tuple[LayerShape, ...]]:
    random = np.random.default_rng(0)
    prompts = tuple(_draw(random, vocab_size, n) for n in _PROMPTS)
    decodes = tuple(_draw(random, vocab_size, _DECODES) for _ in _PROMPTS)
    expected = []
    for prompt, decode in zip(prompts, decodes, strict=True):
        expected.append(_own_logits(model, make_prompt_cache(model), prompt, decode))
    # The same once more, in smaller pieces: what differs now is rounding.
    first = make_prompt_cache(model)
    head = model(mx.array([prompts[0][:_CUT]]), cache=first)
    tail = _own_logits(model, first, prompts[0][_CUT : _CUT + 1], (*prompts[0][_CUT + 1 :], *decodes[0]))
    noise = _distance(mx.concatenate([head[0], tail]), expected[0])
    layers = tuple(_shape_of(cache) for cache in flat(first))
    window = max((layer.window or 0 for layer in layers), default=0)
    fills = (window + 5, window // 2 + 1) if window else ()
    for i, fill in enumerate(fills):
        cache = make_prompt_cache(model)
        for layer, (keys, values) in zip(flat(cache), _random_fill(layers, fill), strict=True):
            layer.update_and_fetch(keys, values)
        expected.append(_own_logits(model, cache, prompts[i][:3], decodes[i]))
    tolerance = min(_CEILING, max(_floor(layers[0].dtype), _NOISE_FACTOR * noise))
    return _Trial(prompts, decodes, fills, expected, noise, tolerance), layers


def _draw(random: np.random.Generator, vocab_size: int, count: int) -> tuple[int, ...]:
    return tuple(random.integers(0, vocab_size, count).tolist())


def _own_logits(model: Any, cache: list[Any], prompt: Sequence[int], decode: Sequence[int]) -> mx.array:
    parts = [model(mx.array([list(prompt)]), cache=cache)]
    parts += [model(mx.array([[token]]), cache=cache) for token in decode]
    logits = mx.concatenate(parts, axis=1)[0]
    mx.eval(logits)
    return logits


def _shape_of(cache: Any) -> LayerShape:
    keys, values = cache.keys_and_values()
    window = cache.max_size if type(cache) is RotatingKVCache else None
    return LayerShape(keys.shape[1], keys.shape[3], values.shape[1], values.shape[3], keys.dtype, window)


def _random_fill(layers: Sequence[LayerShape], tokens: int) -> list[tuple[mx.array, mx.array]]:
    """The same random keys and values for every caller."""
    random = np.random.default_rng(tokens)
    filled = []
    for shape in layers:
        keys = random.standard_normal((1, shape.heads, tokens, shape.key_dim), np.float32)
        values = random.standard_normal((1, shape.value_heads, tokens, shape.value_dim), np.float32)
        values[:, :, :_HOT] *= 30.0
        filled.append((mx.array(keys).astype(shape.dtype), mx.array(values).astype(shape.dtype)))
    return filled


@dataclass(frozen=True, slots=True)
class _Use:
    """How a layer's attention used its cache: whether with just the keys it wrote, every time."""

    own: bool
    query_heads: int
    sinks: bool


def _attempt(
    model: Any,
    plan: PagedPlan,
    trial: _Trial,
    block_size: int,
    shapes: Shapes,
    attention: Attention | None = None,
) -> tuple[float, list[_Use]]:
    """The largest error of the paged path under this layout, and how the layers used their caches.

    With the kernel the prompts' first chunks share a forward, the rest of the longer one are tokens as rows.
    """
    lengths = [n + _DECODES for n in _PROMPTS] + [n + 3 + _DECODES for n in trial.fills]
    tables = _tables(lengths, block_size)
    slots = (1 + sum(map(len, tables))) * block_size
    options: dict[str, Any] = {"attention": attention} if attention is not None else {}
    caches = [
        PagedCache(
            slots,
            block_size=block_size,
            window=layer.window,
            mask_rank=plan.mask_rank,
            new_pool=plan.new_pool,
            **options,
        )
        for layer in plan.layers
    ]
    for cache, layer in zip(caches, plan.layers, strict=True):
        cache.allocate(layer)
    layout = replace(plan.layout(block_size, shapes), tail_tokens=_PROMPTS[0] - _CUT)
    forward = PagedForward(model, caches, layout)
    found: list[list[mx.array]] = [[] for _ in tables]

    def run(group: list[Row]) -> None:
        states = forward.states(group)
        forward.submit(states.array)
        for i, row in enumerate(group):
            found[row.seq_id].append(forward.logits(states.of(i))[0])

    firsts = [Row(0, trial.prompts[0][:_CUT], 0, tables[0]), Row(1, trial.prompts[1], 0, tables[1])]
    for group in [firsts] if plan.kernel else [[row] for row in firsts]:
        run(group)
    run([Row(0, trial.prompts[0][_CUT:], _CUT, tables[0])])
    for i, fill in enumerate(trial.fills):
        _fill_pool(caches, plan.layers, Row(2 + i, range(fill), 0, tables[2 + i]), block_size)
        run([Row(2 + i, trial.prompts[i][:3], fill, tables[2 + i])])
    starts = [*_PROMPTS, *(fill + 3 for fill in trial.fills)]
    for step in range(_DECODES):
        rows = [
            Row(i, (trial.decodes[i % 2][step],), start + step, tables[i]) for i, start in enumerate(starts)
        ]
        for group in [rows] if plan.batch else [[row] for row in rows]:
            run(group)
    errors = [
        _distance(mx.concatenate(parts, axis=0), expected)
        for parts, expected in zip(found, trial.expected, strict=True)
    ]
    forwards = 3 + len(trial.fills) + _DECODES * (1 if plan.batch else len(starts))
    return max(errors), [_Use(cache.attended == forwards, cache.query_heads, cache.sinks) for cache in caches]


def _tables(lengths: Sequence[int], block_size: int) -> list[list[int]]:
    """Disjoint block tables, dealt in turn so that no sequence's blocks are neighbours."""
    needs = [-(-n // block_size) for n in lengths]
    fresh = iter(range(1, sum(needs) + 1))
    tables: list[list[int]] = [[] for _ in needs]
    while any(len(table) < need for table, need in zip(tables, needs, strict=True)):
        for table, need in zip(tables, needs, strict=True):
            table += islice(fresh, min(1, need - len(table)))
    return tables


def _fill_pool(caches: Sequence[PagedCache], layers: Sequence[LayerShape], row: Row, block_size: int) -> None:
    geometry = lay_out([row], block_size)
    for cache, (keys, values) in zip(caches, _random_fill(layers, len(row.token_ids)), strict=True):
        cache.aim(geometry)
        cache.update_and_fetch(keys, values)
        mx.eval(cache.state)
        cache.settle()
