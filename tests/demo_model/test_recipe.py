"""The recipe's promises: banks apart, seeds that decide, one chat format, small weights."""

import json
import random
import re
from collections.abc import Iterable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import jinja2
import pytest
from mlx_lm import generate, load
from tokenizers import Tokenizer
from tools.demo_model import bank_train_everyday, bank_train_real, frames
from tools.demo_model.answers import ANSWERS
from tools.demo_model.bank import Bank
from tools.demo_model.bank_dev import DEV
from tools.demo_model.bank_dev2 import DEV2
from tools.demo_model.bank_eval import FINAL
from tools.demo_model.bank_train import TRAIN
from tools.demo_model.chat_format import render_example, render_prompt
from tools.demo_model.data import TARGET, documents, pack
from tools.demo_model.grammar import expand
from tools.demo_model.judge import right
from tools.demo_model.skills import JUDGED, judged_conversation, training_conversation

MODEL = Path(__file__).resolve().parents[2] / "src/vllm_mlx/models/demo"


def strings(x: Any) -> Iterator[str]:
    """Every string within."""
    if isinstance(x, str):
        yield x
    elif isinstance(x, dict | list | tuple):
        for y in x.values() if isinstance(x, dict) else x:
            yield from strings(y)


def grammars() -> set[str]:
    """The training text that stands beside the bank: grammars of requests, everyday tools."""
    skills = ("arithmetic", "extract", "pairs", "recall", "schemas")
    modules = [import_module(f"tools.demo_model.skills.{s}") for s in skills]
    modules += [frames, bank_train_everyday, bank_train_real]
    return {t for m in modules for k, v in vars(m).items() if k.isupper() for t in strings(v)}


def eight_grams(templates: Iterable[str], expansions: int = 40) -> set[tuple[str, ...]]:
    """Eight words in a row of a template, its slots masked, in many of its expansions."""
    r, out = random.Random(0), set[tuple[str, ...]]()
    for t in sorted(set(templates)):
        for _ in range(expansions if "[" in t else 1):
            words = re.sub(r"\{\w+\}", " {} ", expand(r, t)).lower()
            w = re.findall(r"\{\}|[a-z0-9'/_-]+", words)
            out |= {tuple(w[i : i + 8]) for i in range(len(w) - 7)}
    return out


def test_no_eight_words_of_a_template_are_shared() -> None:
    train = eight_grams([*TRAIN.templates(), *grammars()])
    assert len(train) > 1000
    assert not train & eight_grams(FINAL.templates(), 200)


@pytest.mark.parametrize("bank", [DEV, DEV2, FINAL])
def test_names_things_and_arguments_are_absent_from_training(bank: Bank) -> None:
    for f in ("first", "place", "prop", "keys", "thing", "nouns"):
        assert not set(getattr(bank, f)) & set(getattr(TRAIN, f)), f
    names = {n for k in TRAIN.args.values() for n in k.names}
    assert not names & {n for k in bank.args.values() for n in k.names}
    assert not {v.name for v in TRAIN.verbs} & {v.name for v in bank.verbs}
    if bank is FINAL:
        deeds = {w for d in frames.DEEDS.values() for w in re.split(r"[| ]", d)}
        assert not deeds & {v.name for v in bank.verbs}
    assert set(bank.chat) == set(ANSWERS) == set(TRAIN.chat)


def test_no_whole_template_is_shared_with_the_final_bank() -> None:
    shared = {t for t in FINAL.templates() if len(t.split()) > 4} & set(TRAIN.templates())
    assert not shared


def test_the_seed_decides_the_text() -> None:
    def text(seed: int) -> list[tuple[str, str]]:
        r = random.Random(seed)
        cs = [training_conversation(r, TRAIN) for _ in range(50)]
        return [render_example(c.messages, c.tools, c.think) for c in cs]

    assert text(3) == text(3) != text(4)
    a, b = (judged_conversation("recall", 5, FINAL) for _ in range(2))
    assert a == b


