"""Products of a few rows: right at every edge, and the same to the bit in any company."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from tests.runners.kernels.host import TENSOR_CORE, on_host, runs_kernels

from vllm_mlx.runners.kernels.check import matmul_failure


def rounded(seed: int, *shape: int) -> mx.array:
    return mx.array(np.random.default_rng(seed).standard_normal(shape, np.float32)).astype(mx.bfloat16)


def as_floats(array: mx.array) -> np.ndarray[Any, Any]:
    return np.array(array.astype(mx.float32))


@pytest.fixture
def matmul(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """`skinny_matmul` on the host, its tensor core imitated lane by lane."""
    copy = on_host("skinny_matmul", monkeypatch, tmp_path, device_functions=TENSOR_CORE)
    return copy.skinny_matmul


@runs_kernels
@pytest.mark.parametrize(
    ("count", "depth", "outs"),
    [
        (5, 160, (24, 7, 17)),  # no full tile anywhere, and a depth that leaves two of the warps without work
        pytest.param(2, 32, (16,), marks=pytest.mark.slow),
        pytest.param(8, 512, (1, 33), marks=pytest.mark.slow),
        pytest.param(13, 544, (40, 40, 8), marks=pytest.mark.slow),
        pytest.param(31, 96, (15, 16), marks=pytest.mark.slow),
        pytest.param(64, 1056, (20,), marks=pytest.mark.slow),
    ],
)
def test_the_text_computes_products(count: int, depth: int, outs: tuple[int, ...], matmul: Any) -> None:
    rows = rounded(0, count, 1, depth)
    weights = [rounded(1 + i, out, depth) for i, out in enumerate(outs)]
    found = matmul(rows, weights)
    assert [product.shape for product in found] == [(count, 1, out) for out in outs]
    for product, weight in zip(found, weights, strict=True):
        exact = as_floats(rows) @ as_floats(weight).T
        assert product.dtype == mx.bfloat16
        # The sums are of float32; what differs is the last rounding.
        assert np.allclose(as_floats(product), exact, rtol=2**-8, atol=1e-4 * depth**0.5)


@pytest.mark.slow
@runs_kernels
def test_a_row_is_the_same_to_the_bit_in_any_company(matmul: Any) -> None:
    rows, weights = rounded(0, 64, 288), [rounded(1, 40, 288), rounded(2, 9, 288)]
    whole = [as_floats(product) for product in matmul(rows, weights)]
    for start, end in ((0, 2), (3, 11), (11, 27), (20, 51), (40, 64)):
        part = matmul(rows[start:end], weights)
        alone = matmul(rows[start:end], weights[1:])
        for found, expected in zip((*part, *alone), (*whole, whole[1]), strict=True):
            assert np.array_equal(as_floats(found), expected[start:end])


@pytest.mark.slow
@runs_kernels
def test_the_check_admits_the_text(matmul: Any) -> None:
    assert matmul_failure(matmul, [rounded(1, 20, 160), rounded(2, 16, 160)]) is None


def plain(rows: mx.array, weights: Any) -> list[mx.array]:
    return [rows @ weight.T for weight in weights]


def test_the_check_admits_what_is_right() -> None:
    assert matmul_failure(plain, [rounded(1, 20, 64), rounded(2, 3, 64)]) is None
    assert matmul_failure(plain, [mx.zeros((20, 64), mx.bfloat16)]) is None


def transposed_tile(rows: mx.array, weights: Any) -> list[mx.array]:
    found = plain(rows, weights)
    return [mx.concatenate([found[0][..., 1::-1], found[0][..., 2:]], axis=-1), *found[1:]]


def without_the_last_step(rows: mx.array, weights: Any) -> list[mx.array]:
    return [rows[..., :-32] @ weight[:, :-32].T for weight in weights]


def wrong_above_32_rows(rows: mx.array, weights: Any) -> list[mx.array]:
    return [product if len(rows) <= 32 else mx.zeros_like(product) for product in plain(rows, weights)]


def not_a_number(rows: mx.array, weights: Any) -> list[mx.array]:
    return [product * float("nan") for product in plain(rows, weights)]


@pytest.mark.parametrize("wrong", [transposed_tile, without_the_last_step, wrong_above_32_rows, not_a_number])
def test_the_check_refuses_what_is_wrong(wrong: Any) -> None:
    found = matmul_failure(wrong, [rounded(1, 20, 256), rounded(2, 3, 256)])
    assert "differs by" in (found or "")
