"""Constrained output over HTTP, from a model with random weights: whatever it says has the form."""

from __future__ import annotations

import json
import re
from typing import Any

import httpx
import jsonschema
import pytest
from tests.e2e.hostile_forms import ENDLESS, HOSTILE, HUNDRED_THOUSAND
from tests.e2e.server import Server
from tests.limits import LIMIT_S

SCHEMA = {
    "type": "object",
    "properties": {
        "colour": {"enum": ["red", "grün", "青"]},
        "sure": {"type": "boolean"},
        "near": {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 99}, "maxItems": 2},
    },
    "required": ["colour", "sure"],
    "additionalProperties": False,
}
ROOM = 1200
"""Tokens: enough for the longest answer, with the widest white space, of a token a byte."""
TOOLS = [
    {
        "type": "function",
        "function": {"name": name, "parameters": SCHEMA},
    }
    for name in ("look", "guess")
]


def ask(server: Server, seed: int, **fields: Any) -> httpx.Response:
    messages = [{"role": "user", "content": "Which colour?"}]
    return server.post(
        "/v1/chat/completions",
        messages=messages,
        seed=seed,
        temperature=1.0,
        max_tokens=ROOM,
        enable_thinking=False,
        **fields,
    )


@pytest.mark.requirement(46, 63)
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", [{"name": "colour"}, {}])
def test_an_answer_is_valid_against_its_schema(tiny: Server, seed: int, name: dict[str, str]) -> None:
    form = {"type": "json_schema", "json_schema": {"schema": SCHEMA, **name}}
    [choice] = ask(tiny, seed, response_format=form).json()["choices"]
    assert choice["finish_reason"] == "stop"
    jsonschema.validate(json.loads(choice["message"]["content"]), SCHEMA)


@pytest.mark.requirement(63)
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "guess"}}])
def test_a_forced_call_is_one_and_its_arguments_are_valid(tiny: Server, seed: int, choice: Any) -> None:
    fields = {"tools": TOOLS, "tool_choice": choice, "parallel_tool_calls": False}
    [answer] = ask(tiny, seed, **fields).json()["choices"]
    assert answer["finish_reason"] == "tool_calls"
    assert not answer["message"]["content"]
    [call] = answer["message"]["tool_calls"]
    assert call["function"]["name"] in (("look", "guess") if choice == "required" else ("guess",))
    jsonschema.validate(json.loads(call["function"]["arguments"]), SCHEMA)


@pytest.mark.requirement(63)
@pytest.mark.parametrize("seed", range(3))
def test_other_forms_hold_as_well(tiny: Server, seed: int) -> None:
    def text(**fields: Any) -> str:
        body = {"prompt": "x", "seed": seed, "temperature": 1.0, "max_tokens": ROOM}
        return str(tiny.post("/v1/completions", **body, **fields).json()["choices"][0]["text"])

    assert re.fullmatch("[0-9]{3}-[a-z]{2,5}", text(guided_regex="[0-9]{3}-[a-z]{2,5}"))
    assert text(guided_choice=["yes", "no"]) in ("yes", "no")
    assert re.fullmatch("a[bc]{3}!", text(guided_grammar='start: "a" /[bc]{3}/ "!"'))
    assert isinstance(
        json.loads(text(structured_outputs={"json": {"type": "integer", "maximum": 99, "minimum": 0}})), int
    )


@pytest.mark.requirement(63)
def test_a_list_of_a_hundred_thousand_values_is_served(tiny: Server) -> None:
    [choice] = ask(tiny, 1, **HUNDRED_THOUSAND).json()["choices"]
    assert json.loads(choice["message"]["content"]) in set(HUNDRED_THOUSAND["guided_json"]["enum"])


@pytest.mark.requirement(63)
def test_a_hopeless_form_is_a_400_that_names_field_and_reason(tiny: Server) -> None:
    for fields, param, reason in (
        ({"guided_json": {"properties": {"a": {"not": {}}}}}, "guided_json", "'not'"),
        ({"guided_regex": "(a"}, "guided_regex", "unclosed group"),
        ({"response_format": {"type": "grammar", "grammar": "start: x"}}, "response_format", "x"),
    ):
        answer = ask(tiny, 1, **fields)
        error = answer.json()["error"]
        assert (answer.status_code, error["param"]) == (400, param)
        assert reason in error["message"]


@pytest.mark.requirement(63, 80)
@pytest.mark.parametrize(
    "fields", [*HOSTILE, pytest.param(ENDLESS, marks=pytest.mark.slow)], ids=range(len(HOSTILE) + 1)
)
def test_a_hostile_form_is_served_or_refused_and_hurts_nobody(tiny: Server, fields: dict[str, Any]) -> None:
    def say(**more: Any) -> httpx.Response:
        body = {"prompt": "x", "seed": 1, "temperature": 1.0, "max_tokens": 8, **more}
        # The server itself gives a form a minute of the wall to be tried in, and half of one to be compiled.
        return httpx.post(tiny.url + "/v1/completions", json=body, timeout=3 * LIMIT_S)

    before = tiny.get("/v1/status").json()
    answer = say(**fields)
    assert answer.status_code in (200, 400, 429)  # a busy machine had no time for it
    if answer.status_code == 400:
        assert answer.json()["error"]["param"] == next(iter(fields))
    assert say().status_code == 200
    now = tiny.get("/v1/status").json()
    assert restarts(now) == restarts(before)


def restarts(status: Any) -> list[int]:
    found = re.findall(r'"restarts": (\d+)', json.dumps(status))
    assert found
    return list(map(int, found))
