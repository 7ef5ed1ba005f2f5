"""Loads and probes a model, sizes its pool, and puts the runner together."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten
from mlx_lm.models.cache import make_prompt_cache

from vllm_mlx.config import CacheConfig, EngineConfig, ModelConfig
from vllm_mlx.core.errors import ModelLoadError
from vllm_mlx.core.stats import ModelPath
from vllm_mlx.models.loader import LoadedModel, load
from vllm_mlx.runners.base import CHUNK_TOKENS, STEP_TOKENS, Capabilities, Runner
from vllm_mlx.runners.device import bound_freed_memory, device_name, keep_freed_memory, total_memory_bytes
from vllm_mlx.runners.forward import BUCKETED, EXACT, PLANNED, PagedForward
from vllm_mlx.runners.kernels.paged_attention import paged_attention
from vllm_mlx.runners.kernels.skinny_matmul import skinny_matmul
from vllm_mlx.runners.paged import PagedCache
from vllm_mlx.runners.pool import InPlacePool, LayerShape, NewPool, ScatterPool
from vllm_mlx.runners.probe import PagedPlan, probe
from vllm_mlx.runners.projections import share_launches
from vllm_mlx.runners.sequential import SequentialRunner
from vllm_mlx.runners.text import Sampler, TextRunner
from vllm_mlx.runners.warm_up import warm_up
from vllm_mlx.sampling.batch import Sampler as BatchSampler

log = logging.getLogger(__name__)

_CUDA_STEP_TOKENS, _CUDA_CHUNK_TOKENS = 32_768, 2048
"""Steps of 2,048 tokens do not fill an H200: by them 64 prompts of 390 tokens are read at 62,000 tokens/s, in
one step at 290,000."""

_CPU_SLOTS = 8192
"""Tokens that a pool on a CPU has room for at first."""


def assemble(
    folder: Path,
    model: ModelConfig,
    engine: EngineConfig,
    cache: CacheConfig,
    *,
    new_sampler: Callable[[int], Sampler] | None = None,
) -> Runner:
    """The runner for a model folder: paged where the probe finds that right, else sequential.

    Raises:
        ModelLoadError: the model cannot be loaded, or the pool's budget holds no block.
    """
    loaded = load(folder, model.dtype)
    on_cpu = device_name() == "cpu"
    shapes = {"cpu": EXACT, "cuda": PLANNED}.get(device_name(), BUCKETED)
    if on_cpu:
        keep_freed_memory()
    else:
        bound_freed_memory()
    if device_name() == "cuda":
        share_launches(loaded.model, skinny_matmul)
    vocab_size = loaded.manifest.vocab_size
    found = probe(
        loaded.model,
        block_size=cache.block_size,
        vocab_size=vocab_size,
        shapes=shapes,
        attention=None if on_cpu else paged_attention,
        in_place=None if on_cpu else InPlacePool,
    )
    mx.clear_cache()
    max_model_len = _context(engine, loaded.manifest.max_model_len)
    sampler = (new_sampler or BatchSampler)(vocab_size)
    if not isinstance(found, PagedPlan):
        log.warning("%s runs one sequence at a time: %s", loaded.manifest.model_type, found.reason)
        blocks = 1 + -(-max_model_len // cache.block_size)
        limits = _capabilities(loaded, cache, found.reason, max_model_len, blocks, paged=False, rows=1)
        return SequentialRunner(loaded.model, lambda: make_prompt_cache(loaded.model), sampler, limits)
    blocks = pool_blocks(found.layers, engine, cache, max_model_len, _weight_bytes(loaded.model))
    new_pool = partial(ScatterPool, grow_from=_CPU_SLOTS) if on_cpu else found.new_pool
    caches = _pools(found, blocks, cache.block_size, new_pool)
    held = (blocks - 1) * cache.block_size
    if held < max_model_len:
        log.warning("the KV pool holds %d tokens; the context of %d is cut to that", held, max_model_len)
    reason = f"the paged cache gives what the model's own cache gives; {found.attention}"
    if not found.batch:
        reason += "; rows run one after another, for this family does not batch"
    limits = _capabilities(
        loaded, cache, reason, min(max_model_len, held), blocks, paged=True, rows=engine.max_num_seqs
    )
    forward = PagedForward(loaded.model, caches, found.layout(cache.block_size, shapes))
    runner = TextRunner(forward, sampler, limits)
    if engine.warm_up:
        warm_up(runner, shapes)
    return runner


def _context(engine: EngineConfig, own_len: int) -> int:
    """The context asked for; the model's own if none is."""
    wanted = engine.max_model_len or own_len
    if wanted > own_len:
        log.warning("a context of %d is more than the model's %d: beyond it texts may decay", wanted, own_len)
    return wanted


