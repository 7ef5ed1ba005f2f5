"""Projections that share launches: which do, what they compute, and that nothing is kept of it."""

from __future__ import annotations

import gc
import logging
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from mlx import nn
from mlx.utils import tree_flatten
from mlx_lm.models.cache import make_prompt_cache
from tests.fakes.models import save_model

from vllm_mlx.models.loader import load
from vllm_mlx.runners.kernels.skinny_matmul import MOST_ROWS, MOST_WEIGHTS
from vllm_mlx.runners.projections import share_launches

DEPTH = 64


class Launches:
    """Plain products in place of the kernel's, counted once the load check is over.

    Attributes:
        shapes: of each launch, rows and the widths of its weights.
    """

    def __init__(self) -> None:
        self.shapes: list[tuple[int, tuple[int, ...]]] = []

    def __call__(self, rows: mx.array, weights: Sequence[mx.array]) -> list[mx.array]:
        count = rows.size // rows.shape[-1]
        assert 1 < count <= MOST_ROWS
        assert len(weights) <= MOST_WEIGHTS
        assert {weight.dtype for weight in weights} == {rows.dtype}
        self.shapes.append((count, tuple(weight.shape[0] for weight in weights)))
        return [rows @ weight.T for weight in weights]

    def take(self) -> list[tuple[int, tuple[int, ...]]]:
        shapes, self.shapes = self.shapes, []
        return shapes


class Attention(nn.Module):
    def __init__(self, depth: int = DEPTH, *, bias: bool = False) -> None:
        super().__init__()
        self.q_proj = nn.Linear(depth, 48, bias=bias)
        self.k_proj = nn.Linear(depth, 16, bias=bias)
        self.v_proj = nn.Linear(depth, 16, bias=bias)
        self.o_proj = nn.Linear(depth, depth, bias=bias)


class Gated(nn.Module):
    def __init__(self, hidden: int = 96) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(DEPTH, hidden, bias=False)
        self.up_proj = nn.Linear(DEPTH, hidden, bias=False)


def of_16_bits(module: nn.Module) -> Any:
    module.set_dtype(mx.bfloat16)
    mx.eval(module.parameters())
    return module


def rows(count: int, seed: int = 0, dtype: mx.Dtype = mx.bfloat16) -> mx.array:
    return mx.array(np.random.default_rng(seed).standard_normal((count, 1, DEPTH), np.float32)).astype(dtype)


def shared(module: nn.Module) -> tuple[Any, Launches]:
    """The module with shared launches, and what is launched from now on."""
    launches = Launches()
    assert share_launches(module, launches) > 0
    launches.take()
    return module, launches


def equal(found: mx.array, expected: mx.array) -> bool:
    return found.dtype == expected.dtype and bool(mx.array_equal(found, expected))


# ---- which ----


def test_queries_keys_and_values_share_a_launch_and_so_do_gate_and_up() -> None:
    for module, launched in (
        (Attention(), {"q_proj": [(2, (48, 16, 16))], "k_proj": [], "v_proj": [], "o_proj": [(2, (DEPTH,))]}),
        (Gated(), {"up_proj": [(2, (96, 96))], "gate_proj": []}),
    ):
        attention, launches = shared(of_16_bits(module))
        x = rows(2)
        for name, expected in launched.items():
            assert equal(attention[name](x), x @ attention[name].weight.T)
            assert launches.take() == expected


def quantized() -> nn.Module:
    module = of_16_bits(Attention())
    nn.quantize(module, group_size=32, bits=4)
    return module  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    "module",
    [
        of_16_bits(Attention(bias=True)),
        Attention(),  # of 32 bits
        of_16_bits(Attention(48)),  # a depth that is no multiple of 32
        quantized(),
    ],
    ids=["biases", "float32", "odd depth", "quantized"],
)
def test_what_the_kernel_is_not_made_for_is_left_alone(module: nn.Module) -> None:
    before = dict(module.children())
    launches = Launches()
    assert share_launches(module, launches) == 0
    assert not launches.shapes
    assert all(module[name] is layer for name, layer in before.items())


def test_large_weights_are_left_alone_and_siblings_that_are_large_together_go_each_alone() -> None:
    large = 9 * 2**20 // (2 * DEPTH)  # rows of 9 MB
    module, launches = shared(of_16_bits(Gated(large)))
    x = rows(3)
    for layer in (module.gate_proj, module.up_proj):
        layer(x)
    assert launches.take() == [(3, (large,))] * 2
    assert share_launches(of_16_bits(Gated(2 * large)), launches) == 0


