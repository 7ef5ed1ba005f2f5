"""Compiles a kernel's CUDA text for the host: a block's threads are coroutines that meet at each barrier."""

from __future__ import annotations

import ctypes
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

# Warps advance in step at each exchange between lanes, blocks at each barrier; all else runs freely.
SHIM = r"""
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <ucontext.h>
#include <vector>
struct Index { int x, y, z; };
static thread_local Index threadIdx, blockIdx;
#define __shared__ static
#define __device__
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


def compile_for_host(source: str, folder: Path) -> ctypes.CDLL:
    """The shim and a source with `extern "C"` entries, as a loaded library."""
    text, library = folder / "kernel.cpp", folder / "kernel.so"
    text.write_text(SHIM + source)
    subprocess.run(
        ["g++", "-std=c++17", "-O1", "-w", "-shared", "-fPIC", "-o", str(library), str(text)], check=True
    )
    return ctypes.CDLL(str(library))


def pointers(arrays: Sequence[np.ndarray[Any, Any]]) -> list[ctypes.c_void_p]:
    """What a C function takes for arrays."""
    return [array.ctypes.data_as(ctypes.c_void_p) for array in arrays]
