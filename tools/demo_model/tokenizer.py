"""The tokenizer: byte-level BPE, digits alone, words split from their space so that a name has one spelling."""
# ruff: noqa: E501

import json
import random
from collections.abc import Iterator
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from tools.demo_model.bank_train import TRAIN
from tools.demo_model.chat_format import TEMPLATE, render_example
from tools.demo_model.grammar import WORDS
from tools.demo_model.skills import training_conversation

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
MARKERS = [
    "<think>",
    "</think>",
    "<tool_call>",
    "</tool_call>",
    "<tool_response>",
    "</tool_response>",
    "<tools>",
    "</tools>",
]
LITTLE = (
    "the|a|an|of|to|in|on|at|is|are|was|were|be|been|it|its|and|or|not|no|for|from|by|with|as|that|this|you|your|i|me|my|we|us|our|he|she|his|her|they|them|do|does|did|can|will|would|could|should|may|must|"
    "have|has|had|what|which|who|where|when|how|why|if|then|so|but|only|all|any|there|here|one|more|up|out|into|about|said|told|tool|look|back"
)
SPLIT = (
    r"'(?:s|t|re|ve|m|ll|d)(?!\p{L})| (?:"
    + LITTLE
    + r")(?!\p{L})|\p{Lu}+(?!\p{Ll})|\p{Lu}?\p{Ll}+|\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\n+| |\s+"
)


def _texts(conversations: int, seed: int) -> Iterator[str]:
    r = random.Random(seed)
    for _ in range(conversations):
        c = training_conversation(r, TRAIN)
        yield "".join(render_example(c.messages, c.tools, c.think if r.random() < 0.3 else None))
    for w in WORDS:
        yield from (f"{w} {w}", f"{w} {w.capitalize()}") * 2


def build(folder: Path, vocabulary: int = 4096, conversations: int = 30000, seed: int = 7) -> Tokenizer:
    """Train the tokenizer and write its files."""
    t = Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(SPLIT), "isolated")
    t.pre_tokenizer = pre_tokenizers.Sequence(
        [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    t.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=SPECIAL + MARKERS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
        max_token_length=14,
    )
    t.train_from_iterator(_texts(conversations, seed), trainer)
    folder.mkdir(parents=True, exist_ok=True)
    spec = json.loads(t.to_str())
    for a in spec["added_tokens"]:
        a["special"] = a["content"] in SPECIAL
    (folder / "tokenizer.json").write_text(json.dumps(spec, ensure_ascii=False, indent=0), encoding="utf-8")
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "bos_token": None,
        "model_max_length": 32768,
        "clean_up_tokenization_spaces": False,
        "chat_template": TEMPLATE,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
    return Tokenizer.from_file(str(folder / "tokenizer.json"))
