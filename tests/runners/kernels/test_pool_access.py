"""Writing to pool slots and gathering them: one text for both dialects, and every number where it belongs."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from tests.runners.kernels.host import on_host, runs_kernels

from vllm_mlx.runners.kernels.pool_access import CUDA, METAL, pack_of, render

SLOTS = 40


@pytest.fixture
def access(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    return on_host("pool_access", monkeypatch, tmp_path)


def numbers(seed: int, *shape: int) -> np.ndarray[Any, Any]:
    """Whole numbers, which every dtype holds as they are."""
    return np.random.default_rng(seed).integers(-99, 99, shape).astype(np.float32)


def as_floats(array: mx.array) -> np.ndarray[Any, Any]:
    return np.array(array.astype(mx.float32))


def test_both_dialects_come_from_one_text() -> None:
    words = {word: f"<{word}>" for word in CUDA}
    assert CUDA.keys() == METAL.keys()
    neutral = render(words)[1:]
    for dialect in (CUDA, METAL):
        restored = list(neutral)
        for word, text in dialect.items():
            restored = [body.replace(f"<{word}>", text) for body in restored]
        assert tuple(restored) == render(dialect)[1:]


def test_the_metal_text_has_no_word_of_cuda() -> None:
    header, write, gather = render(METAL)
    for text in (header, write, gather):
        for word in ("threadIdx", "blockIdx", "blockDim", "__device__", "$"):
            assert word not in text
    # MLX finds the attributes and shapes that a kernel needs by their names in its source.
    for body in (write, gather):
        assert "thread_position_in_grid" in body
        assert "slots_shape" in body
        # Every pointer that is made says which memory it points to.
        assert body.count("device pa_pack<T, P>*)") == body.count("pa_pack<T, P>*)") > 0


@pytest.mark.parametrize(
    ("counts", "dtype", "expected"),
    [
        ((128,), mx.bfloat16, 8),
        ((128,), mx.float32, 4),
        ((128, 0), mx.float16, 8),
        ((576, 512), mx.bfloat16, 8),
        ((64, 20), mx.bfloat16, 4),
        ((6, 8), mx.float32, 2),
        ((5,), mx.bfloat16, 1),
        ((7, 3), mx.float32, 1),
    ],
)
def test_a_pack_divides_what_is_moved_and_is_16_bytes_at_most(
    counts: tuple[int, ...], dtype: mx.Dtype, expected: int
) -> None:
    assert pack_of(*counts, dtype=dtype) == expected


DIMS = [
    pytest.param(2, 16, 16, mx.float32),
    pytest.param(2, 5, 5, mx.float32),  # no two numbers at once
    pytest.param(1, 12, 0, mx.float32),  # an index keeps keys alone
    pytest.param(2, 16, 16, mx.bfloat16),
    *(
        pytest.param(heads, key_dim, value_dim, dtype, marks=pytest.mark.slow)
        for heads, key_dim, value_dim in ((1, 576, 512), (3, 20, 8), (3, 80, 80), (1, 2, 6), (8, 128, 0))
        for dtype in (mx.float32, mx.bfloat16, mx.float16, mx.uint16)
    ),
]


@runs_kernels
@pytest.mark.parametrize(("heads", "key_dim", "value_dim", "dtype"), DIMS)
def test_what_is_written_and_gathered_is_what_numpy_makes_of_it(
    heads: int, key_dim: int, value_dim: int, dtype: mx.Dtype, access: Any
) -> None:
    dims = (key_dim, value_dim)
    expected = [numbers(i, SLOTS, heads, dim) for i, dim in enumerate(dims)]
    pools = [mx.array(array).astype(dtype) for array in expected]
    mx.eval(pools)
    expected = [as_floats(pool) for pool in pools]
    done = mx.array([41], mx.int32)
    for count in (1, 3, 29):  # less than a block of threads, and more than one
        slots = np.random.default_rng(count).permutation(SLOTS)[:count].astype(np.int32)
        new = [mx.array(numbers(count, count, heads, dim)).astype(dtype) for dim in dims]
        done = access.write_slots(*pools, *new, mx.array(slots), done)
        for array, written in zip(expected, new, strict=True):
            array[slots] = as_floats(written)
        for pool, array in zip(pools, expected, strict=True):
            assert np.array_equal(as_floats(pool), array)
    assert done.tolist() == [41]  # it carries nothing but the order
    # Slots that occur twice, and not in order; widths that are no multiple of anything.
    for rows, width in ((1, 1), (3, 7), (2, 45)):
        seen = np.random.default_rng(rows).integers(0, SLOTS, (rows, width)).astype(np.int32)
        for pool, array in zip(pools, expected, strict=True):
            if pool.size:
                found = access.gather_slots(pool, mx.array(seen), done)
                assert found.dtype == dtype
                assert np.array_equal(as_floats(found), array[seen].transpose(0, 2, 1, 3))


@runs_kernels
def test_of_tokens_that_go_to_one_slot_one_is_kept_whole(access: Any) -> None:
    keys, values = (mx.zeros((SLOTS, 2, 4)) for _ in range(2))
    mx.eval(keys, values)
    new_keys, new_values = (mx.array(numbers(seed, 6, 2, 4)) for seed in (1, 2))
    slots = mx.array([9, 3, 9, 3, 1, 9], mx.int32)
    mx.eval(access.write_slots(keys, values, new_keys, new_values, slots, mx.zeros((1,), mx.int32)))
    for slot, writers in ((9, (0, 2, 5)), (3, (1, 3)), (1, (4,))):
        for pool, new in ((keys, new_keys), (values, new_values)):
            assert any(mx.array_equal(pool[slot], new[writer]) for writer in writers)
    untouched = [i for i in range(SLOTS) if i not in (1, 3, 9)]
    assert not keys[mx.array(untouched)].any()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("nvcc") is None, reason="needs NVIDIA's compiler")
def test_the_cuda_text_compiles(tmp_path: Path) -> None:
    header, write, gather = render(CUDA)
    parts = ["#include <cuda_bf16.h>\n#include <cstdint>\n", header]
    for i, (name, pack) in enumerate((("float", 4), ("__nv_bfloat16", 8), ("__nv_bfloat16", 1))):
        parts.append(f"namespace n{i} {{ using T = {name};\n")
        parts.append(f"constexpr int P = {pack}, KP = 9, VP = 4, DP = 3, HEADS = 3;\n")
        parts.append(
            "__global__ void write(const T* keys, const T* values, const T* new_keys, const T* new_values,"
            f"const int* slots, const int* slots_shape, const int* after, int* done) {{ {write} }}\n"
        )
        parts.append(
            "__global__ void gather(const T* pool, const int* slots, const int* slots_shape, T* out)"
            f"{{ {gather} }} }}\n"
        )
    source = tmp_path / "kernels.cu"
    source.write_text("".join(parts))
    built = subprocess.run(
        ["nvcc", "-arch=sm_90", "-cubin", "-o", str(tmp_path / "out"), str(source)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
