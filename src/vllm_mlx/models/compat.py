"""The one place that replaces something in mlx-lm: attention asks the cache before it computes."""

from __future__ import annotations

import sys
from typing import Any

import mlx.core as mx
from mlx_lm.models import base

_NAME = "scaled_dot_product_attention"
_stock_attention = base.scaled_dot_product_attention


def _attention(
    queries: mx.array,
    keys: mx.array,
    values: mx.array,
    cache: Any,
    scale: float,
    mask: mx.array | str | None,
    sinks: mx.array | None = None,
) -> mx.array:
    """`mlx_lm.models.base.scaled_dot_product_attention`, except that a cache with `attend` is asked first."""
    attend = getattr(cache, "attend", None)
    if attend is not None:
        attended: mx.array = attend(queries, keys, values, scale=scale, mask=mask, sinks=sinks)
        return attended
    stock: mx.array = _stock_attention(
        queries, keys, values, cache=cache, scale=scale, mask=mask, sinks=sinks
    )
    return stock


def install_attention_seam() -> None:
    """Route the attention of every model class through its cache; idempotent.

    Family modules take the function by name when they are imported, so those that were imported before are
    given the new one too.
    """
    base.scaled_dot_product_attention = _attention
    for name, module in list(sys.modules.items()):
        if name.startswith("mlx_lm.models.") and vars(module).get(_NAME) is _stock_attention:
            setattr(module, _NAME, _attention)
