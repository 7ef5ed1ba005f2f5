"""Microseconds that penalised rows cost a decode step, by how long their texts are.

    python -m benchmarks.penalties [--rows 16] [--vocab 151936] [--texts 200 4000] [--steps 200]

`prepare` is the host's share, in which nothing is computed; `whole` adds the sampling and the reading of the
tokens. Each token is still on the device when the next step is prepared, as in an overlapped engine. Texts
are half prompt, half output; the sizes take turns in rounds, and the median step of the best round counts.
"""

from __future__ import annotations

import argparse
import inspect
import platform
import statistics
import time

import mlx.core as mx
import numpy as np

from vllm_mlx.core.sampling import SamplingParams
from vllm_mlx.core.steps import RowSampling, SampledToken
from vllm_mlx.sampling.batch import Sampler

ROUNDS = 3
PARAMS = SamplingParams(temperature=0.0, repetition_penalty=1.1, presence_penalty=0.5, frequency_penalty=0.5)


def measure(num_rows: int, vocab: int, text: int, steps: int) -> tuple[float, float]:
    """The median step of a run of decode steps: `prepare` alone, and all of it, in microseconds."""
    random = np.random.default_rng(0)
    logits = mx.array(random.normal(size=(num_rows, vocab)).astype(np.float32))
    prompts = [random.integers(0, vocab, text // 2).tolist() for _ in range(num_rows)]
    outputs = [random.integers(0, vocab, text // 2).tolist() for _ in range(num_rows)]
    sampler = Sampler(vocab)
    # A sampler of before histories were kept is not told whose the rows are.
    whose = {"seq_ids": range(num_rows)} if "seq_ids" in inspect.signature(sampler.prepare).parameters else {}
    newest = mx.zeros((num_rows,), mx.uint32)
    mx.eval(logits, newest)
    prepare_us, whole_us = [], []
    for _ in range(steps):
        rows = [RowSampling(PARAMS, i, 0, prompts[i], outputs[i], num_unread=1) for i in range(num_rows)]
        begun = time.perf_counter()
        prepared = sampler.prepare(rows, newest, **whose)
        prepare_us.append((time.perf_counter() - begun) * 1e6)
        pending = sampler.sample_lazy(logits, prepared)
        tokens = pending.read()
        whole_us.append((time.perf_counter() - begun) * 1e6)
        for output, token in zip(outputs, newest.tolist(), strict=True):
            output.append(token)
        newest = pending.token_ids
        assert all(isinstance(token, SampledToken) for token in tokens)
    return statistics.median(prepare_us), statistics.median(whole_us)


def main() -> None:
    """Print a line for each length of text."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rows", type=int, default=16)
    parser.add_argument("--vocab", type=int, default=151936)
    parser.add_argument("--texts", type=int, nargs="+", default=[200, 4000])
    parser.add_argument("--steps", type=int, default=200)
    args = parser.parse_args()
    print(f"mlx {mx.__version__} on {mx.default_device()}, {platform.machine()}; {args.rows} rows; us a step")
    best: dict[int, tuple[float, float]] = {}
    for _ in range(ROUNDS):
        for text in args.texts:
            measured = measure(args.rows, args.vocab, text, args.steps)
            best[text] = min(best.get(text, measured), measured)
    for text, (prepare_us, whole_us) in best.items():
        print(f"text of {text:6}: prepare {prepare_us:9.0f}, whole {whole_us:9.0f}", flush=True)


if __name__ == "__main__":
    main()
