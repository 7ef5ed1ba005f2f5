"""Lets the projections of a decode step that read the same rows share one launch."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import mlx.core as mx
from mlx.nn.layers.base import Module
from mlx.nn.layers.linear import Linear

from vllm_mlx.runners.kernels.check import matmul_failure
from vllm_mlx.runners.kernels.skinny_matmul import DEPTH_STEP, MOST_ROWS

log = logging.getLogger(__name__)

SkinnyMatmul = Callable[[mx.array, Sequence[mx.array]], list[mx.array]]

_SIBLINGS = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))
"""Names under which model classes keep projections that they give the same input."""

_MOST_BYTES = 16 * 2**20
"""Weights of one launch. Beyond it reading them takes longer than a launch, and a library reads them faster
(H200: a step of 16 rows takes 3.1 instead of 4.8 ms with the 6 to 13 MB of a 0.6B model, 9.4 instead of 7.1
with the 33 to 200 MB of an 8B one)."""


class SharedProjection(Module):
    """A linear layer without bias that computes a few rows together with its siblings.

    Args:
        weight: (out, depth).
    """

    def __init__(self, weight: mx.array, siblings: _Siblings, member: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.weight = weight
        self._siblings = siblings
        self._member = member

    def __call__(self, rows: mx.array) -> mx.array:
        # For one row MLX has a kernel of its own; rows of another dtype are a product of mixed dtypes.
        if 1 < rows.size // rows.shape[-1] <= MOST_ROWS and rows.dtype == self.weight.dtype:
            return self._siblings.product(self._member, rows)
        return rows @ self.weight.T


class _Siblings:
    """Weights that are applied to the same rows: whoever is asked first computes for all."""

    def __init__(self, weights: Sequence[mx.array], matmul: SkinnyMatmul) -> None:
        self._weights = list(weights)
        self._matmul = matmul
        self._rows: mx.array | None = None
        self._found: dict[int, mx.array] = {}

    def product(self, member: int, rows: mx.array) -> mx.array:
        """`rows @ weight.T` of that member."""
        if self._rows is not rows or member not in self._found:
            self._rows = rows
            self._found = dict(enumerate(self._matmul(rows, self._weights)))
        found = self._found.pop(member)
        if not self._found:
            self._rows = None
        return found


def share_launches(model: Any, matmul: SkinnyMatmul) -> int:
    """Replace the model's small plain linear layers of 16 bits; those of `_SIBLINGS` share a launch.

    Nothing is replaced where the kernel does not prove right on this device.

    Returns:
        How many layers were replaced.
    """
    found = list(_groups(model))
    kinds = {tuple((each.weight.shape, each.weight.dtype) for each in layers): layers for *_, layers in found}
    for layers in kinds.values():
        try:
            reason = matmul_failure(matmul, [layer.weight for layer in layers])
        except Exception as error:  # a compiler or a driver may fail in any way
            log.debug("the check of the skinny product failed", exc_info=error)
            reason = f"{type(error).__name__}: {str(error)[:120]}"
        if reason is not None:
            log.warning("projections do not share launches: %s", reason)
            return 0
    replaced = 0
    for parent, names, layers in found:
        siblings = _Siblings([layer.weight for layer in layers], matmul)
        for member, (name, layer) in enumerate(zip(names, layers, strict=True)):
            parent[name] = SharedProjection(layer.weight, siblings, member)
        replaced += len(names)
    return replaced


def _groups(model: Any) -> Iterator[tuple[Any, tuple[str, ...], list[Any]]]:
    """Parent, names and layers of what shares a launch."""
    for _, module in model.named_modules():
        small = {name: child for name, child in module.children().items() if _suits(child)}
        for names in (*_SIBLINGS, *((name,) for name in sorted(small))):
            layers = [small[name] for name in names if name in small]
            alike = len({(layer.weight.shape[1], layer.weight.dtype) for layer in layers}) == 1
            if len(layers) == len(names) and alike and _bytes(layers) <= _MOST_BYTES:
                yield module, names, layers
                for name in names:
                    del small[name]


def _suits(layer: Any) -> bool:
    return (
        type(layer) is Linear
        and "bias" not in layer
        and layer.weight.dtype in (mx.bfloat16, mx.float16)
        and layer.weight.shape[1] % DEPTH_STEP == 0
    )


def _bytes(layers: Sequence[Any]) -> int:
    return sum(layer.weight.nbytes for layer in layers)
