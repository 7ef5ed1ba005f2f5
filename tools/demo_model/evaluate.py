"""Greedy accuracy per skill on held-out text: python -m tools.demo_model.evaluate FOLDER [--bank final] [--json FILE]."""
# ruff: noqa: E501

import argparse
import json
import random
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tools.demo_model.bank import Bank
from tools.demo_model.bank_dev import DEV
from tools.demo_model.bank_dev2 import DEV2
from tools.demo_model.chat_format import render_example
from tools.demo_model.grammar import Conversation
from tools.demo_model.judge import right
from tools.demo_model.skills import JUDGED, judged_conversation
from tools.demo_model.skills.extract import find
from tools.demo_model.skills.recall import recall
from vllm_mlx import LLM, SamplingParams
from vllm_mlx.chat.tokenizer import Tokenizer
from vllm_mlx.config import EngineConfig

GOALS = {"recall": 95, "copy and extract": 95, "arithmetic": 95, "tool call": 95}
LENGTHS = (512, 1024, 1536, 2048, 3072, 4096)
# More tokens of prompt than this are not computed at a time: a long length takes fewer cases.
LENGTH_TOKENS = 131_072
MOST_TOKENS = 256


def bank_of(name: str) -> Bank:
    """The bank with this name; the final one is read only when it is asked for."""
    if name in ("dev", "dev2"):
        return DEV if name == "dev" else DEV2
    from tools.demo_model.bank_eval import FINAL

    return FINAL


class Judged:
    """The model under judgement, behind our own engine: the batch it is given changes no answer."""

    def __init__(self, folder: Path) -> None:
        self.tokenizer = Tokenizer.load(folder)
        # Fewer rows than the default: on a CPU every row is read as long as the longest beside it. And nobody
        # reads along, so prompts need not be read in the small pieces that keep streams flowing.
        self._llm = LLM(str(folder), engine=EngineConfig(max_num_seqs=32, max_itl_ms=0.0, timeout=3600.0))

    def count(self, text: str) -> int:
        """Tokens of a text."""
        return len(self.tokenizer.encode(text, add_special_tokens=False))

    def answers(self, cases: list[Conversation], thinking: bool) -> list[tuple[str, str]]:
        """(prompt, answer) of each case, greedy, the whole answer up to its end token."""
        prompts = [render_example(c.messages, c.tools, c.think if thinking else None)[0] for c in cases]
        texts = [""] * len(prompts)
        # Like lengths together, and not so many at a time that they would queue for their deadline.
        order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
        for at in range(0, len(order), 256):
            part = order[at : at + 256]
            greedy = SamplingParams(temperature=0, max_tokens=MOST_TOKENS)
            for i, result in zip(part, self._llm.generate([prompts[i] for i in part], greedy), strict=True):
                texts[i] = result.text
        return list(zip(prompts, texts, strict=True))

    def close(self) -> None:
        """Free the model."""
        self._llm.close()


def judge_skills(model: Judged, bank: Bank, n: int, thinking: bool, show: int) -> dict[str, float]:
    """Per cent right of every skill and kind; prints some misses of each."""
    cases = [(s, judged_conversation(s, i, bank)) for s in JUDGED for i in range(n)]
    marks: dict[str, list[bool]] = defaultdict(list)
    misses: dict[str, list[tuple[str, str, str]]] = defaultdict(list)
    got = model.answers([c for _, c in cases], thinking)
    for (s, c), (prompt, text) in zip(cases, got, strict=True):
        ok = right(c.check, text)
        marks[s].append(ok)
        marks["stops by itself"].append(model.count(text) < MOST_TOKENS - 2)
        if "kind" in c.check:
            marks[f"{s}: {c.check['kind']}"].append(ok)
        if not ok:
            misses[s].append((prompt, render_example(c.messages, c.tools, c.think)[1], text))
    for s, rows in misses.items():
        for prompt, want, text in rows[:show]:
            tools = (
                prompt.split("<tools>\n")[1].split("\n</tools>")[0][-700:]
                if s.startswith("tool call")
                else ""
            )
            print(
                f"MISS {s}: {tools} {prompt[-330:].removesuffix('<|im_start|>assistant' + chr(10))!r}\n   want {want!r}\n   got  {text[:300]!r}"
            )
    return {k: round(100 * sum(v) / len(v), 1) for k, v in marks.items()}


def judge_lengths(
    model: Judged, bank: Bank, n: int, lengths: Sequence[int] = LENGTHS
) -> dict[str, dict[str, float]]:
    """Per cent right of recall and of finding a fact in prompts of about so many tokens, direct."""
    table: dict[str, dict[str, float]] = {}
    for length in lengths:
        cases = max(1, min(n, LENGTH_TOKENS // length))
        table[str(length)] = {
            "cases": cases,
            **_judge_length(model, "recall", length, cases, lambda r, k: recall(r, bank, fillers=k // 50)),
            **_judge_length(model, "find", length, cases, lambda r, k: find(r, bank, length=k // 3)),
        }
        print(length, json.dumps(table[str(length)]), flush=True)
    return table


def _judge_length(
    model: Judged, name: str, length: int, n: int, make: Callable[[random.Random, int], Conversation]
) -> dict[str, float]:
    cases = [make(random.Random(f"{name} {length} {i}"), length) for i in range(n)]
    got = model.answers(cases, False)
    hits = sum(right(c.check, text) for c, (_, text) in zip(cases, got, strict=True))
    tokens = sum(model.count(prompt) for prompt, _ in got)
    return {name: round(100 * hits / n, 1), f"{name} tokens": round(tokens / n)}


def evaluate(model: Judged, bank_name: str, n: int, show: int = 3, lengths: bool = True) -> dict[str, Any]:
    """The whole table of a bank."""
    bank, start = bank_of(bank_name), time.time()
    table: dict[str, Any] = {"bank": bank_name, "cases": n}
    for mode, thinking in (("direct", False), ("thinking", True)):
        table[mode] = judge_skills(model, bank, n, thinking, show)
        print(mode, json.dumps(table[mode]), f"{time.time() - start:.0f} s", flush=True)
    if lengths:
        table["lengths"] = judge_lengths(model, bank, max(20, n // 3))
        print(json.dumps(table["lengths"]), f"{time.time() - start:.0f} s", flush=True)
    return table


def main() -> None:
    """Load a folder and print its table."""
    p = argparse.ArgumentParser()
    p.add_argument("folder", type=Path)
    p.add_argument("--bank", choices=("dev", "dev2", "final"), default="dev")
    p.add_argument("--cases", type=int, default=300)
    p.add_argument("--show", type=int, default=3)
    p.add_argument("--no-lengths", action="store_true")
    p.add_argument("--only-lengths", type=int, nargs="*", help="no skills, only these prompt lengths")
    p.add_argument("--json", type=Path)
    a = p.parse_args()
    model = Judged(a.folder)
    if a.only_lengths is not None:
        lengths = judge_lengths(model, bank_of(a.bank), a.cases, a.only_lengths or LENGTHS)
        table: dict[str, Any] = {"bank": a.bank, "lengths": lengths}
    else:
        table = evaluate(model, a.bank, a.cases, a.show, not a.no_lengths)
    model.close()
    if a.json:
        a.json.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
