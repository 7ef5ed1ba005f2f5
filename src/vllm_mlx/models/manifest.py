"""What a model folder says about itself, read without an array library."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

from vllm_mlx.core.errors import AppError, ModelLoadError
from vllm_mlx.core.sampling import SamplingParams
from vllm_mlx.models.weights import fingerprint_folder

log = logging.getLogger(__name__)

_CONTEXT_KEYS = (
    "max_position_embeddings",
    "n_positions",
    "max_sequence_length",
    "max_seq_len",
    "seq_length",
    "n_ctx",
    "model_max_length",
)
_CONTEXT_UNKNOWN = 4096
"""Context where a folder names none (recurrent models often do not)."""

_GENERATION_KEYS = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelManifest:
    """A model folder's own description.

    Attributes:
        max_model_len: context in tokens.
        eos_ids: ids that end a text, the generation config's before the model config's.
        generation_defaults: what the model's makers recommend; empty unless they ask for sampling.
        quantization: MLX's or the checkpoint's own quantisation record.
        modalities: what besides text the architecture takes in ("vision", "audio"), by its config.
        fingerprint: changes when config or weights change; part of every KV block's name.
    """

    folder: Path
    model_type: str
    architectures: tuple[str, ...]
    max_model_len: int
    vocab_size: int
    eos_ids: tuple[int, ...]
    generation_defaults: SamplingParams
    quantization: Mapping[str, Any] | None
    modalities: tuple[str, ...]
    fingerprint: str


def read_manifest(folder: Path) -> ModelManifest:
    """Read config.json, generation_config.json and tokenizer_config.json, and name the weights.

    Raises:
        ModelLoadError: a file is missing, cut short or not what it should be.
    """
    config = _read_json(folder, "config.json", required=True)
    generation = _read_json(folder, "generation_config.json")
    tokenizer = _read_json(folder, "tokenizer_config.json")
    model_type = config.get("model_type")
    if not isinstance(model_type, str) or not model_type:
        raise ModelLoadError("the model's config.json names no model_type")
    if config.get("model_file") is not None:
        raise ModelLoadError("the model wants to run code of its own (model_file), which is never done")
    text = _text_config(config)
    return ModelManifest(
        folder=folder,
        model_type=model_type,
        architectures=tuple(map(str, config.get("architectures") or ())),
        max_model_len=_context(text, tokenizer),
        vocab_size=_vocab_size(text, config),
        eos_ids=_eos_ids(generation, config, text),
        generation_defaults=_generation_defaults(generation),
        quantization=config.get("quantization") or config.get("quantization_config"),
        modalities=tuple(kind for kind in ("vision", "audio") if config.get(f"{kind}_config")),
        fingerprint=fingerprint_folder(folder),
    )


def _read_json(folder: Path, name: str, *, required: bool = False) -> dict[str, Any]:
    try:
        value = json.loads((folder / name).read_text(encoding="utf-8"))
    except FileNotFoundError:
        if required:
            raise ModelLoadError(f"the model folder has no {name}") from None
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise ModelLoadError(f"the model's {name} cannot be read as JSON") from error
    if not isinstance(value, dict):
        raise ModelLoadError(f"the model's {name} is not a JSON object")
    return value


def _text_config(config: dict[str, Any]) -> dict[str, Any]:
    """The part that describes the language model; multimodal configs nest it."""
    for key in ("text_config", "llm_config", "language_config"):
        nested = config.get(key)
        if isinstance(nested, dict):
            return {**config, **nested}
    return config


def _context(text: dict[str, Any], tokenizer: dict[str, Any]) -> int:
    named = next((text[key] for key in _CONTEXT_KEYS if _is_count(text.get(key))), 0)
    if not named:
        limit = tokenizer.get("model_max_length")
        # Hugging Face writes 1e30 for "no limit".
        named = limit if _is_count(limit) and limit < 10**8 else _CONTEXT_UNKNOWN
    return max(named, _yarn_context(text))


def _yarn_context(text: dict[str, Any]) -> int:
    """The context that YaRN stretches to (Peng et al. 2023): some configs name only the one before it."""
    scaling = text.get("rope_scaling") or text.get("rope_parameters")
    if not isinstance(scaling, dict) or scaling.get("rope_type", scaling.get("type")) != "yarn":
        return 0
    original, factor = scaling.get("original_max_position_embeddings"), scaling.get("factor")
    if not _is_count(original) or not isinstance(factor, int | float) or not 1 <= factor <= 1024:
        return 0
    return int(original * factor)


def _vocab_size(text: dict[str, Any], config: dict[str, Any]) -> int:
    size = text.get("vocab_size", config.get("vocab_size"))
    if not _is_count(size):
        raise ModelLoadError("the model's config.json names no vocab_size")
    return size


def _eos_ids(*configs: dict[str, Any]) -> tuple[int, ...]:
    for config in configs:
        value = config.get("eos_token_id")
        ids = value if isinstance(value, list) else [value]
        found = tuple(dict.fromkeys(i for i in ids if isinstance(i, int) and not isinstance(i, bool)))
        if found:
            return found
    return ()


def _generation_defaults(generation: dict[str, Any]) -> SamplingParams:
    """The makers' settings; one that makes no sense is left out, not fatal.

    A config that says nothing of sampling leaves it to OpenAI's defaults; "do not" means greedy.
    """
    accepted: dict[str, Any] = {}
    if generation.get("do_sample") is not True:
        return SamplingParams(temperature=0.0 if generation.get("do_sample") is False else None)
    for name in _GENERATION_KEYS:
        value = generation.get(name)
        if value is None:
            continue
        try:
            SamplingParams(**{name: value})
        except AppError:
            log.warning("generation_config.json: %s is out of range and left out", name)
        else:
            accepted[name] = value
    return SamplingParams(**accepted)


def _is_count(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0
