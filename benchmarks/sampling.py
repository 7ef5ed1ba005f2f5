"""Milliseconds a step spends in sampling, beside mlx-lm's sampler applied row by row, in one run.

    python benchmarks/sampling.py [--rows 1 16 64] [--vocab 4096 151936] [--repeats 7]

The peer gets log-probabilities that were normalised beforehand, outside its time; ours gets raw logits and
also checks them, keys every row by its seed and brings the tokens to the host. Rows are Zipf-like, p(rank)
about rank**-1.5, as next-token distributions are; best of the repeats, the two taking turns.
"""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Callable

import mlx.core as mx
import numpy as np
from mlx_lm.sample_utils import make_sampler

from vllm_mlx.core.sampling import SamplingParams
from vllm_mlx.core.steps import RowSampling
from vllm_mlx.sampling.batch import Sampler

SETTINGS = {
    "greedy": {"temperature": 0.0},
    "temperature": {"temperature": 0.8},
    "top-p": {"temperature": 0.8, "top_p": 0.95},
    "all filters": {"temperature": 0.8, "top_k": 40, "top_p": 0.95, "min_p": 0.02},
}


def zipf_logits(rows: int, vocab: int) -> mx.array:
    """Shuffled rows of -1.5 ln(rank) with a little noise, (rows, vocab) float32."""
    random = np.random.default_rng(0)
    ranked = -1.5 * np.log(np.arange(1, vocab + 1))
    table = np.stack([random.permutation(ranked) for _ in range(rows)])
    return mx.array((table + random.normal(size=table.shape) * 0.1).astype(np.float32))


def best_of(repeats: int, *steps: Callable[[], object]) -> list[float]:
    """The shortest time of each step in milliseconds; they take turns, so that noise hits both."""
    best = [float("inf")] * len(steps)
    for _ in range(repeats + 1):  # the first round warms up
        for i, step in enumerate(steps):
            start = time.perf_counter()
            step()
            best[i] = min(best[i], (time.perf_counter() - start) * 1e3)
    return best


def compare(name: str, rows: int, vocab: int, repeats: int) -> None:
    """Print one line of the table."""
    settings = SETTINGS[name]
    logits = zipf_logits(rows, vocab)
    logprobs = logits - mx.logsumexp(logits, axis=1, keepdims=True)
    mx.eval(logits, logprobs)
    batch = [RowSampling(SamplingParams(**settings), seed, 0, range(100), ()) for seed in range(rows)]
    ours = Sampler(vocab)
    peers = [make_sampler(**{"temp" if k == "temperature" else k: v for k, v in settings.items()})] * rows

    def peer_step() -> list[object]:
        tokens = mx.concatenate([sample(logprobs[i : i + 1]) for i, sample in enumerate(peers)])
        return tokens.tolist()

    mine, theirs = best_of(repeats, lambda: ours.sample(logits, batch), peer_step)
    print(f"{name:12} {rows:4} {vocab:7} {mine:9.2f} {theirs:9.2f} {theirs / mine:6.1f}x", flush=True)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 16, 64])
    parser.add_argument("--vocab", type=int, nargs="+", default=[4096, 151936])
    parser.add_argument("--repeats", type=int, default=7)
    args = parser.parse_args()
    print(f"mlx {mx.__version__} on {mx.default_device()}, {platform.machine()}; ms a step")
    print(f"{'settings':12} {'rows':>4} {'vocab':>7} {'ours':>9} {'mlx-lm':>9} {'ratio':>7}")
    for vocab in args.vocab:
        for rows in args.rows:
            for name in SETTINGS:
                compare(name, rows, vocab, args.repeats)


if __name__ == "__main__":
    main()