def test_siblings_of_unlike_depth_or_dtype_go_each_alone() -> None:
    module = of_16_bits(Attention())
    module.k_proj = of_16_bits(nn.Linear(2 * DEPTH, 16, bias=False))
    gated = of_16_bits(Gated())
    gated.up_proj.set_dtype(mx.float16)
    for odd, names in ((module, ("q_proj", "v_proj")), (gated, ("gate_proj",))):
        _, launches = shared(odd)
        for name in names:
            odd[name](rows(2))
        assert launches.take() == [(2, (odd[name].weight.shape[0],)) for name in names]


# ---- what ----


@pytest.mark.parametrize("order", ["qkv", "vkq", "kqv", "qqkv", "qvqk", "k", "qk", "kkvvqq"])
def test_siblings_give_their_own_products_whoever_is_asked_and_when(order: str) -> None:
    module, launches = shared(of_16_bits(Attention()))
    for x in (rows(5), rows(5, 1), rows(2, 2)):
        for letter in order:
            layer = module[f"{letter}_proj"]
            assert equal(layer(x), x @ layer.weight.T)
    if len(set(order)) == len(order):
        assert len(launches.shapes) == 3  # one for each input


def test_siblings_with_inputs_of_their_own_get_them() -> None:
    module, _ = shared(of_16_bits(Attention()))
    x, memory = rows(4), rows(6, 1)
    for letter, given in (("q", x), ("k", memory), ("q", memory), ("v", memory), ("k", x)):
        layer = module[f"{letter}_proj"]
        assert equal(layer(given), given @ layer.weight.T)


def test_equal_rows_in_another_array_are_other_rows() -> None:
    module, _ = shared(of_16_bits(Attention()))
    x = rows(4)
    module.q_proj(x)
    x = rows(4, 1)  # whatever became of the first
    assert equal(module.k_proj(x), x @ module.k_proj.weight.T)


@pytest.mark.parametrize("count", [1, MOST_ROWS + 1])
def test_one_row_and_many_are_plain_products(count: int) -> None:
    module, launches = shared(of_16_bits(Attention()))
    x = rows(count)
    assert equal(module.q_proj(x), x @ module.q_proj.weight.T)
    assert not launches.shapes


def test_rows_of_another_dtype_are_plain_products() -> None:
    module, launches = shared(of_16_bits(Attention()))
    x = rows(4, dtype=mx.float32)
    assert module.q_proj(x).dtype == mx.float32
    assert not launches.shapes


def test_nothing_is_kept_of_rows_once_all_siblings_were_asked() -> None:
    module, _ = shared(of_16_bits(Attention()))
    x = rows(4)
    alive = weakref.ref(x)
    for name in ("q_proj", "k_proj", "v_proj"):
        module[name](x)
    del x
    gc.collect()
    assert alive() is None


def test_a_compiled_step_gives_the_same_and_again() -> None:
    module, launches = shared(of_16_bits(Attention()))

    def step(x: mx.array) -> list[mx.array]:
        return [module[name](x) for name in ("k_proj", "q_proj", "v_proj")]

    compiled = mx.compile(step)
    for seed in range(3):
        x = rows(4, seed)
        for found, expected in zip(compiled(x), step(x), strict=True):
            assert np.allclose(found.astype(mx.float32), expected.astype(mx.float32), atol=1e-2)
    assert len(launches.shapes) == 1 + 3  # compiled once


# ---- models ----

FOLDER = Callable[..., Path]


@pytest.mark.parametrize("family", ["qwen3", "gemma3_text", "phi3", "minicpm3"])
def test_a_model_says_the_same_and_still_has_its_weights(family: str, tmp_path: Path) -> None:
    folder = save_model(tmp_path / family, family, dtype=mx.bfloat16)
    model = load(folder, "bfloat16").model
    before = {path: array.shape for path, array in tree_flatten(model.parameters())}
    token_ids = mx.arange(12).reshape(4, 3)
    expected = model(token_ids, cache=make_prompt_cache(model))
    launches = Launches()
    assert share_launches(model, launches) > 0
    launches.take()
    found = model(token_ids, cache=make_prompt_cache(model))
    assert launches.shapes
    assert equal(found, expected)
    assert {path: array.shape for path, array in tree_flatten(model.parameters())} == before


def upside_down(rows: mx.array, weights: Sequence[mx.array]) -> list[mx.array]:
    return [rows[::-1] @ weight.T for weight in weights]


def absent(rows: mx.array, weights: Sequence[mx.array]) -> list[mx.array]:
    raise RuntimeError("no compiler here")


@pytest.mark.parametrize(("matmul", "reason"), [(upside_down, "differs by"), (absent, "no compiler here")])
def test_a_kernel_that_is_wrong_replaces_nothing_and_is_told_of(
    matmul: Any, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    module = of_16_bits(Attention())
    before = dict(module.children())
    assert share_launches(module, matmul) == 0
    assert all(module[name] is layer for name, layer in before.items())
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "do not share launches" in record.message
    assert reason in record.message
