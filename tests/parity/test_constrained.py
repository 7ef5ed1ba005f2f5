"""Constrained rows over real models: valid whatever happens around them, and nothing to their neighbours."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.fakes.driver import Driver, make_request
from tests.parity.test_churn import PROMPTS, arrival, own_tokens, runner_of, step

from vllm_mlx.chat.tokenizer import Tokenizer
from vllm_mlx.core.constraints import ThinkingRules
from vllm_mlx.runners.base import Capabilities
from vllm_mlx.structured.compiling import Grammars, grammars_of

FAMILIES = ["qwen3", "gemma3_text", "lfm2"]  # full attention, windows, and one sequence at a time
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "pattern": "^[a-z]{0,4}$"},
        "kind": {"enum": ["a", "bb", "ccc"]},
        "sizes": {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 99}, "maxItems": 2},
        "inner": {"anyOf": [{"type": "null"}, {"type": "boolean"}]},
    },
    "required": ["name", "kind", "sizes", "inner"],
    "additionalProperties": False,
}
JSON = json.dumps({"grammars": [{"json_schema": {**SCHEMA, "x-guidance": {"whitespace_flexible": False}}}]})
WORDS = r"start: /[a-z]{3}( [a-z]{3}){0,3}/"
GRAMMARS = [None, JSON, WORDS]
ROOM = 70
EOS = 100  # any id will do
PENALISED = {"temperature": 0.0, "repetition_penalty": 1.1, "frequency_penalty": 0.3}


@pytest.fixture(scope="module", params=FAMILIES[:2])
def folder(request: pytest.FixtureRequest, model_folder: Callable[..., Path]) -> Path:
    return model_folder(request.param)


@pytest.fixture(params=[False, True], ids=["stepwise", "overlapped"])
def overlap(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@cache
def grammars(folder: Path) -> Grammars:
    return grammars_of(folder, vocab_size(folder))


@cache
def vocab_size(folder: Path) -> int:
    capabilities: Capabilities = runner_of(folder, False).capabilities
    return capabilities.vocab_size


def driver(folder: Path, overlap: bool, **options: int) -> Driver:
    return Driver(runner_of(folder, overlap), grammars=grammars(folder), **{"max_num_seqs": 8, **options})


def text(folder: Path, ids: list[int]) -> str:
    return Tokenizer.load(folder).decode([i for i in ids if i != EOS])


@cache
def alone(folder: Path, prompt: int, grammar: str | None, max_tokens: int) -> list[int]:
    d = driver(folder, False)
    d.submit(make_request("r", PROMPTS[prompt], grammar=grammar, max_tokens=max_tokens, **PENALISED))
    d.run()
    assert d.error() is None
    return d.ids()


@pytest.mark.requirement(46, 63)
@pytest.mark.parametrize("family", FAMILIES)
def test_twenty_of_twenty_answers_of_a_random_model_are_valid(
    family: str, model_folder: Callable[..., Path], overlap: bool
) -> None:
    folder = model_folder(family)
    if family == "lfm2" and overlap:
        pytest.skip("a model that runs one sequence at a time does not overlap")
    d = driver(folder, overlap, max_num_seqs=8)
    for i in range(20):
        d.submit(
            make_request(
                f"{i}",
                PROMPTS[i % 4],
                grammar=JSON,
                seed=i,
                temperature=[0.0, 0.8, 2.0, 1.0][i % 4],
                top_p=0.9 if i % 2 else 1.0,
                repetition_penalty=1.2 if i % 5 == 0 else 1.0,
                max_tokens=ROOM,
                eos_ids=(EOS,),
                min_tokens=10 if i % 7 == 0 else 0,
            )
        )
    d.run()
    for i in range(20):
        assert d.error(f"{i}") is None
        assert d.finish(f"{i}") == "stop"
        jsonschema.validate(json.loads(text(folder, d.ids(f"{i}"))), SCHEMA)
    d.assert_all_blocks_accounted()


@pytest.mark.requirement(58, 63)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    arrivals=st.lists(st.tuples(arrival, st.sampled_from(GRAMMARS)), min_size=2, max_size=7),
    chunk=st.sampled_from([1, 7, 64]),
    budget=st.sampled_from([4, 64]),
)
def test_in_any_churn_each_row_says_what_it_says_alone(
    folder: Path, overlap: bool, arrivals: list[tuple[dict[str, int], str | None]], chunk: int, budget: int
) -> None:
    d = driver(folder, overlap, max_num_seqs=4, prefill_step_size=chunk, max_num_batched_tokens=budget)
    aborts: dict[str, int] = {}
    for i, (each, grammar) in enumerate(arrivals):
        for _ in range(each["steps_before"]):
            step(d, aborts)
        d.submit(
            make_request(
                f"r{i}",
                PROMPTS[each["prompt"]],
                grammar=grammar,
                max_tokens=each["max_tokens"],
                n=each["n"],
                priority=each["priority"],
                **(PENALISED if grammar else {"temperature": 0.0}),
            )
        )
        if each["abort_after"] is not None:
            aborts[f"r{i}"] = each["abort_after"]
    for _ in range(3000):
        if not d.scheduler.has_work:
            break
        step(d, aborts)
    for i, (each, grammar) in enumerate(arrivals):
        prompt, most = each["prompt"], each["max_tokens"]
        expected = (
            own_tokens(folder, tuple(PROMPTS[prompt]))[:most]
            if grammar is None
            else alone(folder, prompt, grammar, most)
        )
        assert d.error(f"r{i}") is None
        for choice in range(each["n"]):
            said = d.ids(f"r{i}", choice)
            assert said == (expected[: len(said)] if each["abort_after"] is not None else expected)
    d.assert_all_blocks_accounted()


@pytest.mark.requirement(58)
def test_free_neighbours_of_a_constrained_row_say_what_mlx_lm_says(folder: Path, overlap: bool) -> None:
    d = driver(folder, overlap)
    for i in (0, 1, 2):
        d.submit(make_request(f"free{i}", PROMPTS[i], max_tokens=25, temperature=0.0))
    d.submit(make_request("bound", PROMPTS[3], grammar=JSON, max_tokens=ROOM, temperature=0.0))
    d.run()
    jsonschema.validate(json.loads(text(folder, d.ids("bound"))), SCHEMA)
    for i in (0, 1, 2):
        assert d.ids(f"free{i}") == own_tokens(folder, tuple(PROMPTS[i]))[:25]


@pytest.mark.requirement(58, 63)
def test_a_constrained_row_that_was_preempted_goes_on_where_it_was(folder: Path, overlap: bool) -> None:
    d = driver(folder, overlap, max_num_seqs=4)
    for i in (5, 4, 3, 2):
        d.submit(make_request(f"r{i}", PROMPTS[i], grammar=JSON, max_tokens=35, **PENALISED))
    d.run()
    assert d.scheduler.stats().preemptions > 0
    for i in (5, 4, 3, 2):
        assert d.ids(f"r{i}") == alone(folder, i, JSON, 35)


@pytest.mark.requirement(67)
@pytest.mark.parametrize("grammar", GRAMMARS)
@pytest.mark.parametrize("budget", [0, 1, 7])
def test_a_budget_closes_the_thought_exactly_and_the_answer_follows(
    folder: Path, overlap: bool, budget: int, grammar: str | None
) -> None:
    rules = ThinkingRules(in_thought=True, close_ids=(259,), budget=budget, forced_ids=(10, 259, 11))
    d = driver(folder, overlap)
    d.submit(make_request("free", PROMPTS[1], max_tokens=20, temperature=0.0))
    d.submit(
        make_request(
            "r",
            PROMPTS[0],
            thinking=rules,
            grammar=grammar,
            max_tokens=ROOM,
            temperature=0.0,
            logit_bias={259: -100.0},
        )
    )
    d.run()
    said = d.ids()
    thought = own_tokens(folder, tuple(PROMPTS[0]))[:budget]
    assert said[: budget + 3] == [*thought, 10, 259, 11]
    if grammar == JSON:
        jsonschema.validate(json.loads(text(folder, said[budget + 3 :])), SCHEMA)
    assert d.ids("free") == own_tokens(folder, tuple(PROMPTS[1]))[:20]
