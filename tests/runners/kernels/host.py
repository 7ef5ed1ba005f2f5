"""Compiles a kernel's CUDA text for the host: a block's threads are coroutines that meet at each barrier."""

from __future__ import annotations

import ctypes
import importlib.util
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from vllm_mlx.runners.device import device_name

runs_kernels = pytest.mark.skipif(
    shutil.which("g++") is None or device_name() != "cpu", reason="needs a C++ compiler and arrays of a CPU"
)

_COMMON = r"""
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
struct Index { int x, y, z; };
static thread_local Index threadIdx, blockIdx, blockDim;
#define __device__
struct uint4 { unsigned x, y, z, w; };
static uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }
struct fp16 { uint16_t bits; };
struct bf16 {
  uint16_t bits;
  bf16() = default;
  explicit bf16(float x) {
    uint32_t word;
    std::memcpy(&word, &x, 4);
    bits = (word + 0x7fff + (word >> 16 & 1)) >> 16;
  }
  operator float() const {
    uint32_t word = uint32_t(bits) << 16;
    float x;
    std::memcpy(&x, &word, 4);
    return x;
  }
};
"""

# For kernels whose threads never meet.
_FREE = r"""
template <typename Kernel> static void launch(Index grid, int block, Kernel kernel) {
  blockDim = {block, 1, 1};
  for (blockIdx.z = 0; blockIdx.z < grid.z; ++blockIdx.z)
    for (blockIdx.y = 0; blockIdx.y < grid.y; ++blockIdx.y)
      for (blockIdx.x = 0; blockIdx.x < grid.x; ++blockIdx.x)
        for (threadIdx.x = 0; threadIdx.x < block; ++threadIdx.x) kernel();
}
"""

# Warps advance in step at each exchange between lanes, blocks at each barrier; all else runs freely.
_MEETING = r"""
#include <functional>
#include <ucontext.h>
#include <vector>
#define __shared__ static
static float host_exp(float x) { return std::exp(x); }
#define __expf host_exp

static std::vector<ucontext_t> contexts;
static std::vector<std::vector<char>> stacks;
static std::vector<char> finished;
static ucontext_t home;
static std::function<void()> body;
static void enter(int i) { body(); finished[i] = 1; swapcontext(&contexts[i], &home); }
static void yield() { int me = threadIdx.x; swapcontext(&contexts[me], &home); threadIdx.x = me; }

struct Barrier { int arrived = 0; long round = 0; };
static Barrier whole, warps[64];
static float exchanged[64][32];
static void meet(Barrier& at, int count) {
  long round = at.round;
  if (++at.arrived == count) { at.arrived = 0; ++at.round; }
  while (at.round == round) yield();
}
static int threads;
static void __syncthreads() { meet(whole, threads); }
static float __shfl_xor_sync(unsigned, float x, int mask) {
  int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  exchanged[warp][lane] = x;
  meet(warps[warp], 32);
  float other = exchanged[warp][lane ^ mask];
  meet(warps[warp], 32);
  return other;
}
static void launch(Index grid, int block, std::function<void()> kernel) {
  threads = block;
  blockDim = {block, 1, 1};
  body = kernel;
  contexts.resize(block);
  stacks.assign(block, std::vector<char>(1 << 16));
  for (blockIdx.z = 0; blockIdx.z < grid.z; ++blockIdx.z)
    for (blockIdx.y = 0; blockIdx.y < grid.y; ++blockIdx.y)
      for (blockIdx.x = 0; blockIdx.x < grid.x; ++blockIdx.x) {
        finished.assign(block, 0);
        whole = Barrier();
        for (auto& warp : warps) warp = Barrier();
        for (int i = 0; i < block; ++i) {
          getcontext(&contexts[i]);
          contexts[i].uc_stack.ss_sp = stacks[i].data();
          contexts[i].uc_stack.ss_size = stacks[i].size();
          contexts[i].uc_link = &home;
          makecontext(&contexts[i], (void (*)())enter, 1, i);
        }
        for (bool more = true; more;) {
          more = false;
          for (int i = 0; i < block; ++i)
            if (!finished[i]) { threadIdx.x = i; swapcontext(&home, &contexts[i]); more = true; }
        }
      }
}
"""

TENSOR_CORE = r"""
static unsigned of_a[64][32][4], of_b[64][32][2];
template <typename T> static float number(unsigned word, int which) {
  const uint16_t bits = word >> 16 * which;
  T found;
  std::memcpy(&found, &bits, 2);
  return float(found);
}
template <typename T>
static void sm_mma(float (&d)[4], unsigned a0, unsigned a1, unsigned a2, unsigned a3,
                   unsigned b0, unsigned b1) {
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const unsigned a[4] = {a0, a1, a2, a3}, b[2] = {b0, b1};
  std::memcpy(of_a[warp][lane], a, sizeof a);
  std::memcpy(of_b[warp][lane], b, sizeof b);
  meet(warps[warp], 32);
  for (int i = 0; i < 4; ++i) {
    const int row = lane / 4 + i / 2 * 8, col = lane % 4 * 2 + i % 2;
    for (int k = 0; k < 16; ++k) {
      const unsigned left = of_a[warp][row % 8 * 4 + k % 8 / 2][row / 8 + k / 8 * 2];
      const unsigned right = of_b[warp][col * 4 + k % 8 / 2][k / 8];
      d[i] += number<T>(left, k % 2) * number<T>(right, k % 2);
    }
  }
  meet(warps[warp], 32);
}
static uint4 sm_stream(const void* at) {
  uint4 read;
  std::memcpy(&read, at, sizeof read);
  return read;
}
static uint4 sm_cached(const void* at) { return sm_stream(at); }
"""
"""The device functions of `skinny_matmul`, with `mma.m16n8k16` as the PTX ISA lays its matrices out."""


