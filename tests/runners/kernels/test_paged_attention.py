"""The kernel's text: one for both dialects, within their limits, and right wherever it can be run here."""

from __future__ import annotations

import itertools
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest
from tests.runners.kernels.host import on_host, runs_kernels

from vllm_mlx.runners.kernels.check import Case, failure, largest_error
from vllm_mlx.runners.kernels.paged_attention import (
    THREADGROUP_BYTES,
    HeadShape,
    gather_attention,
    packs,
    splits_of,
    threadgroup_bytes,
)
from vllm_mlx.runners.kernels.source import CUDA, METAL, render

DTYPES = {mx.float32: "float", mx.bfloat16: "__nv_bfloat16", mx.float16: "__half"}
DIMS = (16, 64, 80, 96, 112, 128, 160, 192, 256)
SHARING = (1, 2, 3, 4, 5, 6, 7, 8, 12, 16)
SHAPES = [
    HeadShape(2 * sharing, 2, dim, dim, dtype, 16)
    for sharing, dim, dtype in itertools.product(SHARING, DIMS, DTYPES)
]
POINTERS = {
    "q": "const TKV*",
    "keys": "const TKV*",
    "values": "const TKV*",
    "tables": "const int*",
    "lens": "const int*",
    "sinks": "const float*",
    "dims": "const int*",
    "reals": "const float*",
    "out": "TO*",
    "stats": "float*",
}


def declared(names: list[str]) -> str:
    return ", ".join(f"{POINTERS.get(name, 'const float*')} {name}" for name in names)


SPLIT_ARGS = declared(list(POINTERS))
JOIN_ARGS = declared(["parts", "stats", "lens", "sinks", "dims", "out"])


def constants(shape: HeadShape, *, alone: bool, sink: bool) -> str:
    return "".join(
        f"constexpr int {name} = {value};\n" for name, value in shape.constants(alone=alone, sink=sink)
    )


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_shape_fits_the_threadgroup_and_covers_its_head(shape: HeadShape) -> None:
    assert shape.unsupported() is None
    assert (shape.query_heads // shape.heads) % shape.group == 0
    assert threadgroup_bytes(shape.group, shape.value_dim) <= THREADGROUP_BYTES
    count, size = packs(shape.key_dim, shape.dtype)
    assert shape.key_dim % size == 0
    assert count * size * 32 >= shape.key_dim
    assert size * shape.dtype.size <= 16


def test_what_no_kernel_is_made_for_is_named() -> None:
    wrong = {
        "int8": HeadShape(4, 2, 64, 64, mx.int8, 16),
        "evenly": HeadShape(5, 2, 64, 64, mx.float32, 16),
        "576": HeadShape(4, 1, 576, 512, mx.float32, 16),
    }
    for word, shape in wrong.items():
        assert word in (shape.unsupported() or "")
        assert failure(gather_attention, shape) == shape.unsupported()


@pytest.mark.parametrize("rows", [1, 3, 16, 64, 500])
@pytest.mark.parametrize("width", [16, 256, 1024, 40_960])
def test_splits_cover_the_width_and_none_is_too_long(rows: int, width: int) -> None:
    count, length = splits_of(rows, width, HeadShape(16, 8, 128, 128, mx.bfloat16, 16))
    assert count * length >= width > (count - 1) * length
    assert length % 16 == 0
    assert length <= 1024 + 16


def test_the_metal_text_has_no_word_of_cuda() -> None:
    text = "\n".join(render(METAL))
    for word in ("threadIdx", "blockIdx", "__shared__", "__syncthreads", "__device__", "__expf", "__shfl"):
        assert word not in text
    assert "$" not in text
    # MLX finds the attributes that a kernel needs by their names in its source.
    for word in (
        "thread_position_in_threadgroup",
        "threadgroup_position_in_grid",
        "thread_index_in_simdgroup",
    ):
        assert word in text
    # Names that Metal's standard library or language keeps.
    declared = set(re.findall(r"\b(?:int|float|size_t)\s+(\w+)", text))
    assert not declared & {"half", "kernel", "device", "constant", "thread", "threadgroup", "vertex"}


def test_both_dialects_come_from_one_text() -> None:
    words = {word: f"<{word}>" for word in CUDA}
    assert CUDA.keys() == METAL.keys()
    neutral = render(words)[1:]
    for dialect in (CUDA, METAL):
        restored = list(neutral)
        for word, text in dialect.items():
            restored = [body.replace(f"<{word}>", text) for body in restored]
        assert tuple(restored) == render(dialect)[1:]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("nvcc") is None, reason="needs NVIDIA's compiler")
def test_the_cuda_text_compiles_without_spills(tmp_path: Path) -> None:
    header, split, join = render(CUDA)
    parts = ["#include <cuda_bf16.h>\n#include <cuda_fp16.h>\n#include <cstdint>\n", header]
    for i, shape in enumerate(SHAPES[::7]):
        name = DTYPES[shape.dtype]
        parts.append(f"namespace n{i} {{ using TKV = {name}; using TO = {name};\n")
        parts.append(constants(shape, alone=bool(i % 2), sink=bool(i % 3)))
        parts.append(f"__global__ void split({SPLIT_ARGS}) {{ {split} }}\n")
        parts.append(f"__global__ void join({JOIN_ARGS}) {{ {join} }} }}\n")
    source = tmp_path / "kernels.cu"
    source.write_text("".join(parts))
    built = subprocess.run(
        ["nvcc", "-arch=sm_90", "-cubin", "-Xptxas", "-v", "-o", str(tmp_path / "out"), str(source)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    assert " 0 bytes spill stores" in built.stderr
    assert not re.search(r"[1-9]\d* bytes spill", built.stderr)


@pytest.mark.slow
@runs_kernels
@pytest.mark.parametrize(
    ("query_heads", "heads", "key_dim", "value_dim"),
    [(4, 2, 64, 64), (3, 1, 80, 80), (4, 4, 16, 16), (2, 1, 192, 128), (8, 1, 256, 256)],
)
def test_the_text_computes_attention(
    query_heads: int,
    heads: int,
    key_dim: int,
    value_dim: int,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    shape = HeadShape(query_heads, heads, key_dim, value_dim, mx.float32, 8)
    attend = on_host("paged_attention", monkeypatch, tmp_path).paged_attention
    cases = [
        Case(shape, (1,)),
        Case(shape, (150,)),
        Case(shape, (1, 7, 8, 9, 65)),
        Case(shape, (90, 3), window=20),
        Case(shape, (200, 12), window=100, sinks=True),
        Case(shape, (40,), sinks=True, soft_cap=3.0),
    ]
    for case in cases:
        assert largest_error(attend, case) < 1e-4, case


def test_the_check_admits_what_is_right_and_refuses_what_sees_one_key_too_many() -> None:
    shape = HeadShape(4, 2, 32, 32, mx.float32, 8)

    def greedy(*args: Any, **options: Any) -> mx.array:
        queries, keys, values, tables, lens = args
        more = mx.minimum(lens + 1, tables.shape[1] * 8)
        return gather_attention(queries, keys, values, tables, more, **options)

    assert failure(gather_attention, shape, 40, sinks=True) is None
    assert "differs" in (failure(greedy, shape) or "")
