"""Small tokenizers of every kind that matters, built here, saved as model folders."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from vllm_mlx.chat.template import ChatTemplate
from vllm_mlx.chat.tokenizer import Tokenizer as ModelTokenizer

TAGS = ("<think>", "</think>")

CORPUS = [
    "The quick brown fox jumps over the lazy dog. Isn't it? 'Tis so, they say .",
    "Caf\u00e9 na\u00efve \u65e5\u672c\u8a9e \u4f60\u597d \U0001f600\U0001f468\u200d\U0001f469 \u03bb",
    '{"name": "f", "arguments": {"x": 1}}\n\n    indented  twice',
] * 3

CHATML = """\
{%- for m in messages -%}
{{- '<|im_start|>' + m.role + '\\n' -}}
{%- if m.reasoning_content -%}{{- '<think>\\n' + m.reasoning_content + '\\n</think>\\n\\n' -}}{%- endif -%}
{{- m.content -}}
{%- for c in m.tool_calls or [] -%}
{{- '<tool_call>' + c.function.name + ' ' + (c.function.arguments | tojson) + '</tool_call>' -}}
{%- endfor -%}
{{- '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if tools -%}{{- '<tools>' + (tools | tojson) + '</tools>' -}}{%- endif -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}
{%- if enable_thinking is defined and enable_thinking -%}{{- '<think>\\n' -}}{%- endif -%}
{%- endif -%}
"""

ADDED = [
    AddedToken("<|im_start|>", special=True),
    AddedToken("<|im_end|>", special=True),
    AddedToken("<think>", special=False),
    AddedToken("[TOOL]", special=True),
    AddedToken("\u2581odd \u00e9", special=False),
]


def save(folder: Path, backend: Tokenizer, **config: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    backend.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|im_end|>", **config}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    (folder / "config.json").write_text(json.dumps({"model_type": "qwen3"}))
    return folder


def byte_level() -> Tokenizer:
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    backend.train_from_iterator(
        CORPUS, trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False)
    )
    backend.add_tokens(ADDED)
    return backend


def sentencepiece(decoder: Any) -> Tokenizer:
    """BPE with byte fallback, as Llama 2 has it: 256 byte tokens and pieces that write spaces as U+2581."""
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    trained.train_from_iterator([CORPUS[0]], trainers.BpeTrainer(vocab_size=120, show_progress=False))
    spec = json.loads(trained.to_str())["model"]
    vocab = {"<unk>": 0, **{f"<0x{byte:02X}>": byte + 1 for byte in range(256)}}
    for piece in [*spec["vocab"], "\u2581\u2581", "\u65e5"]:
        vocab.setdefault(piece, len(vocab))
    backend = Tokenizer(
        models.BPE(vocab, [tuple(merge) for merge in spec["merges"]], byte_fallback=True, unk_token="<unk>")
    )
    backend.normalizer = normalizers.Sequence(
        [normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")]
    )
    backend.decoder = decoder
    backend.add_tokens(ADDED)
    return backend


def unigram() -> Tokenizer:
    backend = Tokenizer(models.Unigram())
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Metaspace()
    backend.train_from_iterator(
        CORPUS,
        trainers.UnigramTrainer(
            vocab_size=150, unk_token="<unk>", special_tokens=["<unk>"], show_progress=False
        ),
    )
    backend.add_tokens(ADDED)
    return backend


def word_piece() -> Tokenizer:
    backend = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece(cleanup=False)
    backend.train_from_iterator(
        CORPUS, trainers.WordPieceTrainer(vocab_size=150, special_tokens=["[UNK]"], show_progress=False)
    )
    backend.add_tokens(ADDED)
    return backend


def llama_decoder() -> Any:
    return decoders.Sequence(
        [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )


def gemma_decoder() -> Any:
    return decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()])


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Model folders by the kind of their tokenizer."""
    root = tmp_path_factory.mktemp("tokenizers")
    return {
        "byte_level": save(root / "byte_level", byte_level(), chat_template=CHATML),
        "llama": save(root / "llama", sentencepiece(llama_decoder())),
        "gemma": save(root / "gemma", sentencepiece(gemma_decoder())),
        "unigram": save(root / "unigram", unigram()),
        "word_piece": save(root / "word_piece", word_piece()),
    }


@pytest.fixture(scope="session")
def tokenizers_by_kind(folders: dict[str, Path]) -> dict[str, ModelTokenizer]:
    return {kind: ModelTokenizer.load(folder) for kind, folder in folders.items()}


@pytest.fixture(scope="session")
def byte_level_tokenizer(tokenizers_by_kind: dict[str, ModelTokenizer]) -> ModelTokenizer:
    return tokenizers_by_kind["byte_level"]


@pytest.fixture
def of(folders: dict[str, Path], tmp_path: Path) -> Callable[..., ChatTemplate]:
    """Makes a model with the given chat template, and with what else its template is given."""

    def make(source: Any, **more: Any) -> ChatTemplate:
        folder = tmp_path / "model"
        shutil.copytree(folders["byte_level"], folder, dirs_exist_ok=True)
        settings = json.loads((folder / "tokenizer_config.json").read_text()) | {"chat_template": source}
        (folder / "tokenizer_config.json").write_text(json.dumps(settings))
        return ChatTemplate(ModelTokenizer.load(folder), TAGS, **more)

    return make
