"""The load probe: what it lets through, what it refuses, and that nothing makes it fall over."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest
from mlx_lm.models import llama
from mlx_lm.models.cache import ArraysCache, CacheList, KVCache, RotatingKVCache
from tests.fakes.families import COMMON, PLAIN, VOCAB

from vllm_mlx.core.errors import ModelLoadError
from vllm_mlx.models.loader import load
from vllm_mlx.runners.probe import PagedPlan, Refusal, probe

FOLDER = Callable[..., Path]


def outcome(model: Any) -> PagedPlan | Refusal:
    return probe(model, block_size=8, vocab_size=VOCAB)


def changed(folder: Path, **methods: Any) -> Any:
    """The llama of the folder with some of its methods replaced."""
    model = load(folder).model
    model.__class__ = type("Odd", (llama.Model,), methods)
    return model


def uncached(self: Any, inputs: mx.array, cache: Any = None) -> mx.array:
    return llama.Model.__call__(self, inputs)


@pytest.mark.parametrize("family", sorted({"gemma3_text", *PLAIN} & COMMON - {"afm7"}))
def test_families_that_must_page_do_so_in_batches(family: str, model_folder: FOLDER) -> None:
    plan = outcome(load(model_folder(family)).model)
    assert isinstance(plan, PagedPlan)
    assert plan.batch
    assert plan.split
    # gemma2 caps its attention logits itself, so a paged kernel behind the seam could not serve it.
    assert plan.seam == (family != "gemma2")


def test_latent_attention_is_paged_but_not_for_a_kernel(model_folder: FOLDER) -> None:
    plan = outcome(load(model_folder("deepseek_v3")).model)
    assert isinstance(plan, PagedPlan)
    assert not plan.seam


def test_caches_that_come_in_lists_are_paged_one_by_one(model_folder: FOLDER) -> None:
    plan = outcome(load(model_folder("longcat_flash")).model)
    assert isinstance(plan, PagedPlan)
    assert plan.nesting == (2, 2)
    assert len(plan.layers) == 4
    assert plan.batch


def test_rows_are_not_put_together_where_an_index_selects_among_positions(model_folder: FOLDER) -> None:
    plan = outcome(load(model_folder("deepseek_v32")).model)
    assert isinstance(plan, PagedPlan)
    assert not plan.batch


def test_logits_that_depend_on_the_cut_of_a_prompt_are_told_of(model_folder: FOLDER) -> None:
    def call(self: Any, inputs: mx.array, cache: Any = None) -> mx.array:
        logits = llama.Model.__call__(self, inputs, cache)
        return logits + mx.sin(mx.arange(logits.shape[-1])) * inputs.shape[1] * 5

    found = outcome(changed(model_folder("llama"), __call__=call))
    assert isinstance(found, Refusal)
    assert "depend on how a prompt is cut" in found.reason


def test_the_text_model_inside_a_multimodal_one_is_split(model_folder: FOLDER) -> None:
    plan = outcome(load(model_folder("gemma3")).model)
    assert isinstance(plan, PagedPlan)
    assert plan.batch
    assert plan.split


def test_windows_are_learnt_from_the_models_own_cache(model_folder: FOLDER) -> None:
    plan = outcome(load(model_folder("gemma3_text")).model)
    assert isinstance(plan, PagedPlan)
    assert [layer.window for layer in plan.layers] == [12, None]


def test_a_window_the_model_forgets_to_mask_is_noticed(model_folder: FOLDER) -> None:
    class Unwindowed(llama.Model):
        def make_cache(self) -> list[Any]:
            return [RotatingKVCache(max_size=40), KVCache()]

    model = load(model_folder("llama")).model
    model.__class__ = Unwindowed
    # Its one mask comes from layer 0, so layer 1's cache has a mask that does not fit: only a true comparison
    # with the model's own cache can tell what becomes of that.
    found = outcome(model)
    assert isinstance(found, Refusal)


def test_a_family_that_needs_a_plain_offset_is_paged_row_by_row(model_folder: FOLDER) -> None:
    def call(self: Any, inputs: mx.array, cache: Any = None) -> mx.array:
        assert int(cache[0].offset) >= 0
        return llama.Model.__call__(self, inputs, cache)

    plan = outcome(changed(model_folder("llama"), __call__=call))
    assert isinstance(plan, PagedPlan)
    assert not plan.batch


def test_a_head_that_cannot_be_run_apart_is_run_whole(model_folder: FOLDER) -> None:
    def call(self: Any, inputs: mx.array, cache: Any = None) -> mx.array:
        return llama.Model.__call__(self, inputs, cache) * inputs.shape[1]

    def scaled(self: Any, inputs: mx.array, cache: Any = None) -> mx.array:
        hidden = self.model(inputs, cache) if inputs is not None else self.model(inputs, cache) * 2
        return self.lm_head(hidden)

    for method in (call, scaled):
        plan = outcome(changed(model_folder("llama"), __call__=method))
        # `call` gives logits that depend on the chunk's length, which no cache could page.
        assert isinstance(plan, Refusal) if method is call else not plan.split  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "methods",
    [{"make_cache": lambda self: 1 / 0}, {"__call__": lambda self, inputs, cache=None: 1 / 0}],
)
def test_a_model_that_does_not_run_at_all_does_not_load(
    methods: dict[str, Any], model_folder: FOLDER
) -> None:
    with pytest.raises(ModelLoadError, match="does not run here: ZeroDivisionError"):
        outcome(changed(model_folder("llama"), **methods))


@pytest.mark.parametrize(
    ("methods", "reason"),
    [
        (
            {"make_cache": lambda self: [CacheList(KVCache(), ArraysCache(1))] * 2, "__call__": uncached},
            "ArraysCache",
        ),
        (
            {"make_cache": lambda self: [CacheList(KVCache(), KVCache())] * 2, "__call__": uncached},
            "load probe failed",
        ),
        ({"make_cache": lambda self: [RotatingKVCache(8, keep=4)] * 2}, "RotatingKVCache"),
        ({"make_cache": lambda self: [], "__call__": uncached}, "no cache"),
        (
            {
                "__call__": lambda self, inputs, cache=None: (
                    llama.Model.__call__(self, inputs, cache) * (1 + 0 * cache[0].nbytes)
                )
            },
            "AttributeError",
        ),
    ],
)
def test_whatever_does_not_page_is_refused_with_a_reason(
    methods: dict[str, Any], reason: str, model_folder: FOLDER
) -> None:
    found = outcome(changed(model_folder("llama"), **methods))
    assert isinstance(found, Refusal)
    assert reason in found.reason
