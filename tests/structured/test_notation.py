"""Arguments in notations that are not JSON's: the corpus, written as the families write."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.structured.grammars import VALIDATORS, accepts, corpus, walk
from tests.structured.test_tools import read

from vllm_mlx.core.errors import InvalidRequest
from vllm_mlx.core.tools import ToolChoice, ToolSpec
from vllm_mlx.parsing.registry import FORMATS
from vllm_mlx.parsing.write import write_calls
from vllm_mlx.structured.tools import calls_grammar

NAMES = ("lfm2", "olmo3", "gemma4")
"""Python's words, JSON's words, and quotes of the family's own."""
NARROWER = [{"type": "object", "properties": {"a": {"type": "integer"}}}]
"""Schemas that allow members that they do not list, which are written only where that is asked for."""
REFUSED: dict[str, tuple[Any, Any, Any]] = {
    "allOf": ({"allOf": [{"type": "integer"}, {"minimum": 1}]}, 1, "a"),
    "patternProperties": ({"type": "object", "patternProperties": {"^a": {}}}, {"a": 1, "b": 2}, 5),
    "text of a string with 'pattern'": ({"type": "string", "pattern": "a"}, "a", 5),
    "an argument named": ({"type": "object", "properties": {"a b": {}}}, {}, "a"),
    "holds": ({"enum": ['<|"|>', "b"]}, "b", 5),
}
"""What Gemma 4's notation cannot guarantee, a value that is valid, and one that is none all the same."""
LEAST = {"lfm2": 120, "olmo3": 120, "gemma4": 100}
"""Of the schemas in the corpus that each can guarantee; the others are refused by name."""


def wrapped(schema: Any) -> dict[str, Any]:
    """A tool's parameters with one argument."""
    defs = {
        key: schema[key] for key in ("$defs", "definitions") if isinstance(schema, dict) and key in schema
    }
    properties = {"type": "object", "properties": {"value": schema}, "required": ["value"]}
    return defs | properties | {"additionalProperties": False}


def forced(name: str, parameters: dict[str, Any], *, strict: bool = True) -> str:
    tool = ToolSpec("f", parameters=parameters, strict=strict)
    text = calls_grammar(FORMATS.get(name), [tool], ToolChoice("required"), lambda tag: None, parallel=False)
    assert text is not None
    return text


def written(name: str, value: Any) -> str:
    return write_calls(FORMATS.get(name).calls[0], [("f", {"value": value})])


def described(name: str) -> list[tuple[dict[str, Any], dict[str, Any], str]]:
    found = []
    for _, case in corpus():
        if '"#"' in json.dumps(case["schema"]):
            continue  # the root is another one here
        parameters = wrapped(case["schema"])
        try:
            found.append((case, parameters, forced(name, parameters)))
        except InvalidRequest:
            continue
    return found


@pytest.mark.requirement(63, 65)
@pytest.mark.parametrize("name", NAMES)
def test_valid_arguments_are_let_through_and_invalid_ones_are_not(name: str) -> None:
    cases = described(name)
    assert len(cases) >= LEAST[name]
    for case, _, grammar in cases:
        valid = [] if case["schema"] in NARROWER else case["valid"]
        assert [value for value in valid if not accepts(grammar, written(name, value))] == [], case
        assert [value for value in case["invalid"] if accepts(grammar, written(name, value))] == [], case


@pytest.mark.requirement(63, 65)
@pytest.mark.parametrize("name", NAMES)
def test_whatever_the_grammar_writes_is_read_back_as_valid_arguments(name: str) -> None:
    ended = 0
    for number, (case, parameters, grammar) in enumerate(described(name)):
        text = walk(grammar, number, free=25, most=400)
        if text is None:
            continue
        ended += 1
        said, [(called, arguments)] = read(name, text, (ToolSpec("f", parameters=parameters),))
        assert (said.strip(), called) == ("", "f")
        if case.get("check") is not False:
            validator = VALIDATORS[case.get("draft", 2020)](parameters)
            assert validator.is_valid(arguments), (case["schema"], text)
    assert ended >= LEAST[name] // 2


@pytest.mark.requirement(63, 65)
@pytest.mark.parametrize("reason", REFUSED)
def test_only_a_strict_tool_is_refused_for_what_the_notation_cannot_guarantee(reason: str) -> None:
    schema, valid, invalid = REFUSED[reason]
    parameters = wrapped(schema)
    with pytest.raises(InvalidRequest, match=f"'f' cannot be strict .*gemma4.*{reason}"):
        forced("gemma4", parameters)
    loose = forced("gemma4", parameters, strict=False)
    assert accepts(loose, written("gemma4", valid))
    assert not accepts(loose, written("gemma4", invalid))
