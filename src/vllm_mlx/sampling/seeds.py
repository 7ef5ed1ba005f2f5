"""Random keys that belong to a row alone, and the noise that they name."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import mlx.core as mx
import numpy as np
import numpy.typing as npt

from vllm_mlx.core.steps import RowSampling

_GOLDEN = 0x9E3779B97F4A7C15
_U64 = 0xFFFFFFFFFFFFFFFF


def row_keys(rows: Sequence[RowSampling]) -> npt.NDArray[np.uint32]:
    """The key of each row's next draw, (N, 2): a hash of (seed, choice, position) and of nothing else.

    The position counts prompt and output, so a sequence that was preempted, moved to another batch or
    replayed draws the same noise again. For one seed the 64-bit keys of different (choice, position) are
    different for certain, because every stage is a bijection; across seeds they are as unlikely to meet as
    any 64-bit hashes, and two seeds that do meet once do not go on together.
    """
    seeds = np.array([row.seed & _U64 for row in rows], dtype=np.uint64)
    places = np.array([(row.choice << 32) | row.position for row in rows], dtype=np.uint64)
    mixed = _mix64(_mix64(seeds) ^ _mix64(places ^ np.uint64(_GOLDEN)))
    return np.stack([mixed >> np.uint64(32), mixed & np.uint64(0xFFFFFFFF)], axis=1).astype(np.uint32)


def gumbel(keys: mx.array, token_ids: mx.array) -> mx.array:
    """Standard Gumbel noise for tokens of rows, (R, K) float32.

    The noise is a function of (key, token id): whoever computes it for a few candidates gets what a pass
    over the whole vocabulary gives these tokens. That is why this is a counter-based hash and not
    `mx.random`, whose numbers depend on the shape that is drawn. Global random state is not touched.

    Args:
        keys: (R, 2) uint32.
        token_ids: (R, K) or (1, K) uint32.
    """
    noise = _fused_gumbel if mx.default_device().type == mx.DeviceType.gpu else _gumbel
    return noise(keys[:, :1], keys[:, 1:], token_ids)


def _gumbel(key_high: mx.array, key_low: mx.array, token_ids: mx.array) -> mx.array:
    bits = _mix32(_mix32(token_ids ^ key_high) + key_low)
    uniform = (bits.astype(mx.float32) + 0.5) * 2.0**-32
    # exponential = -log1p(-uniform), exact to a few ulp also where it is tiny: those are the draws that let
    # an unlikely token win. log is vectorised everywhere, log1p is not; this form is Kahan's (the rounding
    # of 1 - uniform cancels in the quotient). The bounds keep both ends finite.
    rest = mx.clip(1.0 - uniform, 2.0**-25, 1.0 - 2.0**-24)
    return -mx.log(uniform * (mx.log(rest) / (rest - 1.0)))


# On a GPU some thirty element-wise steps become one kernel. On a CPU compiling would need a C++ compiler at
# run time.
_fused_gumbel: Callable[[mx.array, mx.array, mx.array], mx.array] = mx.compile(_gumbel, shapeless=True)


def _mix32(bits: mx.array) -> mx.array:
    """A bijection of 32 bits that scatters well ("lowbias32", C. Wellons 2018)."""
    bits = (bits ^ (bits >> 16)) * mx.array(0x7FEB352D, mx.uint32)
    bits = (bits ^ (bits >> 15)) * mx.array(0x846CA68B, mx.uint32)
    return bits ^ (bits >> 16)


def _mix64(bits: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """A bijection of 64 bits that scatters well (the finaliser of SplitMix64, Steele et al. 2014)."""
    bits = bits + np.uint64(_GOLDEN)
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))
