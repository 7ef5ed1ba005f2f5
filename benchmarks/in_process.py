"""Tokens a second of our own `LLM`, in its process, on the load that `concurrency.py` sends to servers.

Prints a list of figures as JSON, one for each level; `concurrency.py --in-process` runs it among the servers.
"""

from __future__ import annotations

import argparse
import json
import time
from concurrent.futures import ThreadPoolExecutor

from benchmarks.load import Load, prompts_of
from vllm_mlx import LLM, SamplingParams


def main() -> None:
    """Measure each level after a warm-up of the same size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--levels", default="1,4,16")
    parser.add_argument("--prompt-words", type=int, default=100)
    parser.add_argument("--max-tokens", type=int, default=64)
    parser.add_argument("--requests-per-slot", type=int, default=2)
    arguments = parser.parse_args()
    figures = []
    with LLM(arguments.model) as llm:
        for level in map(int, arguments.levels.split(",")):
            for seed in (1000 + level, level):  # the first is the warm-up
                load = Load(
                    concurrency=level,
                    requests=level * arguments.requests_per_slot,
                    prompt_words=arguments.prompt_words,
                    max_tokens=arguments.max_tokens,
                    seed=seed,
                )
                tokens_per_s = measure(llm, load)
            figures.append({"concurrency": level, "tokens_per_s": tokens_per_s})
    print(json.dumps(figures))


def measure(llm: LLM, load: Load) -> float:
    """Generated tokens a second, prompts included, with so many chats at a time."""
    sampling = SamplingParams(temperature=0.0, max_tokens=load.max_tokens, ignore_eos=True)
    begun = time.perf_counter()
    with ThreadPoolExecutor(load.concurrency) as slots:
        results = list(slots.map(lambda prompt: llm.chat(prompt, sampling), prompts_of(load)))
    return sum(result.usage.completion_tokens for result in results) / (time.perf_counter() - begun)


if __name__ == "__main__":
    main()
