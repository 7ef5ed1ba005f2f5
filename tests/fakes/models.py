"""Tiny random models of real architectures, saved as folders that mlx-lm loads."""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten, tree_map_with_path
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from tests.fakes.chat_tokenizer import save_chat_tokenizer
from tests.fakes.families import BASE, FAMILIES, LOUD_EMBEDDING, VOCAB


def save_model(
    folder: Path,
    family: str,
    *,
    config: Mapping[str, Any] | None = None,
    dtype: mx.Dtype = mx.float32,
    bits: int | None = None,
    seed: int = 1,
    chat: bool = False,
) -> Path:
    """Write a random model of the family into the folder, in the layout of mlx-community.

    Args:
        config: entries that override or extend config.json.
        bits: quantise as mlx-lm does, in groups of 32.
        chat: a tokenizer with a chat template.
    """
    written = {"model_type": family, **BASE, **FAMILIES[family], **(config or {})}
    model = _build(written, seed)
    if bits is not None:
        quantize = importlib.import_module("mlx_lm.utils").quantize_model
        model, written = quantize(model, written, group_size=32, bits=bits)
    model.set_dtype(dtype)
    folder.mkdir(parents=True, exist_ok=True)
    mx.save_safetensors(
        str(folder / "model.safetensors"), dict(tree_flatten(model.parameters())), metadata={"format": "mlx"}
    )
    (folder / "config.json").write_text(json.dumps(written))
    if chat:
        save_chat_tokenizer(folder, vocab_size=written["vocab_size"])
    else:
        save_tokenizer(folder)
    return folder


def _build(config: dict[str, Any], seed: int) -> Any:
    family = {"mistral": "llama"}.get(config["model_type"], config["model_type"])
    module = importlib.import_module(f"mlx_lm.models.{family}")
    model = module.Model(module.ModelArgs.from_dict(config))
    keys = iter(mx.random.split(mx.random.key(seed), 4096))

    def fresh(path: str, old: mx.array) -> mx.array:
        # Matrices with deviation 0.3 make the greedy path wander; vectors keep the class's values, shaken.
        noise = mx.random.normal(old.shape, key=next(keys))
        if family in LOUD_EMBEDDING and path.endswith("embed_tokens.weight"):
            return 0.03 * noise
        return 0.3 * noise if old.ndim > 1 else old + 0.1 * noise

    model.update(tree_map_with_path(fresh, model.parameters()))
    mx.eval(model.parameters())
    return model


def save_tokenizer(folder: Path) -> None:
    """A byte-level tokenizer: ids 0 to 255 are bytes, the rest of the vocabulary are names."""
    letters = pre_tokenizers.ByteLevel.alphabet()
    vocabulary = {letter: i for i, letter in enumerate(sorted(letters))}
    vocabulary |= {f"<{i}>": i for i in range(len(vocabulary), VOCAB)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": f"<{VOCAB - 1}>"})
    )
