"""Calls are judged after the fact: counted by what became of them, and never in anybody's way."""

from __future__ import annotations

import json
from typing import Any

import pytest

from vllm_mlx.core.events import Event, Finished, FinishReason, TextDelta, ToolCallDelta, ToolCallStart
from vllm_mlx.core.tools import ToolSpec
from vllm_mlx.service.judge import MAX_ARGUMENT_CHARS, MAX_PENDING, CallJudge, outcome_of

pytestmark = [pytest.mark.anyio, pytest.mark.requirement(65)]

WEATHER = ToolSpec(
    "weather",
    parameters={
        "type": "object",
        "properties": {
            "city": {"type": "string", "pattern": "^[A-Z]"},
            "days": {"type": "integer", "maximum": 9},
            "where": {"$ref": "#/$defs/where"},
        },
        "required": ["city"],
        "additionalProperties": False,
        "$defs": {"where": {"enum": ["here", "there"]}},
    },
)
CLOCK = ToolSpec("clock")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def events(*calls: tuple[str, str], reason: FinishReason = "tool_calls") -> list[Event]:
    made: list[Event] = [TextDelta(0, "So:")]
    for index, (name, arguments) in enumerate(calls):
        made.append(ToolCallStart(0, index, f"id{index}", name))
        made += [ToolCallDelta(0, index, arguments[at : at + 5]) for at in range(0, len(arguments), 5)]
    return [*made, Finished(0, reason, None)]


async def counted(*choices: list[Event]) -> dict[str, int]:
    judge = CallJudge()
    for choice in choices:
        watch = judge.watch((WEATHER, CLOCK))
        for event in choice:
            watch.see(event)
    await judge.settled()
    counts = judge.counts()
    await judge.aclose()
    return {outcome: count for outcome, count in counts.items() if count}


async def test_each_call_of_each_choice_is_counted_by_what_became_of_it() -> None:
    one = events(("weather", '{"city": "Paris"}'), ("nobody", "{"), ("weather", '{"days": 3}'))
    other = events(("clock", "{}"), ("weather", '{"city": "Par'), reason="length")
    stopped = events(("weather", '{"city": "P'), reason="stop")
    expected = {"valid": 2, "invalid_arguments": 1, "unknown_tool": 1, "cut_off": 2}
    assert await counted(one, other, stopped) == expected


async def test_a_call_that_was_whole_before_the_room_ended_is_not_cut_off() -> None:
    assert await counted(events(("clock", "{}"), reason="length")) == {"valid": 1}


async def test_an_answer_without_calls_counts_nothing() -> None:
    assert await counted(events(reason="stop")) == {}


async def test_what_is_too_long_or_too_many_is_let_pass_unchecked() -> None:
    long = json.dumps({"city": "x" * MAX_ARGUMENT_CHARS})
    assert await counted(events(("clock", long))) == {"unchecked": 1}
    many = events(*[("clock", "{}")] * (MAX_PENDING + 3))
    assert await counted(many) == {"valid": MAX_PENDING, "unchecked": 3}


async def test_a_closed_judge_leaves_what_it_has_not_judged() -> None:
    judge = CallJudge()
    watch = judge.watch((CLOCK,))
    for event in events(("clock", "{}")):
        watch.see(event)
    await judge.aclose()
    assert sum(judge.counts().values()) == 0


OUTCOMES: list[tuple[dict[str, Any] | None, str, str]] = [
    (WEATHER.parameters, '{"city": "paris", "where": "here"}', "valid"),
    (WEATHER.parameters, '{"city": "Paris", "where": "up"}', "invalid_arguments"),
    (WEATHER.parameters, '{"city": "Paris", "days": 10}', "invalid_arguments"),
    (WEATHER.parameters, '{"city": "Paris", "other": 1}', "invalid_arguments"),
    (None, '{"a": [1]}', "valid"),
    (None, "[]", "invalid_arguments"),
    (None, '{"a": NaN}', "invalid_arguments"),
    (None, "[" * 100_000, "invalid_arguments"),
    ({"$ref": "http://127.0.0.1:9/x"}, "{}", "unchecked"),
    ({"type": "nonsense"}, "{}", "unchecked"),
    ({"$ref": "#"}, "{}", "unchecked"),
    (
        {"properties": {"a": {"pattern": "(a+)+$"}, "b": {"format": "date"}}},
        json.dumps({"a": "a" * 60 + "!", "b": ""}),
        "valid",
    ),
    (
        {"patternProperties": {"(a+)+$": {"type": "null"}}, "additionalProperties": False},
        json.dumps({"a" * 60 + "!": 1}),
        "valid",
    ),
    ({"properties": {"pattern": {"type": "integer"}}}, '{"pattern": "x"}', "invalid_arguments"),
    (
        {
            "$schema": "http://json-schema.org/draft-04/schema#",
            "properties": {"a": {"maximum": 3, "exclusiveMaximum": True}},
        },
        '{"a": 3}',
        "invalid_arguments",
    ),
]


@pytest.mark.parametrize(("schema", "arguments", "outcome"), OUTCOMES, ids=range(len(OUTCOMES)))
def test_arguments_are_judged_by_the_schema_of_their_tool(
    schema: dict[str, Any] | None, arguments: str, outcome: str
) -> None:
    assert outcome_of(schema, arguments, cut=False) == outcome
