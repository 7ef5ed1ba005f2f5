"""What a grammar costs: tokens a second of rows of which none, one or all are constrained, taking turns.

    python -m benchmarks.constrained [MODEL_DIR] [--rows 1 16 64] [--prompt 100] [--tokens 64] [--rounds 9]
        [--forms records "short strings"] [--lone]

All rows of a turn arrive together and generate as many tokens each; the prompts are random and share
nothing. `decode` counts the time after every row has its first token, `first` is the time until then.
Shared machines change their speed within seconds: so turns are short, each is compared with the mean of the
free turns before and after it, and what is printed are medians of that. `mask` is what one call for the
masks of all rows takes, by itself.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import threading
import time
from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path

import mlx.core as mx
import msgspec
import numpy as np

from vllm_mlx.config import CacheConfig, EngineConfig, ModelConfig
from vllm_mlx.core.constraints import JsonSchema
from vllm_mlx.core.heap import keep_what_is_there
from vllm_mlx.core.sampling import NEUTRAL
from vllm_mlx.engine.loop import EngineLoop
from vllm_mlx.engine.wire import EngineRequest
from vllm_mlx.models.source import resolve_model
from vllm_mlx.runners.build import build_runner
from vllm_mlx.structured.compiling import Grammars, grammars_of
from vllm_mlx.structured.gate import Gate
from vllm_mlx.structured.grammar import grammar_of
from vllm_mlx.structured.masks import Masks


def _records(**properties: object) -> str:
    """The grammar of a long list of objects with these properties."""
    item = {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
    schema = {"type": "array", "items": item, "minItems": 1000}
    return grammar_of(JsonSchema(schema), lambda _: None)


_KIND = {"enum": ["first", "second", "third"]}
_AGE = {"type": "integer", "minimum": 0, "maximum": 130}
GRAMMARS = {
    # What random weights say still ends every string soon, and so comes by all parts of a record.
    "records": _records(
        name={"type": "string", "pattern": "^[A-Z][a-z]{1,9}( [A-Z][a-z]{1,9})?$"},
        age=_AGE,
        kind=_KIND,
        since={"type": "string", "format": "date"},
    ),
    # Every token that is too long must be found out anew as the room shrinks: the dearest masks we know.
    "short strings": _records(name={"type": "string", "maxLength": 20}, age=_AGE, kind=_KIND),
}


def turn(
    engine: EngineLoop, prompts: list[list[int]], constrained: int, tokens: int, grammar: str
) -> tuple[float, float]:
    """Decoded tokens a second, and seconds until every row has its first token."""
    sampling = msgspec.structs.replace(NEUTRAL, temperature=0.0, max_tokens=tokens)
    commands = [
        EngineRequest(
            request_id=str(i),
            prompt_ids=ids,
            sampling=sampling,
            seed=0,
            grammar=grammar if i < constrained else None,
        )
        for i, ids in enumerate(prompts)
    ]
    begun = filled = ended = time.perf_counter()
    waiting = {request.request_id for request in commands}
    after = 0
    outputs = engine.iterate(commands)
    while engine.has_work or outputs:
        if any(output.error for output in outputs):
            raise RuntimeError(f"a request failed: {outputs}")
        ended = time.perf_counter()
        if waiting:
            waiting -= {output.request_id for output in outputs if output.token_ids}
            filled = ended
        else:
            after += sum(len(output.token_ids) for output in outputs)
        if engine.wait_s:
            threading.Event().wait(engine.wait_s)
        outputs = engine.iterate([])
    return after / (ended - filled), filled - begun


def compared(
    measured: Callable[[int], tuple[float, float]], constrained: int, rounds: int
) -> list[tuple[float, float, float, float]]:
    """For each round tokens a second, their ratio to free ones, seconds to the first, and how much later."""
    results = []
    before = measured(0)
    for _ in range(rounds):
        decode, first = measured(constrained)
        after = measured(0)
        free, begun = ((a + b) / 2 for a, b in zip(before, after, strict=True))
        results.append((decode, decode / free, first, first - begun))
        before = after
    return results


def mask_time(grammars: Grammars, grammar: str, vocab_size: int, rows: int, steps: int = 100) -> float:
    """Seconds a call for the masks of so many rows, each of which says something else that is allowed."""
    compilation = grammars.begin(grammar)
    while (matcher := grammars.poll(compilation)) is None:
        threading.Event().wait(0.01)
    gates = {i: Gate(matcher.copy(), None) for i in range(rows)}
    masks, chance, spent = Masks(vocab_size), np.random.default_rng(0), 0.0
    for _ in range(steps):
        begun = time.perf_counter()
        mask, _ = masks.fill(gates)
        spent += time.perf_counter() - begun
        if mask is None:
            raise RuntimeError("a grammar binds no row")
        for gate, words in zip(gates.values(), np.asarray(mask.bits), strict=True):
            allowed = np.flatnonzero(np.unpackbits(words.view(np.uint8), bitorder="little"))
            gate.take(int(chance.choice(allowed)))
    masks.close()
    return spent / steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=None, help="default: the bundled model")
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 16, 64])
    parser.add_argument("--prompt", type=int, default=100)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--forms", nargs="+", choices=list(GRAMMARS), default=list(GRAMMARS))
    parser.add_argument("--lone", action="store_true", help="only with one row constrained")
    args = parser.parse_args()
    folder = args.folder or resolve_model("demo", offline=True)
    config = EngineConfig(max_model_len=args.prompt + args.tokens + 16)
    cache = CacheConfig(enable_prefix_cache=False)
    runner = build_runner(folder, ModelConfig(model=str(folder)), config, cache)
    vocab_size = runner.capabilities.vocab_size
    grammars = grammars_of(folder, vocab_size)
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    path = runner.capabilities.path
    print(
        f"# {folder.name}, vocabulary {vocab_size}, {path.device} {path.dtype}, overlap "
        f"{runner.capabilities.overlap}, mlx {mx.__version__}, commit {commit.stdout.strip()}"
    )
    engine = EngineLoop(runner, config, cache, grammars=grammars)
    keep_what_is_there()  # as `serve` does
    chance = np.random.default_rng(0)

    def measured(rows: int, constrained: int, grammar: str) -> tuple[float, float]:
        prompts = chance.integers(0, min(500, vocab_size), (rows, args.prompt)).tolist()
        return turn(engine, prompts, constrained, args.tokens, grammar)

    for rows, name in product(args.rows, args.forms):
        grammar = GRAMMARS[name]
        for constrained in (0, 1, rows):  # warms up
            measured(rows, constrained, grammar)
        per_call = mask_time(grammars, grammar, vocab_size, rows)
        print(f"{rows} rows, {name}: mask {1e6 * per_call:.0f} us a step, {1e6 * per_call / rows:.1f} a row")
        for constrained in dict.fromkeys((1,) if args.lone else (1, rows)):
            results = compared(partial(measured, rows, grammar=grammar), constrained, args.rounds)
            decode, ratio, first, later = (statistics.median(values) for values in zip(*results, strict=True))
            low, _, high = statistics.quantiles((each[1] for each in results), n=4)
            print(
                f"  {constrained:3} constrained: decode {decode:8.1f} tok/s, {ratio:.3f} of free (half of "
                f"the turns {low:.3f} to {high:.3f}), first {1e3 * first:7.1f} ms ({1e3 * later:+.1f})",
                flush=True,
            )
    engine.close()
    runner.close()


if __name__ == "__main__":
    main()
