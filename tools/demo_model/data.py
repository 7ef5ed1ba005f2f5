"""Fresh training text while the model trains: worker processes write shards, the trainer eats them."""

import glob
import multiprocessing
import os
import random
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from tools.demo_model.bank_train import TRAIN
from tools.demo_model.chat_format import render_example
from tools.demo_model.skills import training_conversation

TARGET = 0x8000  # the bit that marks a token which the model must write
SHARD_ROWS = 128
MOST_SHARDS = 400
PAUSE = threading.Event()  # never set: waiting on it is a nap
Rows = NDArray[np.uint16]


def documents(tokenizer: Tokenizer, r: random.Random, thinking: float, n: int = 256) -> Iterator[list[int]]:
    """Tokens of n conversations, the answers marked, each with the end-of-text token after it."""
    texts: list[str] = []
    for _ in range(n):
        c = training_conversation(r, TRAIN)
        texts += render_example(c.messages, c.tools, c.think if r.random() < thinking else None)
    encoded = tokenizer.encode_batch(texts, add_special_tokens=False)
    for i in range(0, len(encoded), 2):
        yield encoded[i].ids + [k | TARGET for k in encoded[i + 1].ids] + [0]


def pack(docs: Iterator[list[int]], bins: list[list[int]], size: int) -> Iterator[list[int]]:
    """Full rows of `size` tokens; the bins keep what is not full yet."""
    for doc in docs:
        if len(doc) > size:
            continue
        fit = [b for b in bins if len(b) + len(doc) <= size]
        if fit:
            max(fit, key=len).extend(doc)
            continue
        b = max(bins, key=len)
        yield b + [0] * (size - len(b))
        b[:] = doc


def write_shards(folder: str, tokenizer_file: str, seed: int, size: int, thinking: float) -> None:
    """Write shards until the file `stop` appears."""
    t, r = Tokenizer.from_file(tokenizer_file), random.Random(seed)
    bins: list[list[int]] = [[] for _ in range(12)]
    rows: list[list[int]] = []
    n = 0
    while not os.path.exists(folder + "/stop"):
        if len(glob.glob(folder + "/s*.npy")) > MOST_SHARDS:
            PAUSE.wait(0.2)
            continue
        rows += pack(documents(t, r, thinking), bins, size)
        if len(rows) >= SHARD_ROWS:
            np.save(f"{folder}/part-{seed}", np.array(rows[:SHARD_ROWS], dtype=np.uint16))
            os.rename(f"{folder}/part-{seed}.npy", f"{folder}/s{n:06}-{seed}.npy")
            rows = rows[SHARD_ROWS:]
            n += 1


def start_workers(
    folder: Path, tokenizer_file: Path, workers: int, seed: int, size: int, thinking: float
) -> list[multiprocessing.process.BaseProcess]:
    """Start the processes that write; each has its own seed."""
    os.environ.update(RAYON_NUM_THREADS="1", TOKENIZERS_PARALLELISM="false")
    context = multiprocessing.get_context("spawn")
    args = [(str(folder), str(tokenizer_file), 1000 * seed + i, size, thinking) for i in range(workers)]
    processes = [context.Process(target=write_shards, args=a, daemon=True) for a in args]
    for p in processes:
        p.start()
    return list(processes)


def batches(folder: Path, batch: int, counts: dict[str, int]) -> Iterator[Rows]:
    """Batches of fresh shards as they come; when the writers fall behind, of an old one again."""
    old: list[Rows] = []
    r = random.Random(0)
    while True:
        new = sorted(glob.glob(f"{folder}/s*.npy"))[:16]
        if not new and not old:
            PAUSE.wait(0.05)
            continue
        fresh = [np.load(f) for f in new]
        for f in new:
            os.remove(f)
        counts["fresh" if new else "again"] += sum(a.size for a in fresh) or old[0].size
        old = (old + fresh)[-100:]
        for a in fresh or [r.choice(old)]:
            for i in range(0, len(a) - batch + 1, batch):
                yield a[i : i + batch]
