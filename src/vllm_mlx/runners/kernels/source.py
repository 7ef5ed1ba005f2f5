"""The text of the paged-attention kernel, and what its `$` words are in CUDA C++ and in Metal."""

from __future__ import annotations

from string import Template

# A lane holds CK (CV) packs of PK (PV) neighbouring numbers of a key (value), 32 lanes' packs side by side,
# so that a warp reads whole lines. A warp takes U keys at a time, which hides the latency of the table and of
# the keys behind one another. Softmax is the online one; warps, then splits, are combined by their maxima.
_SPLIT_BODY = """
  $IDS
  const int row_blocks = dims[0], splits = dims[1], split_len = dims[2], window = dims[3];
  const int len = lens[row];
  const int first = (window > 0 && len > window) ? len - window : 0;
  const int lo = first + split * split_len;
  if (lo >= len) return;
  const int hi = (lo + split_len < len) ? lo + split_len : len;
  const float scale = reals[0], cap = reals[1];
  const int head0 = kv_head * (HQ / HK) + part_of_group * GC;

  float query[GC][CK * PK];
  float sum[GC][CV * PV];
  float top[GC];
  float mass[GC];
  $UNROLL
  for (int g = 0; g < GC; ++g) {
    top[g] = -1e30f;
    mass[g] = 0.0f;
    $UNROLL
    for (int e = 0; e < CV * PV; ++e) sum[g][e] = 0.0f;
    $UNROLL
    for (int c = 0; c < CK; ++c)
      $UNROLL
      for (int i = 0; i < PK; ++i) {
        const int d = (c * 32 + lane) * PK + i;
        query[g][c * PK + i] = (d < DK) ? scale * float(q[(row * HQ + head0 + g) * DK + d]) : 0.0f;
      }
  }

  for (int j = lo + warp * U; j < hi; j += NW * U) {
    float key[U][CK * PK];
    float value[U][CV * PV];
    $UNROLL
    for (int u = 0; u < U; ++u) {
      const int at = (j + u < hi) ? j + u : hi - 1;
      const size_t slot = size_t(tables[row * row_blocks + at / BS]) * BS + at % BS;
      $UNROLL
      for (int c = 0; c < CK; ++c) {
        const int d = (c * 32 + lane) * PK;
        pa_pack<TKV, PK> read = {};
        if (DK % (32 * PK) == 0 || d < DK)
          read = *($DEVICE pa_pack<TKV, PK>*)(keys + (slot * HK + kv_head) * DK + d);
        $UNROLL
        for (int i = 0; i < PK; ++i) key[u][c * PK + i] = float(read.v[i]);
      }
      $UNROLL
      for (int c = 0; c < CV; ++c) {
        const int d = (c * 32 + lane) * PV;
        pa_pack<TKV, PV> read = {};
        if (DV % (32 * PV) == 0 || d < DV)
          read = *($DEVICE pa_pack<TKV, PV>*)(values + (slot * HK + kv_head) * DV + d);
        $UNROLL
        for (int i = 0; i < PV; ++i) value[u][c * PV + i] = float(read.v[i]);
      }
    }
    $UNROLL
    for (int g = 0; g < GC; ++g) {
      float score[U];
      float now = top[g];
      $UNROLL
      for (int u = 0; u < U; ++u) {
        float s = 0.0f;
        $UNROLL
        for (int e = 0; e < CK * PK; ++e) s += query[g][e] * key[u][e];
        s = $LANE_SUM(s);
        if (cap > 0.0f) s = cap * $TANH(s / cap);
        score[u] = (j + u < hi) ? s : -1e30f;
        now = (score[u] > now) ? score[u] : now;
      }
      const float fade = $EXP(top[g] - now);
      top[g] = now;
      mass[g] *= fade;
      $UNROLL
      for (int e = 0; e < CV * PV; ++e) sum[g][e] *= fade;
      $UNROLL
      for (int u = 0; u < U; ++u) {
        const float p = $EXP(score[u] - now);
        mass[g] += p;
        $UNROLL
        for (int e = 0; e < CV * PV; ++e) sum[g][e] += p * value[u][e];
      }
    }
  }

  $SHARED float warp_sum[NW][GC][DV];
  $SHARED float warp_top[NW][GC];
  $SHARED float warp_mass[NW][GC];
  $UNROLL
  for (int g = 0; g < GC; ++g) {
    if (lane == 0) {
      warp_top[warp][g] = top[g];
      warp_mass[warp][g] = mass[g];
    }
    $UNROLL
    for (int c = 0; c < CV; ++c)
      $UNROLL
      for (int i = 0; i < PV; ++i) {
        const int d = (c * 32 + lane) * PV + i;
        if (d < DV) warp_sum[warp][g][d] = sum[g][c * PV + i];
      }
  }
  $BARRIER;
  for (int t = tid; t < GC * DV; t += 32 * NW) {
    const int g = t / DV, d = t % DV;
    const size_t head = size_t(row) * HQ + head0 + g;
    float most = warp_top[0][g];
    $UNROLL
    for (int w = 1; w < NW; ++w) most = (warp_top[w][g] > most) ? warp_top[w][g] : most;
    if (ALONE && SINK) most = (sinks[head0 + g] > most) ? sinks[head0 + g] : most;
    float total = 0.0f, all = 0.0f;
    $UNROLL
    for (int w = 0; w < NW; ++w) {
      const float fade = $EXP(warp_top[w][g] - most);
      total += fade * warp_sum[w][g][d];
      all += fade * warp_mass[w][g];
    }
    if (ALONE) {
      if (SINK) all += $EXP(sinks[head0 + g] - most);
      out[head * DV + d] = TO(total / all);
    } else {
      out[(head * splits + split) * DV + d] = TO(total);
      if (d == 0) {
        stats[(head * splits + split) * 2] = most;
        stats[(head * splits + split) * 2 + 1] = all;
      }
    }
  }
"""

