"""Products of a few rows with up to three weight matrices in one CUDA kernel, for decode steps.

A decode step multiplies few rows, so that what a product with a small matrix costs is its launch: MLX asks
cuBLAS for a plan and captures its kernels anew each time (10 to 15 us of the host, 196 times a step of a 0.6B
model). Here the projections that read the same rows are one launch, and no library is asked (6 us).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import mlx.core as mx

MOST_ROWS = 64
"""More rows than that have enough to compute for a library's kernels."""

MOST_WEIGHTS = 3
"""Weight matrices of one launch."""

DEPTH_STEP = 32
"""The depth of a product is a multiple of this."""

_WARPS = 4
_AHEAD = 4
"""Steps along the depth that a warp reads ahead."""

_IS_HALF = """
template <typename T> struct sm_is_half { static constexpr bool value = false; };
template <> struct sm_is_half<__half> { static constexpr bool value = true; };
"""

# The tensor core computes D (16 x 8) += A (16 x 16) B (16 x 8); here A is 16 rows of a weight, B 8 rows of x.
# A sum over the depth does not mind its order as long as A and B agree: so each lane reads 8 neighbouring
# numbers of a row (16 bytes) where the plain layout would have it read four pairs.
# The warps of a block share its weight rows and take turns along the depth. Their sums meet in shared memory
# in an order that depends on nothing else: what a row gets is the same to the bit beside any others.
_HEADER = """
template <typename T>
__device__ inline void sm_mma(float (&d)[4], unsigned a0, unsigned a1, unsigned a2, unsigned a3,
                              unsigned b0, unsigned b1) {
  if constexpr (sizeof(T) == 2 && !sm_is_half<T>::value)
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
        "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
  else
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
        "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}
__device__ inline uint4 sm_stream(const void* at) {
  uint4 v;
  asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0,%1,%2,%3}, [%4];"
               : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w) : "l"(at));
  return v;
}
__device__ inline uint4 sm_cached(const void* at) {
  uint4 v;
  asm volatile("ld.global.nc.v4.u32 {%0,%1,%2,%3}, [%4];"
               : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w) : "l"(at));
  return v;
}
"""

_BODY = """
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
  const int g = lane >> 2, t = lane & 3;
  const int m_rows = dims[0], depth = dims[1];
  int tile = blockIdx.x, n = dims[2];
  const T* w = w0;
  T* y = y0;
  int tiles = (n + 15) / 16;
  if (tile >= tiles) {
    tile -= tiles;
    n = dims[3];
    w = w1;
    y = y1;
    tiles = (n + 15) / 16;
    if (tile >= tiles) {
      tile -= tiles;
      n = dims[4];
      w = w2;
      y = y2;
    }
  }
  const int row = tile * 16 + g;
  const T* top = w + size_t(row < n ? row : n - 1) * depth + t * 8;
  const T* low = w + size_t(row + 8 < n ? row + 8 : n - 1) * depth + t * 8;
  const T* in[MT];
  float acc[MT][4] = {};
  #pragma unroll
  for (int c = 0; c < MT; ++c) {
    const int m = c * 8 + g;
    in[c] = x + size_t(m < m_rows ? m : m_rows - 1) * depth + t * 8;
  }
  for (int k = warp * 32; k < depth; k += NW * 32 * U) {
    uint4 a[U][2], b[U][MT];
    #pragma unroll
    for (int u = 0; u < U; ++u) {
      const int wanted = k + u * NW * 32;
      const int at = wanted < depth ? wanted : 0;
      a[u][0] = sm_stream(top + at);
      a[u][1] = sm_stream(low + at);
      #pragma unroll
      for (int c = 0; c < MT; ++c) b[u][c] = sm_cached(in[c] + at);
    }
    #pragma unroll
    for (int u = 0; u < U; ++u)
      #pragma unroll
      for (int c = 0; c < MT; ++c) {
        const uint4 r = k + u * NW * 32 < depth ? b[u][c] : make_uint4(0, 0, 0, 0);
        sm_mma<T>(acc[c], a[u][0].x, a[u][1].x, a[u][0].y, a[u][1].y, r.x, r.y);
        sm_mma<T>(acc[c], a[u][0].z, a[u][1].z, a[u][0].w, a[u][1].w, r.z, r.w);
      }
  }
  __shared__ float sums[NW][MT * 8][17];
  #pragma unroll
  for (int c = 0; c < MT; ++c)
    #pragma unroll
    for (int e = 0; e < 4; ++e) sums[warp][c * 8 + 2 * t + (e & 1)][g + 8 * (e >> 1)] = acc[c][e];
  __syncthreads();
  for (int e = threadIdx.x; e < MT * 8 * 16; e += NW * 32) {
    const int m = e >> 4, out = tile * 16 + (e & 15);
    if (m < m_rows && out < n) {
      float sum = 0.0f;
      #pragma unroll
      for (int o = 0; o < NW; ++o) sum += sums[o][m][e & 15];
      y[size_t(m) * n + out] = T(sum);
    }
  }
"""


def skinny_matmul(rows: mx.array, weights: Sequence[mx.array]) -> list[mx.array]:
    """Each of `rows @ weight.T`, summed in float32.

    Args:
        rows: (..., depth), at most `MOST_ROWS` in all; bfloat16 or float16.
        weights: at most `MOST_WEIGHTS` of (out, depth) in the same dtype.
    """
    depth = rows.shape[-1]
    count = rows.size // depth
    tiles = next(tiles for tiles in (1, 2, 4, 8) if count <= 8 * tiles)
    outs = [weight.shape[0] for weight in weights]
    missing = MOST_WEIGHTS - len(outs)
    padded = [*weights, *[weights[0]] * missing]
    shapes = [(*rows.shape[:-1], out) for out in outs] + [(1,)] * missing
    found: list[mx.array] = _kernel()(
        inputs=[rows, *padded, _dims((count, depth, *outs, *[0] * missing))],
        template=[("T", rows.dtype), ("MT", tiles), ("U", _AHEAD), ("NW", _WARPS)],
        grid=(32 * _WARPS * sum(-(-out // 16) for out in outs), 1, 1),
        threadgroup=(32 * _WARPS, 1, 1),
        output_shapes=shapes,
        output_dtypes=[rows.dtype] * MOST_WEIGHTS,
    )
    return found[: len(outs)]


@cache
def _kernel() -> Callable[..., Any]:
    make: Any = mx.fast.cuda_kernel
    kernel: Callable[..., Any] = make(
        name="skinny_matmul",
        input_names=["x", "w0", "w1", "w2", "dims"],
        output_names=["y0", "y1", "y2"],
        header=_IS_HALF + _HEADER,
        source=_BODY,
    )
    return kernel


@cache
def _dims(numbers: tuple[int, ...]) -> mx.array:
    constant = mx.array(numbers, mx.int32)
    mx.eval(constant)
    return constant
