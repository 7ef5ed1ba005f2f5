"""A tokenizer built in code: one token a byte, ChatML turns, Qwen3's tags and tool calls.

Characters beyond ASCII are several tokens, so that every test of text sees them cut apart.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

END_OF_TURN = "<|im_end|>"

TEMPLATE = """\
{%- if tools -%}
{{- '<|im_start|>system\\n' -}}
{%- if messages[0].role == 'system' -%}{{- messages[0].content + '\\n\\n' -}}{%- endif -%}
{{- '<tools>' -}}
{%- for tool in tools -%}{{- '\\n' + (tool | tojson) -}}{%- endfor -%}
{{- '\\n</tools>\\nCall one with <tool_call>{"name": ..., "arguments": ...}</tool_call><|im_end|>\\n' -}}
{%- endif -%}
{%- for message in messages -%}
{%- if message.role == 'tool' -%}
{{- '<|im_start|>user\\n<tool_response>\\n' + message.content + '\\n</tool_response><|im_end|>\\n' -}}
{%- elif message.role != 'system' or not tools -%}
{{- '<|im_start|>' + message.role + '\\n' + (message.content or '') -}}
{%- for call in message.tool_calls or [] -%}
{{- '<tool_call>\\n{"name": ' + (call.function.name | tojson) + ', "arguments": ' -}}
{{- (call.function.arguments | tojson) + '}\\n</tool_call>' -}}
{%- endfor -%}
{{- '<|im_end|>\\n' -}}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- '<|im_start|>assistant\\n' -}}
{%- if enable_thinking is defined and enable_thinking is false -%}
{{- '<think>\\n\\n</think>\\n\\n' -}}
{%- endif -%}
{%- endif -%}
"""

CONTROL = ("<|im_start|>", END_OF_TURN)
TAGS = ("<think>", "</think>", "<tool_call>", "</tool_call>")


def save_chat_tokenizer(
    folder: Path, *, vocab_size: int | None = None, pieces: Sequence[str] | None = None
) -> None:
    """Write tokenizer.json and tokenizer_config.json into a model folder.

    Args:
        vocab_size: fill up to so many ids with names in angle brackets, which no text is encoded to.
        pieces: tags are plain text, and these are tokens wherever they stand.
    """
    letters = pre_tokenizers.ByteLevel.alphabet()
    vocabulary = {letter: i for i, letter in enumerate(sorted(letters))}
    merges = []
    split = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=pieces is None)
    for piece in pieces or ():
        [(spelled, _)] = split.pre_tokenize_str(piece)
        for end in range(1, len(spelled)):
            merges.append((spelled[:end], spelled[end]))
            vocabulary.setdefault(spelled[: end + 1], len(vocabulary))
    tags = TAGS if pieces is None else ()
    added = len(CONTROL) + len(tags)
    if vocab_size is not None:
        vocabulary |= {f"<{i}>": i for i in range(len(vocabulary), vocab_size - added)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    tokenizer.pre_tokenizer = split
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_tokens([AddedToken(text, special=True) for text in CONTROL])
    tokenizer.add_tokens([AddedToken(text, special=False) for text in tags])
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": END_OF_TURN,
        "chat_template": TEMPLATE,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")


def save_text_side(
    folder: Path, *, vocab_size: int | None = None, pieces: Sequence[str] | None = None
) -> None:
    """A model folder for a runner that needs no weights: tokenizer, config, and an empty weight file."""
    save_chat_tokenizer(folder, vocab_size=vocab_size, pieces=pieces)
    config = {"model_type": "qwen3", "vocab_size": vocab_size or 512}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
