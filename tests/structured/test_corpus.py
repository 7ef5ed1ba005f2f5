"""The grammar of each schema of the corpus lets exactly the valid values through."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from tests.structured.grammars import VALIDATORS, accepts, corpus, walk

from vllm_mlx.core.constraints import JsonSchema
from vllm_mlx.structured.grammar import grammar_of

CASES = corpus()
cases = pytest.mark.parametrize("case", [case for _, case in CASES], ids=[name for name, _ in CASES])


def grammar(case: dict[str, Any]) -> str:
    return grammar_of(JsonSchema(case["schema"]), lambda text: None)


def is_valid(case: dict[str, Any], value: Any) -> bool:
    return VALIDATORS[case.get("draft", 2020)](case["schema"]).is_valid(value)


def spellings(value: Any) -> list[str]:
    return [
        json.dumps(value, ensure_ascii=False, separators=(",", ":")),
        json.dumps(value, ensure_ascii=False),
        json.dumps(value, ensure_ascii=False, indent=2),
    ]


def by_number(value: Any) -> str:
    """The same value, each character of its texts written as `\\u0061` is."""

    def numbers(text: re.Match[str]) -> str:
        raw = json.loads(text.group()).encode("utf-16-be").hex()
        return '"' + "".join(f"\\u{raw[i : i + 4]}" for i in range(0, len(raw), 4)) + '"'

    return re.sub(r'"(?:[^"\\]|\\.)*"', numbers, json.dumps(value, ensure_ascii=False))


@pytest.mark.requirement(63)
def test_the_corpus_is_large_enough() -> None:
    assert len(CASES) >= 150


@pytest.mark.requirement(63)
@cases
def test_valid_values_are_let_through_and_invalid_ones_are_not(case: dict[str, Any]) -> None:
    text = grammar(case)
    for value in case["valid"]:
        assert all(accepts(text, spelling) for spelling in spellings(value)), value
        assert case.get("check") is False or is_valid(case, value), value
    for value in case["invalid"]:
        assert json.loads(by_number(value)) == value
        assert not any(accepts(text, spelling) for spelling in (*spellings(value), by_number(value))), value
        assert (
            "format" in json.dumps(case["schema"]) or case.get("check") is False or not is_valid(case, value)
        )


@pytest.mark.requirement(63)
@pytest.mark.parametrize(
    "schema",
    [
        {"properties": {"a": {"type": "integer"}}},
        {"properties": {"a": {"type": "integer"}}, "additionalProperties": {"type": "string"}},
        {"patternProperties": {"^a": {"type": "integer"}}},
        {"required": ["a"], "minProperties": 2},
    ],
)
def test_a_name_of_the_schema_cannot_be_written_in_another_way(schema: dict[str, Any]) -> None:
    text = grammar({"schema": {"type": "object", **schema}})
    assert accepts(text, '{"a":1,"b\\n":"x"}')
    for name in (r"\u0061", r"\u0061b", r"\u0041"):
        assert not accepts(text, f'{{"a":1,"{name}":"x"}}')
        assert not accepts(text, f'{{"{name}":"x"}}')


@pytest.mark.requirement(63)
@pytest.mark.parametrize(
    "seeds", [range(2), pytest.param(range(2, 60), marks=pytest.mark.slow)], ids=["few", "many"]
)
@cases
def test_whatever_is_written_by_the_grammar_is_valid(case: dict[str, Any], seeds: range) -> None:
    text = grammar(case)
    for seed in seeds:
        written = walk(text, seed)
        assert written is not None, "the text does not end"
        assert case.get("check") is False or is_valid(case, json.loads(written)), written