def compile_for_host(source: str, folder: Path) -> ctypes.CDLL:
    """A source with `extern "C"` entries, as a loaded library."""
    text, library = folder / "kernel.cpp", folder / "kernel.so"
    text.write_text(_COMMON + source)
    subprocess.run(
        ["g++", "-std=c++17", "-O1", "-w", "-shared", "-fPIC", "-o", str(library), str(text)], check=True
    )
    return ctypes.CDLL(str(library))


def pointers(arrays: Sequence[np.ndarray[Any, Any]]) -> list[ctypes.c_void_p]:
    """What a C function takes for arrays."""
    return [array.ctypes.data_as(ctypes.c_void_p) for array in arrays]


_TYPES = {
    mx.float32: "float",
    mx.int32: "int",
    mx.uint16: "uint16_t",
    mx.bfloat16: "bf16",
    mx.float16: "fp16",
}
_GUARD = 64
"""Numbers before and behind an output that a kernel must leave alone."""


@dataclass
class HostKernel:
    """What `mx.fast.cuda_kernel` returns, computed by the host as soon as it is called.

    Inputs are passed as they lie in memory, so that a kernel that writes to one does so here, too.
    """

    folder: Path
    name: str
    input_names: list[str]
    output_names: list[str]
    header: str
    source: str
    _built: dict[str, Any] = field(default_factory=dict)

    def __call__(
        self,
        *,
        inputs: Sequence[mx.array],
        template: Sequence[tuple[str, Any]],
        grid: tuple[int, int, int],
        threadgroup: tuple[int, int, int],
        output_shapes: Sequence[tuple[int, ...]],
        output_dtypes: Sequence[mx.Dtype],
    ) -> list[mx.array]:
        assert threadgroup[1:] == (1, 1)
        assert grid[0] % threadgroup[0] == 0, "MLX would launch a part of a block"
        mx.eval(*inputs)
        shaped = [
            (name, array)
            for name, array in zip(self.input_names, inputs, strict=True)
            if f"{name}_shape" in self.source
        ]
        declared = [
            *(f"const {_TYPES[a.dtype]}* {n}" for n, a in zip(self.input_names, inputs, strict=True)),
            *(f"const int* {name}_shape" for name, _ in shaped),
            *(f"{_TYPES[d]}* {n}" for n, d in zip(self.output_names, output_dtypes, strict=True)),
        ]
        names = [*self.input_names, *(f"{name}_shape" for name, _ in shaped), *self.output_names]
        outputs = [
            np.full((_GUARD * 2 + int(np.prod(shape))) * dtype.size, 0xFF, np.uint8)
            for shape, dtype in zip(output_shapes, output_dtypes, strict=True)
        ]
        memory = [
            *map(_memory, inputs),
            *(np.array(array.shape, np.int32) for _, array in shaped),
            *(o[_GUARD * d.size :] for o, d in zip(outputs, output_dtypes, strict=True)),
        ]
        blocks = (grid[0] // threadgroup[0], *grid[1:])
        self._function(declared, names, template)(*blocks, threadgroup[0], *pointers(memory))
        found = []
        for written, shape, dtype in zip(outputs, output_shapes, output_dtypes, strict=True):
            edge = _GUARD * dtype.size
            assert (written[:edge] == 0xFF).all()
            assert (written[-edge:] == 0xFF).all()
            bytes_of = mx.array(written[edge:-edge])
            found.append(bytes_of.view(dtype).reshape(shape))
        return found

    def _function(self, declared: list[str], names: list[str], template: Sequence[tuple[str, Any]]) -> Any:
        types = [f"using {name} = {_TYPES[it]};\n" for name, it in template if isinstance(it, mx.Dtype)]
        numbers = [f"constexpr int {name} = {it};\n" for name, it in template if not isinstance(it, mx.Dtype)]
        constants = "".join(types + numbers)
        whole = self.header + self.source
        meets = any(word in whole for word in ("__syncthreads", "__shfl", "meet("))
        # MLX aligns the memory of a CPU to 8 bytes only.
        text = f"{_MEETING if meets else _FREE}\n#define alignas(bytes)\n{self.header}\n"
        text += f"static void kernel({', '.join(declared)}) {{\n{constants}{self.source}\n}}\n"
        text += (
            f'extern "C" void run(int grid_x, int grid_y, int grid_z, int threads, {", ".join(declared)}) {{'
            f"launch({{grid_x, grid_y, grid_z}}, threads, [&] {{ kernel({', '.join(names)}); }}); }}\n"
        )
        if text not in self._built:
            folder = self.folder / f"{self.name}{len(self._built)}"
            folder.mkdir()
            self._built[text] = compile_for_host(text, folder).run
        return self._built[text]


def _memory(array: mx.array) -> np.ndarray[Any, Any]:
    """The numbers of an evaluated array where they lie; a copy if not row by row, as MLX makes one."""
    return np.ascontiguousarray(array.view(mx.uint16) if array.dtype == mx.bfloat16 else array)


def on_host(
    module: str, monkeypatch: pytest.MonkeyPatch, folder: Path, *, device_functions: str | None = None
) -> Any:
    """A copy of a module of `runners.kernels` whose kernels run on the host.

    Args:
        device_functions: instead of the header of its kernels.
    """

    def make(*, header: str = "", **about: Any) -> HostKernel:
        return HostKernel(folder, header=header if device_functions is None else device_functions, **about)

    monkeypatch.setattr(mx.fast, "cuda_kernel", make)
    spec = importlib.util.find_spec(f"vllm_mlx.runners.kernels.{module}")
    assert spec is not None
    assert spec.loader is not None
    copy = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(copy)
    return copy
