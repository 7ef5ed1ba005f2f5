"""How large the pool becomes, and what the engine is told."""

from collections.abc import Callable
from pathlib import Path

import mlx.core as mx
import pytest

from vllm_mlx.config import CacheConfig, EngineConfig, ModelConfig
from vllm_mlx.core.errors import ModelLoadError
from vllm_mlx.runners.assemble import pool_blocks
from vllm_mlx.runners.build import build_runner
from vllm_mlx.runners.device import total_memory_bytes
from vllm_mlx.runners.pool import LayerShape

LAYERS = [LayerShape(8, 128, 8, 128, mx.bfloat16)] * 28  # 112 KiB a token, as Qwen3-0.6B
FOLDER = Callable[..., Path]


def test_the_budget_decides_where_it_is_small() -> None:
    cache = CacheConfig(block_size=16, cache_memory_mb=112)
    assert pool_blocks(LAYERS, EngineConfig(), cache, 40_960, 0) == 112 * 1024 // (112 * 16) + 1


@pytest.mark.requirement(10)
def test_the_share_of_memory_is_of_this_machine() -> None:
    cache = CacheConfig(block_size=16, cache_memory_percent=0.5)
    blocks = pool_blocks(LAYERS, EngineConfig(max_num_seqs=10**6), cache, 40_960, 0)
    assert blocks - 1 == total_memory_bytes() // 2 // (112 * 1024 * 16)


def test_weights_and_pool_together_stay_within_the_share_of_memory() -> None:
    cache = CacheConfig(cache_memory_percent=0.8, gpu_memory_utilization=0.6)
    weights = total_memory_bytes() // 10
    blocks = pool_blocks(LAYERS, EngineConfig(max_num_seqs=10**6), cache, 40_960, weights)
    assert (blocks - 1) * 112 * 1024 * 16 == pytest.approx(total_memory_bytes() // 2, rel=0.01)


def test_no_more_is_taken_than_all_sequences_can_fill() -> None:
    engine = EngineConfig(max_num_seqs=2)
    assert pool_blocks(LAYERS, engine, CacheConfig(cache_memory_mb=10**4), 100, 0) == 2 * 7 + 1


def test_a_number_of_blocks_overrides_the_budget() -> None:
    assert (
        pool_blocks(LAYERS, EngineConfig(), CacheConfig(max_cache_blocks=5, cache_memory_mb=1), 100, 0) == 6
    )


def test_a_budget_without_room_for_a_block_is_refused() -> None:
    with pytest.raises(ModelLoadError, match="not even one block"):
        pool_blocks(LAYERS, EngineConfig(), CacheConfig(cache_memory_mb=1), 100, 0)


def test_the_engine_is_told_the_limits_and_the_path(model_folder: FOLDER) -> None:
    runner = build_runner(
        model_folder("qwen3"), ModelConfig(), EngineConfig(max_num_seqs=3), CacheConfig(max_cache_blocks=10)
    )
    limits = runner.capabilities
    assert (limits.num_blocks, limits.block_size, limits.max_rows, limits.vocab_size) == (11, 16, 3, 512)
    assert limits.max_model_len == 160  # the pool holds less than the model's 512
    assert limits.prefix_reuse
    assert (limits.step_tokens, limits.chunk_tokens) == (2048, 512)
    assert (limits.path.path, limits.path.dtype, limits.path.device) == ("paged", "float32", "cpu")
    runner.close()