@pytest.mark.parametrize("skill", JUDGED)
def test_the_right_answer_is_judged_right_and_another_wrong(skill: str) -> None:
    cases = [judged_conversation(skill, i, FINAL) for i in range(30)]
    for c in cases:
        answer = render_example(c.messages, c.tools, c.think)[1].removesuffix("<|im_end|>")
        assert right(c.check, answer)
        assert not right(c.check, "I hear the rain.")


def test_the_tokenizer_keeps_every_byte() -> None:
    t = Tokenizer.from_file(str(MODEL / "tokenizer.json"))
    assert 4000 <= t.get_vocab_size() <= 8000
    for text in (
        bytes(range(128)).decode(),
        "".join(map(chr, range(128, 2048))),
        "Grüße 你好 🙂\n\n  x  12,345.6",
    ):
        assert t.decode(t.encode(text, add_special_tokens=False).ids, skip_special_tokens=False) == text
    for marker in ("<think>", "</tool_call>", "<|im_end|>"):
        assert len(t.encode(marker, add_special_tokens=False).ids) == 1


def template_text(messages: list[dict[str, Any]], tools: list[dict[str, Any]], **extra: Any) -> str:
    """What the shipped Jinja template writes."""
    env = jinja2.Environment(trim_blocks=True, lstrip_blocks=True)
    env.filters["tojson"] = lambda x: json.dumps(x, ensure_ascii=False)
    source = json.loads((MODEL / "tokenizer_config.json").read_text(encoding="utf-8"))["chat_template"]
    return env.from_string(source).render(
        messages=messages, tools=tools or None, add_generation_prompt=True, **extra
    )


@pytest.mark.parametrize("skill", JUDGED)
def test_the_template_writes_what_was_trained(skill: str) -> None:
    for i in range(25):
        c = judged_conversation(skill, i, DEV)
        asked = c.messages[:-1]
        assert template_text(asked, c.tools) == render_prompt(asked, c.tools, True)
        assert template_text(asked, c.tools, enable_thinking=False) == render_prompt(asked, c.tools, False)


def test_the_template_reads_what_clients_send() -> None:
    call = {"type": "function", "id": "1", "function": {"name": "f", "arguments": '{"a": 1}'}}
    text = template_text(
        [
            {"role": "user", "content": [{"type": "text", "text": "Go"}]},
            {"role": "assistant", "content": None, "tool_calls": [call, call]},
            {"role": "tool", "content": "1"},
            {"role": "tool", "content": "2"},
        ],
        [],
    )
    assert "<|im_start|>user\nGo<|im_end|>\n" in text
    assert text.count('{"name": "f", "arguments": {"a": 1}}') == 2
    assert (
        "<|im_start|>user\n<tool_response>\n1\n</tool_response>\n<tool_response>\n2\n</tool_response><|im_end|>"
        in text
    )
    old = template_text(
        [
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": "<think>\nx\n</think>\n\nb"},
            {"role": "user", "content": "c"},
        ],
        [],
    )
    assert "<think>" not in old


def test_rows_are_full_and_mark_the_answers() -> None:
    t = Tokenizer.from_file(str(MODEL / "tokenizer.json"))
    bins: list[list[int]] = [[] for _ in range(4)]
    rows = list(pack(documents(t, random.Random(1), 0.4, 64), bins, 1025))
    assert rows
    assert all(len(row) == 1025 for row in rows)
    assert any(k & TARGET for k in rows[0])


def test_the_files_are_small_and_mlx_lm_loads_them() -> None:
    assert (MODEL / "model.safetensors").stat().st_size <= 12_000_000
    config = json.loads((MODEL / "config.json").read_text(encoding="utf-8"))
    assert config["model_type"] == "qwen3"
    assert config["max_position_embeddings"] == 32768
    model, tokenizer = load(str(MODEL))[:2]
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Hello!"}], add_generation_prompt=True, enable_thinking=False
    )
    assert "demo model of vllm-mlx" in generate(model, tokenizer, prompt, max_tokens=40)
