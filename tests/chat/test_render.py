from __future__ import annotations

import pytest

from vllm_mlx.chat.render import message_dicts, tool_dicts
from vllm_mlx.core.errors import InvalidRequest
from vllm_mlx.core.messages import Message, Reasoning, Text, ToolCall, ToolResult
from vllm_mlx.core.structure import MAX_BRANCHES, MAX_NESTING
from vllm_mlx.core.tools import ToolSpec


def values(item: object) -> list[object]:
    if isinstance(item, dict):
        return [found for value in item.values() for found in values(value)]
    if isinstance(item, list):
        return [found for value in item for found in values(value)]
    return [item]


@pytest.mark.requirement(79)
def test_no_value_is_ever_none() -> None:
    messages = (
        Message("user", ()),
        Message("assistant", (ToolCall("1", "f", "{}"),)),
        Message("tool", (ToolResult("9", "ok"),)),
        Message("assistant", (Reasoning("Hm"), Text("Hi"))),
    )
    assert None not in values(message_dicts(messages, developer_role=False))
    assert None not in values(tool_dicts([ToolSpec("f")]))


def test_a_turn_keeps_its_text_its_thought_and_its_calls() -> None:
    message = Message(
        "assistant",
        (Reasoning("Hm."), Text("Let me "), Text("look."), ToolCall("c1", "look", '{"q": "caf\u00e9"}')),
        name="Ann",
    )
    assert message_dicts([message], developer_role=False) == [
        {
            "role": "assistant",
            "content": "Let me look.",
            "name": "Ann",
            "reasoning_content": "Hm.",
            "tool_calls": [
                {
                    "type": "function",
                    "id": "c1",
                    "function": {"name": "look", "arguments": {"q": "caf\u00e9"}},
                }
            ],
        }
    ]


@pytest.mark.parametrize("written", ["not json", "[1]", '"x"', "", '{"a": NaN}', "[" * 100_000])
def test_arguments_that_are_no_object_stay_text(written: str) -> None:
    (turn,) = message_dicts([Message("assistant", (ToolCall("1", "f", written),))], developer_role=False)
    assert turn["tool_calls"][0]["function"]["arguments"] == written


def test_each_result_is_a_turn_of_its_own_named_after_its_call() -> None:
    messages = [
        Message("assistant", (ToolCall("1", "f", "{}"), ToolCall("2", "g", "{}"))),
        Message("user", (ToolResult("2", "two"), ToolResult("1", "one", name="own"), Text("go on"))),
    ]
    assert message_dicts(messages, developer_role=False)[1:] == [
        {"role": "tool", "content": "two", "tool_call_id": "2", "name": "g"},
        {"role": "tool", "content": "one", "tool_call_id": "1", "name": "own"},
        {"role": "user", "content": "go on"},
    ]


def test_a_developer_is_the_system_where_the_template_does_not_know_one() -> None:
    message = Message("developer", (Text("Be brief."),))
    assert message_dicts([message], developer_role=False)[0]["role"] == "system"
    assert message_dicts([message], developer_role=True)[0]["role"] == "developer"


def test_tools_have_the_shape_of_openai() -> None:
    schema = {"type": "object", "properties": {"q": {"type": "string"}}}
    assert tool_dicts([ToolSpec("look", "Looks.", schema, strict=True), ToolSpec("now")]) == [
        {
            "type": "function",
            "function": {"name": "look", "description": "Looks.", "parameters": schema, "strict": True},
        },
        {"type": "function", "function": {"name": "now", "parameters": {"type": "object", "properties": {}}}},
    ]


@pytest.mark.requirement(80)
@pytest.mark.parametrize(
    ("written", "code"),
    [
        ('{"a":' + "[" * MAX_NESTING + "]" * MAX_NESTING + "}", "nesting_too_deep"),
        ('{"a":[' + ",".join(["[]"] * MAX_BRANCHES) + "]}", "too_many_values"),
    ],
    ids=["deep", "wide"],
)
def test_arguments_are_bounded_before_they_are_parsed(written: str, code: str) -> None:
    call = Message("assistant", (ToolCall(id="c", name="f", arguments=written),))
    with pytest.raises(InvalidRequest, match="The arguments of a tool call are refused") as refused:
        message_dicts([call], developer_role=False)
    assert (refused.value.param, refused.value.code) == ("messages", code)