def _pools(plan: PagedPlan, blocks: int, block_size: int, new_pool: NewPool) -> list[PagedCache]:
    """The allocated cache of each layer."""
    caches = []
    for layer in plan.layers:
        paged = PagedCache(
            blocks * block_size,
            block_size=block_size,
            window=layer.window,
            mask_rank=plan.mask_rank,
            new_pool=new_pool,
        )
        paged.allocate(layer)
        mx.eval(paged.state)
        caches.append(paged)
    return caches


def _weight_bytes(model: Any) -> int:
    weights: Any = tree_flatten(model.parameters())
    return sum(array.nbytes for _, array in weights)


def pool_blocks(
    layers: Sequence[LayerShape],
    engine: EngineConfig,
    cache: CacheConfig,
    max_model_len: int,
    weight_bytes: int = 0,
) -> int:
    """Blocks in the pool, scratch included: what the budget holds, and no more than can ever be in use.

    A fixed number of blocks is taken as it is; any other budget stays, together with the weights, within
    `gpu_memory_utilization`.

    Raises:
        ModelLoadError: not even one block fits.
    """
    if cache.max_cache_blocks is not None:
        wanted = cache.max_cache_blocks
    else:
        if cache.cache_memory_mb is not None:
            budget_bytes = cache.cache_memory_mb * 2**20
        else:
            budget_bytes = int(cache.cache_memory_percent * total_memory_bytes())
        room_bytes = int(cache.gpu_memory_utilization * total_memory_bytes()) - weight_bytes
        budget_bytes = max(0, min(budget_bytes, room_bytes))
        block_bytes = cache.block_size * sum(layer.bytes_per_token for layer in layers)
        useful = engine.max_num_seqs * -(-max_model_len // cache.block_size)
        wanted = min(budget_bytes // block_bytes, useful)
    if wanted < 1:
        raise ModelLoadError("the memory for the KV pool holds not even one block; give it more")
    return wanted + 1


def _capabilities(
    loaded: LoadedModel,
    cache: CacheConfig,
    reason: str,
    max_model_len: int,
    blocks: int,
    *,
    paged: bool,
    rows: int,
) -> Capabilities:
    path = ModelPath(
        path="paged" if paged else "sequential", reason=reason, dtype=loaded.dtype, device=device_name()
    )
    on_cuda = device_name() == "cuda"
    return Capabilities(
        vocab_size=loaded.manifest.vocab_size,
        max_model_len=max_model_len,
        block_size=cache.block_size,
        num_blocks=blocks,
        max_rows=rows,
        prefix_reuse=paged,
        path=path,
        fingerprint=f"{loaded.manifest.fingerprint}-{loaded.dtype}",
        # On a CPU submitting takes as long as computing: overlap would only tell tokens one step later.
        overlap=paged and device_name() != "cpu",
        step_tokens=_CUDA_STEP_TOKENS if on_cuda else STEP_TOKENS,
        chunk_tokens=_CUDA_CHUNK_TOKENS if on_cuda else CHUNK_TOKENS,
    )
