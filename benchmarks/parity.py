"""Are the engine's tokens those of mlx-lm's `generate_step`, in churn and on this device?

    MLX_ENABLE_TF32=0 python benchmarks/parity.py [MODEL_DIR] [--dtype float32] [--requests 40] [--tokens 48]

Requests of random lengths, a third of which share a prefix, join three a step; greedy. Twice: with the
default settings, and with small steps and chunks. Where a text differs, the gap between the two likeliest
logits at the first difference is printed: in 16 bits a gap of nothing may fall either way.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import mlx.core as mx
import msgspec
import numpy as np
from mlx_lm.generate import generate_step
from mlx_lm.utils import load_model

from vllm_mlx.config import CacheConfig, EngineConfig, ModelConfig
from vllm_mlx.core.sampling import NEUTRAL
from vllm_mlx.engine.loop import EngineLoop
from vllm_mlx.engine.wire import EngineRequest
from vllm_mlx.models.source import resolve_model
from vllm_mlx.runners.build import build_runner

_LONGEST = 900


def expected(
    folder: Path, dtype: str, prompts: list[list[int]], tokens: int
) -> list[list[tuple[int, float]]]:
    """By prompt: each token, and how far it was ahead of the next likeliest."""
    model, _ = load_model(folder)
    model.set_dtype(getattr(mx, dtype))
    found = []
    for prompt in prompts:
        steps = []
        for token, logprobs in generate_step(mx.array(prompt), model, max_tokens=tokens):
            second, first = mx.sort(logprobs)[-2:].tolist()
            steps.append((int(token), first - second))
        found.append(steps)
    return found


def served(engine: EngineLoop, prompts: list[list[int]], tokens: int) -> list[list[int]]:
    """The engine's texts of these prompts, which arrive three a step."""
    sampling = msgspec.structs.replace(NEUTRAL, temperature=0.0, max_tokens=tokens)
    waiting: list[Any] = [
        EngineRequest(request_id=str(i), prompt_ids=prompt, sampling=sampling, seed=0)
        for i, prompt in enumerate(prompts)
    ]
    texts: list[list[int]] = [[] for _ in prompts]
    while waiting or engine.has_work:
        arriving, waiting = waiting[:3], waiting[3:]
        for output in engine.iterate(arriving):
            if output.error:
                raise RuntimeError(f"a request failed: {output}")
            texts[int(output.request_id)] += output.token_ids
    return texts


def main() -> None:
    """Print a line for each settings, and one for each text that differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=None, help="default: the bundled model")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--requests", type=int, default=40)
    parser.add_argument("--tokens", type=int, default=48)
    args = parser.parse_args()
    folder = args.folder or resolve_model("demo", offline=True)
    random = np.random.default_rng(1)
    prefix = random.integers(0, 500, 200).tolist()
    lengths = random.integers(1, _LONGEST - len(prefix), args.requests).tolist()
    prompts = [
        prefix * (i % 3 == 0) + random.integers(0, 500, length).tolist() for i, length in enumerate(lengths)
    ]
    wanted = expected(folder, args.dtype, prompts, args.tokens)
    limit = _LONGEST + args.tokens + 16
    small = EngineConfig(
        max_model_len=limit, max_num_seqs=12, max_num_batched_tokens=333, prefill_step_size=100
    )
    for config in (EngineConfig(max_model_len=limit), small):
        runner = build_runner(folder, ModelConfig(model=str(folder), dtype=args.dtype), config, CacheConfig())
        engine = EngineLoop(runner, config, CacheConfig())
        texts = served(engine, prompts, args.tokens)
        same = sum(text == [token for token, _ in steps] for text, steps in zip(texts, wanted, strict=True))
        path = runner.capabilities.path
        print(f"{path.device} {path.dtype}, {path.reason}: {same} of {len(prompts)} texts equal", flush=True)
        for i, (text, steps) in enumerate(zip(texts, wanted, strict=True)):
            for place, (ours, (theirs, gap)) in enumerate(zip(text, steps, strict=False)):
                if ours != theirs:
                    print(f"  request {i} differs at token {place}, where the likeliest led by {gap:.3g}")
                    break
        engine.close()
        runner.close()


if __name__ == "__main__":
    main()