_JOIN_BODY = """
  $JOIN_IDS
  const int splits = dims[1], split_len = dims[2], window = dims[3];
  const int len = lens[head / HQ];
  const int seen = (window > 0 && len > window) ? window : len;
  const int used = (seen + split_len - 1) / split_len;
  float most = SINK ? sinks[head % HQ] : -1e30f;
  for (int s = 0; s < used; ++s) {
    const float top = stats[(head * splits + s) * 2];
    most = (top > most) ? top : most;
  }
  float total = 0.0f, all = SINK ? $EXP(sinks[head % HQ] - most) : 0.0f;
  for (int s = 0; s < used; ++s) {
    const float fade = $EXP(stats[(head * splits + s) * 2] - most);
    all += fade * stats[(head * splits + s) * 2 + 1];
    total += fade * parts[(head * splits + s) * DV + d];
  }
  out[head * DV + d] = TO(total / all);
"""

_PACK = """
template <typename T, int N> struct alignas(sizeof(T) * N) pa_pack { T v[N]; };
"""

CUDA = {
    "HEADER": _PACK
    + """
__device__ inline float pa_lane_sum(float x) {
  for (int o = 16; o > 0; o >>= 1) x += __shfl_xor_sync(0xffffffffu, x, o);
  return x;
}
""",
    "IDS": """
  const int tid = threadIdx.x, lane = tid & 31, warp = tid >> 5;
  const int split = blockIdx.x, row = blockIdx.z;
  const int kv_head = blockIdx.y / (HQ / HK / GC), part_of_group = blockIdx.y % (HQ / HK / GC);""",
    "JOIN_IDS": "const size_t head = blockIdx.x; const int d = threadIdx.x;",
    "UNROLL": "#pragma unroll",
    "DEVICE": "const",
    "SHARED": "__shared__",
    "BARRIER": "__syncthreads()",
    "LANE_SUM": "pa_lane_sum",
    "EXP": "__expf",
    "TANH": "tanhf",
}
"""What the text's `$` words are in CUDA C++."""

METAL = {
    "HEADER": _PACK,
    "IDS": """
  const int tid = thread_position_in_threadgroup.x;
  const int lane = thread_index_in_simdgroup, warp = simdgroup_index_in_threadgroup;
  const int split = threadgroup_position_in_grid.x, row = threadgroup_position_in_grid.z;
  const int kv_head = threadgroup_position_in_grid.y / (HQ / HK / GC);
  const int part_of_group = threadgroup_position_in_grid.y % (HQ / HK / GC);""",
    "JOIN_IDS": """
  const size_t head = threadgroup_position_in_grid.x;
  const int d = thread_position_in_threadgroup.x;""",
    "UNROLL": "#pragma clang loop unroll(full)",
    "DEVICE": "const device",
    "SHARED": "threadgroup",
    "BARRIER": "threadgroup_barrier(mem_flags::mem_threadgroup)",
    "LANE_SUM": "simd_sum",
    "EXP": "fast::exp",
    "TANH": "precise::tanh",
}
"""What they are in Metal's."""


def render(dialect: dict[str, str]) -> tuple[str, str, str]:
    """Header, body of the split kernel and body of the joining kernel, in a dialect."""
    bodies = (Template(text).substitute(dialect) for text in (_SPLIT_BODY, _JOIN_BODY))
    return dialect["HEADER"], *bodies  # type: ignore[return-value]
