"""The cache objects that mlx-lm's classes read and write the paged pool by."""

from __future__ import annotations

from itertools import accumulate, pairwise
from typing import Any

import mlx.core as mx

from vllm_mlx.runners.geometry import Geometry, SeamError
from vllm_mlx.runners.kernels.paged_attention import Attention, paged_attention
from vllm_mlx.runners.pool import LayerPool, LayerShape, NewPool, ScatterPool


class PagedCache:
    """One layer's share of the pool, in the shape of an mlx-lm KV cache.

    `update_and_fetch` writes the new tokens to their slots and returns what the rows may look at, gathered
    into (B, heads, T, dim). Both are lazy: where `attend` has a better way, the gathered form is never
    computed.

    Args:
        slots: pool size in tokens, block 0 included.
        block_size: tokens a block.
        window: tokens that this layer may look back on, itself included; None for all.
        mask_rank: rank of masks for several rows. 4 fits the fused attention; families that keep query groups
            as an axis of their own need 5.
        new_pool: makes the arrays.
        attention: what rows with block tables attend by.
    """

    def __init__(
        self,
        slots: int,
        *,
        block_size: int,
        window: int | None = None,
        mask_rank: int = 4,
        new_pool: NewPool = ScatterPool,
        attention: Attention = paged_attention,
    ) -> None:
        self.window = window
        self.mask_rank = mask_rank
        self.attended = 0
        self.query_heads = 0
        self.sinks = False
        self._block_size = block_size
        self._attention = attention
        self._slots = slots
        self._new_pool = new_pool
        self._pool: LayerPool | None = None
        self._fetched: tuple[mx.array, mx.array] | None = None
        self._geometry: Geometry | None = None

    def aim(self, geometry: Geometry) -> None:
        """Set where the next forward reads and writes."""
        self._geometry = geometry

    def allocate(self, shape: LayerShape) -> None:
        """Make the layer's arrays, zeroed: (slots, heads, dim) token-major."""
        self._pool = self._new_pool(self._slots, shape)

    @property
    def shape(self) -> LayerShape:
        """The layer's shape, known once it is allocated or has seen a token."""
        pool = self._allocated
        (_, heads, key_dim), (_, value_heads, value_dim) = pool.keys.shape, pool.values.shape
        return LayerShape(heads, key_dim, value_heads, value_dim, pool.keys.dtype, self.window)

    @property
    def state(self) -> list[mx.array]:
        """What a forward writes, to be evaluated where nothing else reads it."""
        return self._pool.state if self._pool is not None else []

    def give(self) -> list[mx.array]:
        """Hand the state over, so that whoever computes with it is its only owner."""
        return self._allocated.give()

    def hold(self, state: list[mx.array]) -> None:
        """Take a state over."""
        self._allocated.hold(state)

    # The rest is what mlx-lm's model classes call.

    @property
    def offset(self) -> int | mx.array:
        return self._aimed.offset

    def make_mask(
        self,
        N: int,  # noqa: N803 - mlx-lm passes it by this name
        return_array: bool = False,
        window_size: int | None = None,
        **_: Any,
    ) -> mx.array | str | None:
        """What `mlx_lm.models.base.create_attention_mask` returns: None, "causal", or a boolean array."""
        geometry = self._aimed
        window = min(filter(None, (window_size, self.window)), default=None)
        if geometry.tables is not None:
            return geometry.stand_in(window)
        if geometry.positions is None:
            return _mask_of_one(N, geometry.history, window, return_array)
        width = geometry.visible.shape[1] if geometry.visible is not None else N
        keys, queries = mx.arange(width), geometry.positions[..., None]
        mask = keys <= queries
        if window is not None:
            mask = mask & (keys > queries - window)
        return mask.reshape(mask.shape[0], *([1] * (self.mask_rank - 3)), *mask.shape[1:])

    def update_and_fetch(self, keys: mx.array, values: mx.array) -> tuple[mx.array, mx.array]:
        """Write (B, heads, L, dim) keys and values; return all that each row may look at."""
        geometry = self._aimed
        if self._pool is None:
            self.allocate(
                LayerShape(keys.shape[1], keys.shape[3], values.shape[1], values.shape[3], keys.dtype)
            )
        pool = self._allocated
        pool.write(geometry.slots, geometry.top, geometry.token_major(keys), geometry.token_major(values))
        if geometry.visible is None:
            self._fetched = keys, values
        else:
            self._fetched = pool.read(geometry.visible)
        return self._fetched

    start_position = 0
    """Position of the first key that is kept (of a cache that keeps chunks): nothing is dropped here."""

    def maybe_trim_front(self) -> None:
        """Drop what no chunk looks at any more: the model's mask hides it, and its block may be shared."""

    # Models assign to `keys` and `values` only to tie the evaluation of one array to another's, or to empty
    # one that they never read. A step evaluates all of the pool, so there is nothing to be done.

    @property
    def keys(self) -> mx.array:
        return self.keys_and_values()[0]

    @keys.setter
    def keys(self, _: mx.array) -> None:
        pass

    @property
    def values(self) -> mx.array:
        return self.keys_and_values()[1]

    @values.setter
    def values(self, _: mx.array) -> None:
        pass

    def keys_and_values(self) -> tuple[mx.array, mx.array]:
        """What the last update returned, for layers that read another layer's cache."""
        if self._fetched is None:
            raise RuntimeError("this layer has not seen a token")
        return self._fetched

    def attend(
        self,
        queries: mx.array,
        keys: mx.array,
        values: mx.array,
        *,
        scale: float,
        mask: mx.array | str | None,
        sinks: mx.array | None,
    ) -> mx.array:
        """Attention (B, query heads, L, value dim) over what `update_and_fetch` returned.

        Raises:
            SeamError: the kernel is to be used, and the model attends to something else.
        """
        # Keys of their own (a decompressed latent, for one) mean that the pool is not what is attended to.
        own = self._fetched is not None and keys is self._fetched[0] and values is self._fetched[1]
        self.attended += own
        self.query_heads, self.sinks = queries.shape[1], sinks is not None
        geometry = self._aimed
        if geometry.tables is not None and geometry.lens is not None:
            if not own or isinstance(mask, str):
                raise SeamError("the model attends to other keys than it wrote")
            pool = self._allocated
            return self._attention(
                queries,
                pool.keys,
                pool.values,
                geometry.tables,
                geometry.lens,
                scale=scale,
                block_size=self._block_size,
                window=self.window if mask is None else geometry.window_behind(mask),
                sinks=sinks,
                after=pool.written,
            )
        if len(geometry.pieces) > 1:
            return _attend_in_pieces(
                queries, keys, values, geometry.pieces, scale=scale, mask=mask, sinks=sinks
            )
        return mx.fast.scaled_dot_product_attention(
            queries, keys, values, scale=scale, mask=mask, sinks=sinks
        )

    def settle(self) -> None:
        """Forget the last forward's views, which would keep its arrays alive."""
        self._fetched = None
        self._geometry = None

    @property
    def _allocated(self) -> LayerPool:
        if self._pool is None:
            raise RuntimeError("this layer has not seen a token")
        return self._pool

    @property
    def _aimed(self) -> Geometry:
        if self._geometry is None:
            raise RuntimeError("a paged cache was used outside a step")
        return self._geometry


def _attend_in_pieces(
    queries: mx.array, keys: mx.array, values: mx.array, pieces: tuple[int, ...], **options: Any
) -> mx.array:
    """Attention of so many rows at a time; a mask is the same for all of them."""
    ends = list(accumulate(pieces))
    parts = [
        mx.fast.scaled_dot_product_attention(
            queries[start:end], keys[start:end], values[start:end], **options
        )
        for start, end in pairwise([0, *ends])
    ]
    return mx.concatenate(parts)


def _mask_of_one(tokens: int, history: int, window: int | None, as_array: bool) -> mx.array | str | None:
    """The mask of a lone row: "causal" or None keep the fused kernels; a window that is reached does not."""
    total = history + tokens
    outgrown = window is not None and total > window
    if not outgrown and not (as_array and tokens > 1):
        return "causal" if tokens > 1 else None
    keys, queries = mx.arange(total), mx.arange(history, total)[:, None]
    mask = keys <= queries
    return mask if window is None else mask & (keys > queries - window)
