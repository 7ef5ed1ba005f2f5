"""Loading: every stored format gives the right logits, and nothing in a folder is ever run."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from mlx_lm.models.cache import make_prompt_cache
from mlx_lm.utils import dequantize_model
from tests.fakes.families import VOCAB
from tests.fakes.steps import Driver, GreedySampler

from vllm_mlx.config import CacheConfig, EngineConfig, ModelConfig
from vllm_mlx.core.errors import ModelLoadError
from vllm_mlx.models.loader import load
from vllm_mlx.runners.build import build_runner

FOLDER = Callable[..., Path]
PROMPT = np.random.default_rng(0).integers(0, VOCAB, 11).tolist()


def logits_of(model: Any) -> mx.array:
    return model(mx.array([PROMPT]), cache=make_prompt_cache(model))[0, -1].astype(mx.float32)


def paged_logits(folder: Path, dtype: str = "auto") -> tuple[str, mx.array]:
    sampler = GreedySampler()
    runner = build_runner(
        folder,
        ModelConfig(dtype=dtype),
        EngineConfig(),
        CacheConfig(max_cache_blocks=8),
        new_sampler=lambda vocab: sampler,
    )
    driver = Driver(runner, sampler)
    text = driver.start(PROMPT)
    driver.prefill(text, chunks=[4])
    return runner.capabilities.path.path, text.logits[0]


@pytest.mark.requirement(82)
@pytest.mark.parametrize("bits", [2, 3, 4, 6, 8])
def test_quantised_weights_give_the_logits_of_their_dequantised_values(
    bits: int, model_folder: FOLDER
) -> None:
    folder = model_folder("qwen3", bits=bits, dtype=mx.bfloat16)
    path, found = paged_logits(folder)
    expected = logits_of(dequantize_model(load(folder).model))
    assert path == "paged"
    assert mx.abs(found - expected).max().item() < 1e-3


@pytest.mark.requirement(82)
def test_bfloat16_weights_run_in_float32_on_a_cpu_and_as_they_are_on_request(model_folder: FOLDER) -> None:
    folder = model_folder("qwen3", dtype=mx.bfloat16)
    assert load(folder).dtype == "float32"
    kept = load(folder, "bfloat16")
    assert kept.dtype == "bfloat16"
    path, found = paged_logits(folder, "bfloat16")
    assert path == "paged"
    expected = logits_of(kept.model)
    assert (mx.linalg.norm(found - expected) / mx.linalg.norm(expected)).item() < 0.02


@pytest.mark.requirement(81)
def test_a_converted_folder_of_mlx_community_loads_as_it_is(model_folder: FOLDER, tmp_path: Path) -> None:
    # Their layout: shards with an index, `quantization` twice in the config, and files that are not ours.
    source = model_folder("llama", bits=4, dtype=mx.bfloat16)
    weights = mx.load(str(source / "model.safetensors"))
    names = sorted(weights)
    shards = {f"model-0000{i + 1}-of-00002.safetensors": names[i::2] for i in range(2)}
    for shard, members in shards.items():
        mx.save_safetensors(
            str(tmp_path / shard), {name: weights[name] for name in members}, metadata={"format": "mlx"}
        )
    index = {"metadata": {}, "weight_map": {name: shard for shard, part in shards.items() for name in part}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    config = json.loads((source / "config.json").read_text())
    config["quantization_config"] = config["quantization"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "README.md").write_text("---\nlibrary_name: mlx\n---\n")
    assert load(tmp_path).manifest.quantization["bits"] == 4  # type: ignore[index]
    assert mx.array_equal(logits_of(load(tmp_path).model), logits_of(load(source).model))

    (tmp_path / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(ModelLoadError, match="model-00002-of-00002"):
        load(tmp_path)


@pytest.fixture
def edited(model_folder: FOLDER, tmp_path: Path) -> Callable[..., Path]:
    """A copy of a good folder with other entries in its config.json."""

    def folder(**entries: Any) -> Path:
        source = model_folder("qwen3")
        (tmp_path / "model.safetensors").write_bytes((source / "model.safetensors").read_bytes())
        config = {**json.loads((source / "config.json").read_text()), **entries}
        (tmp_path / "config.json").write_text(
            json.dumps({key: value for key, value in config.items() if value is not None})
        )
        return tmp_path

    return folder


@pytest.mark.parametrize(
    ("entries", "says"),
    [
        ({"model_type": "no_such_family"}, "does not know the model type 'no_such_family'"),
        ({"model_type": "cache"}, "does not know the model type 'cache'"),
        ({"model_type": "../evil"}, "is no name"),
        ({"model_type": "os.path"}, "is no name"),
        ({"hidden_size": 32}, "do not fit"),
        ({"num_hidden_layers": 1}, "do not fit"),
        ({"num_hidden_layers": "two"}, "wrong value"),
        ({"num_attention_heads": None}, "lacks something"),
        ({"model_file": "evil.py"}, "code of its own"),
    ],
)
def test_a_folder_that_cannot_be_a_model_is_refused_in_one_sentence(
    entries: dict[str, Any], says: str, edited: Callable[..., Path]
) -> None:
    with pytest.raises(ModelLoadError, match=says) as caught:
        load(edited(**entries))
    assert "\n" not in caught.value.message
    assert "/" not in caught.value.message.replace("../evil", "")


def test_code_in_a_folder_is_never_run(edited: Callable[..., Path], tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    evil = f"open({str(marker)!r}, 'w').close()\n"
    folder = edited(auto_map={"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model"})
    for name in ("evil.py", "qwen3.py", "__init__.py", "conftest.py", "custom_model.py"):
        (folder / name).write_text(evil)
    load(folder)
    with pytest.raises(ModelLoadError, match="code of its own"):
        load(edited(model_file="evil.py"))
    assert not marker.exists()


def test_an_unknown_dtype_is_refused(model_folder: FOLDER) -> None:
    with pytest.raises(ModelLoadError, match="dtype must be"):
        load(model_folder("qwen3"), "int4")
