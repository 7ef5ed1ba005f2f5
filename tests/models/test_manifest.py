"""What is read from a model folder before any array is."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vllm_mlx.core.errors import ModelLoadError
from vllm_mlx.models.manifest import ModelManifest, read_manifest

FOLDER = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., ModelManifest]:
    """Reads a folder with this config.json and these other files."""

    def manifest(config: dict[str, Any], **files: dict[str, Any]) -> ModelManifest:
        header = b"{}"
        (tmp_path / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
        whole = {"model_type": "llama", "vocab_size": 9, **config}
        (tmp_path / "config.json").write_text(json.dumps(whole))
        for name, content in files.items():
            (tmp_path / f"{name}.json").write_text(json.dumps(content))
        return read_manifest(tmp_path)

    return manifest


Write = Callable[..., ModelManifest]


@pytest.mark.parametrize(
    ("config", "context"),
    [
        ({"max_position_embeddings": 2048}, 2048),
        ({"n_positions": 1024}, 1024),
        ({"text_config": {"max_position_embeddings": 777}}, 777),
        ({"max_position_embeddings": 100, "rope_scaling": {"rope_type": "llama3", "factor": 8.0}}, 100),
        (
            {
                "max_position_embeddings": 32768,
                "rope_scaling": {
                    "type": "yarn",
                    "factor": 4.0,
                    "original_max_position_embeddings": 32768,
                },
            },
            131072,
        ),
        (
            {
                "max_position_embeddings": 163840,
                "rope_parameters": {
                    "rope_type": "yarn",
                    "factor": 40,
                    "original_max_position_embeddings": 4096,
                },
            },
            163840,
        ),
        ({}, 4096),
        ({"max_position_embeddings": "many"}, 4096),
    ],
)
def test_the_context_is_what_the_config_says(config: dict[str, Any], context: int, write: Write) -> None:
    assert write(config).max_model_len == context


def test_the_tokenizer_may_name_the_context_but_not_infinity(write: Write) -> None:
    assert write({}, tokenizer_config={"model_max_length": 555}).max_model_len == 555
    assert write({}, tokenizer_config={"model_max_length": int(1e30)}).max_model_len == 4096


def test_the_generation_config_names_the_ends_of_text_first(write: Write) -> None:
    assert write({"eos_token_id": 2}).eos_ids == (2,)
    assert write({"text_config": {"eos_token_id": [5, 6]}}).eos_ids == (5, 6)
    assert write({"eos_token_id": 2}, generation_config={"eos_token_id": [7, 2, 7]}).eos_ids == (7, 2)
    assert write({}, generation_config={"eos_token_id": None}).eos_ids == ()


def test_the_makers_sampling_counts_only_where_they_sample(write: Write) -> None:
    wished = {"temperature": 0.6, "top_p": 0.95, "top_k": 20, "repetition_penalty": -3}
    assert write({}, generation_config=wished).generation_defaults.temperature is None
    defaults = write({}, generation_config={**wished, "do_sample": True}).generation_defaults
    assert (defaults.temperature, defaults.top_p, defaults.top_k) == (0.6, 0.95, 20)
    assert defaults.repetition_penalty is None  # out of range: left out
    assert write({}, generation_config={"do_sample": False}).generation_defaults.temperature == 0


@pytest.mark.requirement(74)
def test_what_a_model_takes_in_is_told_by_its_config_never_by_its_name(write: Write) -> None:
    assert write({"vision_config": {"depth": 2}}).modalities == ("vision",)
    assert write({"audio_config": {"depth": 2}, "vision_config": {"x": 1}}).modalities == ("vision", "audio")
    assert write({"model_type": "qwen3_vl", "_name_or_path": "some-vision-model"}).modalities == ()
    assert write({"vision_config": None}).modalities == ()


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("config.json", "{", "config.json cannot be read"),
        ("config.json", "[1]", "not a JSON object"),
        ("config.json", "[" * 100_000, "config.json cannot be read"),
        ("config.json", "{}", "model_type"),
        ("config.json", '{"model_type": "llama"}', "vocab_size"),
        ("config.json", '{"model_type": "llama", "vocab_size": 9, "model_file": "x.py"}', "code of its own"),
        ("generation_config.json", "nonsense", "generation_config.json cannot be read"),
        ("model.safetensors.index.json", "nonsense", "index.json cannot be read"),
        (
            "model.safetensors.index.json",
            '{"weight_map": {"a": "model-00001-of-00002.safetensors"}}',
            "lacks 1 of its 1 weight files",
        ),
        ("model.safetensors", "short", "cut short"),
        ("model.safetensors", "\x0a" + "\0" * 7 + "not a json", "no valid safetensors header"),
        ("model.safetensors", "\x27" + "\0" * 7 + '{"a": {"data_offsets": [0, 4096]}}     ', "cut short"),
    ],
)
def test_a_broken_folder_is_refused_in_one_sentence(
    name: str, content: str, says: str, write: Write, tmp_path: Path
) -> None:
    write({})
    (tmp_path / name).write_text(content)
    with pytest.raises(ModelLoadError, match=says) as caught:
        read_manifest(tmp_path)
    assert "\n" not in caught.value.message
    assert str(tmp_path) not in caught.value.message


@pytest.mark.parametrize("missing", ["config.json", "model.safetensors"])
def test_a_missing_file_is_named(missing: str, write: Write, tmp_path: Path) -> None:
    write({})
    (tmp_path / missing).unlink()
    with pytest.raises(ModelLoadError, match="safetensors" if "model." in missing else missing):
        read_manifest(tmp_path)


def test_the_fingerprint_follows_config_and_weights_not_the_place(
    model_folder: FOLDER, tmp_path: Path
) -> None:
    source = model_folder("qwen3")
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((source / name).read_bytes())
    first = read_manifest(source).fingerprint
    assert read_manifest(tmp_path).fingerprint == first
    assert read_manifest(model_folder("qwen3", seed=9)).fingerprint != first
    (tmp_path / "config.json").write_text((source / "config.json").read_text() + " ")
    assert read_manifest(tmp_path).fingerprint != first
