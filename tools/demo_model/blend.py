"""Blend two trainings, rare tokens at their old length: python -m tools.demo_model.blend OLD NEW OUT."""

import argparse
from pathlib import Path

import mlx.core as mx

EMBEDDING = "model.embed_tokens.weight"
Weights = dict[str, mx.array]


def _lengths(table: mx.array) -> mx.array:
    return mx.linalg.norm(table, axis=1, keepdims=True)


def blend(old: Weights, new: Weights, share: float, least: float) -> Weights:
    """`share` of the new weights and the rest of the old ones.

    Tokens that the new training never asked for have lost length by weight decay and are no longer written,
    so every row of the embedding is stretched to at least `least` of its old length. Returns bf16 weights.
    """
    out = {k: share * v.astype(mx.float32) + (1 - share) * old[k].astype(mx.float32) for k, v in new.items()}
    had = _lengths(old[EMBEDDING].astype(mx.float32))
    out[EMBEDDING] = out[EMBEDDING] * mx.maximum(1.0, least * had / _lengths(out[EMBEDDING]))
    return {k: v.astype(mx.bfloat16) for k, v in out.items()}


def main() -> None:
    """Read two weight files and write the third."""
    p = argparse.ArgumentParser()
    p.add_argument("old", type=Path)
    p.add_argument("new", type=Path)
    p.add_argument("out", type=Path)
    p.add_argument("--share", type=float, default=0.7)
    p.add_argument("--least", type=float, default=0.92)
    a = p.parse_args()
    old, new = (mx.load(str(f)) for f in (a.old, a.new))
    mx.save_safetensors(str(a.out), blend(old, new, a.share, a.least), {"format": "mlx"})


if __name__ == "__main__":
    main()
