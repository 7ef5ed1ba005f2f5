"""The service's side of constrained output: which request gets which grammar, and whose fault is named."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from tests.structured.grammars import accepts

from vllm_mlx.core.constraints import Choice, JsonSchema, Lark, Regex
from vllm_mlx.core.errors import InvalidRequest, Overloaded
from vllm_mlx.core.messages import Message, Text
from vllm_mlx.core.requests import ChatInput, GenerateRequest, TextInput
from vllm_mlx.core.tools import ToolChoice, ToolSpec
from vllm_mlx.parsing.registry import FORMATS
from vllm_mlx.service.constrain import Constrainer
from vllm_mlx.structured.checking import Names

pytestmark = pytest.mark.anyio

TOOL = ToolSpec(
    "f", parameters={"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
)
CALL = '<tool_call>\n{"name": "f", "arguments": {"a": 1}}\n</tool_call>'
WRONG_CALL = '<tool_call>\n{"name": "f", "arguments": {"a": "x"}}\n</tool_call>'


@pytest.fixture
def constrainer() -> Iterator[Constrainer]:
    made = Constrainer(FORMATS.get("hermes"), Names(), max_pending=8)
    yield made
    made.close()


def chat(*tools: ToolSpec, mode: Any = "auto", **more: Any) -> GenerateRequest:
    messages = (Message(role="user", parts=(Text("Hi"),)),)
    return GenerateRequest(
        input=ChatInput(messages=messages, tools=tools, tool_choice=ToolChoice(mode)), **more
    )


@pytest.mark.requirement(63)
async def test_a_request_that_asks_for_nothing_has_no_grammar(constrainer: Constrainer) -> None:
    for request in (GenerateRequest(input=TextInput("x")), chat(), chat(TOOL), chat(TOOL, mode="none")):
        assert await constrainer.grammar(request) is None


@pytest.mark.requirement(63)
async def test_a_raw_prompt_is_constrained_as_a_chat_is(constrainer: Constrainer) -> None:
    for request in (
        GenerateRequest(input=TextInput("x"), constraint=Regex("a+")),
        chat(constraint=Regex("a+")),
        chat(TOOL, mode="none", constraint=Regex("a+")),
    ):
        text = await constrainer.grammar(request)
        assert text is not None
        assert accepts(text, "aa")
        assert not accepts(text, CALL)


@pytest.mark.requirement(63)
async def test_a_forced_call_leaves_no_room_for_an_answer(constrainer: Constrainer) -> None:
    text = await constrainer.grammar(chat(TOOL, mode="required", constraint=Choice(("yes",))))
    assert text is not None
    assert accepts(text, CALL)
    assert not accepts(text, "yes")
    assert not accepts(text, WRONG_CALL)


@pytest.mark.requirement(63)
async def test_tools_and_a_form_of_the_answer_give_either(constrainer: Constrainer) -> None:
    text = await constrainer.grammar(chat(TOOL, constraint=Choice(("yes", "no"))))
    assert text is not None
    assert accepts(text, "no")
    assert accepts(text, CALL)
    assert not accepts(text, "maybe")


@pytest.mark.requirement(63)
async def test_the_field_at_fault_is_named(constrainer: Constrainer) -> None:
    bad = JsonSchema({"properties": {"a": {"not": {}}}})
    strict = ToolSpec("f", parameters=bad.schema if isinstance(bad.schema, dict) else None, strict=True)
    cases = [
        (
            GenerateRequest(input=TextInput("x"), constraint=bad, constraint_param="guided_json"),
            "guided_json",
        ),
        (chat(constraint=Regex("(")), "response_format"),
        (chat(TOOL, constraint=bad, constraint_param="structured_outputs"), "structured_outputs"),
        (chat(TOOL, constraint=Regex("("), constraint_param="guided_regex"), "guided_regex"),
        (chat(TOOL, constraint=Lark('start: "a"')), "response_format"),
        (chat(strict), "tools"),
        (chat(TOOL, strict, mode="required"), "tools"),
        (chat(mode="required"), "tool_choice"),
    ]
    for request, param in cases:
        with pytest.raises(InvalidRequest) as refusal:
            await constrainer.grammar(request)
        assert refusal.value.param == param
        assert refusal.value.message.startswith(f"{param}: ")


@pytest.mark.requirement(63)
async def test_a_tool_that_need_not_be_strict_is_loosened_where_its_schema_is_too_much(
    constrainer: Constrainer,
) -> None:
    odd = {"type": "object", "properties": {"a": {}, "b": {}}, "minProperties": 1}
    for parameters in (odd, {"properties": {"a": {"not": {}}}}):
        text = await constrainer.grammar(chat(ToolSpec("f", parameters=parameters), mode="required"))
        assert text is not None
        assert accepts(text, CALL)


@pytest.mark.requirement(63)
async def test_of_a_tool_that_need_not_be_strict_the_rest_of_its_schema_is_enforced(
    constrainer: Constrainer,
) -> None:
    integer = {"type": "integer"}
    tags = {"type": "array", "items": {"type": "string"}, "uniqueItems": True}  # as pydantic writes set[str]
    judged_here = {"type": "object", "properties": {"a": integer, "tags": tags}, "required": ["a"]}
    judged_later = judged_here | {"minProperties": 2}
    pattern = {"type": "string", "pattern": "a(?=b)"}
    looking_ahead = {"type": "object", "properties": {"a": integer, "b": pattern}, "required": ["a"]}
    for parameters in (judged_here, judged_later, looking_ahead):
        for mode in ("required", "auto"):
            strict = [ToolSpec("g", parameters={"type": "object"}, strict=True)] if mode == "auto" else []
            tool = ToolSpec("f", parameters=parameters)
            text = await constrainer.grammar(chat(tool, *strict, mode=mode))
            assert text is not None
            assert accepts(text, CALL)
            assert not accepts(text, WRONG_CALL)
        with pytest.raises(InvalidRequest):
            await constrainer.grammar(chat(ToolSpec("f", parameters=parameters, strict=True)))


@pytest.mark.requirement(63)
async def test_what_cannot_be_repeated_says_what_to_do(constrainer: Constrainer) -> None:
    schema = {"type": "array", "uniqueItems": True}
    with pytest.raises(InvalidRequest, match="leave it out, or allow one item at most"):
        await constrainer.grammar(chat(constraint=JsonSchema(schema)))


@pytest.mark.requirement(63)
async def test_the_same_form_has_the_same_grammar_and_another_order_another(constrainer: Constrainer) -> None:
    def asked(*names: str) -> GenerateRequest:
        return chat(constraint=JsonSchema({"properties": {name: {} for name in names}}))

    first = await constrainer.grammar(asked("a", "b"))
    assert await constrainer.grammar(asked("a", "b")) is first
    assert await constrainer.grammar(asked("b", "a")) != first


@pytest.mark.requirement(63)
async def test_many_schemas_are_forgotten_again(constrainer: Constrainer) -> None:
    texts = [await constrainer.grammar(chat(constraint=JsonSchema({"const": i}))) for i in range(300)]
    assert len(set(texts)) == 300
    again = await constrainer.grammar(chat(constraint=JsonSchema({"const": 0})))
    assert again == texts[0]
    assert again is not texts[0]


@pytest.mark.requirement(63)
async def test_more_than_may_wait_are_refused_as_overload() -> None:
    constrainer = Constrainer(FORMATS.get("hermes"), Names(), max_pending=1)
    first = asyncio.create_task(constrainer.grammar(chat(constraint=heavy(0))))
    await asyncio.sleep(0)
    with pytest.raises(Overloaded):
        await constrainer.grammar(chat(constraint=Regex("b")))
    assert await first is not None
    assert await constrainer.grammar(chat(constraint=Regex("b"))) is not None
    constrainer.close()


@pytest.mark.requirement(63, 80)
async def test_small_forms_do_not_wait_for_large_ones(constrainer: Constrainer) -> None:
    large = [asyncio.create_task(constrainer.grammar(chat(constraint=heavy(first)))) for first in range(3)]
    await asyncio.sleep(0)
    assert await constrainer.grammar(chat(constraint=Regex("b"))) is not None
    assert not large[-1].done()
    assert len(set(await asyncio.gather(*large))) == 3


@pytest.mark.requirement(63, 80)
async def test_who_asks_for_a_form_that_is_under_way_gets_the_same_even_if_the_first_has_left(
    constrainer: Constrainer,
) -> None:
    first, second, third = (
        asyncio.create_task(constrainer.grammar(chat(constraint=heavy(0)))) for _ in range(3)
    )
    await asyncio.sleep(0)
    first.cancel()
    text = await second
    assert await third is text  # made twice it would be two texts
    with pytest.raises(asyncio.CancelledError):
        await first


@pytest.mark.requirement(63, 80)
async def test_a_form_that_no_one_waits_for_any_more_may_be_asked_for_again(constrainer: Constrainer) -> None:
    for _ in range(2):
        only = asyncio.create_task(constrainer.grammar(chat(constraint=heavy(0))))
        await asyncio.sleep(0)
        only.cancel()
        with pytest.raises(asyncio.CancelledError):
            await only
    assert await constrainer.grammar(chat(constraint=heavy(0))) is not None


async def test_all_who_wait_for_a_bad_form_hear_that_it_is_bad(constrainer: Constrainer) -> None:
    asked = [constrainer.grammar(chat(constraint=Regex("("))) for _ in range(3)]
    for outcome in await asyncio.gather(*asked, return_exceptions=True):
        assert isinstance(outcome, InvalidRequest)


def heavy(first: int) -> Choice:
    return Choice(tuple(f"value-{i}" for i in range(first, first + 30_000)))


@pytest.mark.requirement(63)
async def test_in_labelled_output_a_form_stands_behind_the_label() -> None:
    constrainer = Constrainer(FORMATS.get("harmony"), Names(), max_pending=8)
    labelled = await constrainer.grammar(chat(constraint=Regex("a")))
    assert labelled is not None
    assert labelled.startswith('start: "<|channel|>final<|message|>" ANSWER')
    plain = await constrainer.grammar(GenerateRequest(input=TextInput("x"), constraint=Regex("a")))
    assert plain is not None
    assert "channel" not in plain
    with pytest.raises(InvalidRequest, match="harmony"):
        await constrainer.grammar(chat(constraint=Lark('start: "a"')))
    constrainer.close()


@pytest.mark.requirement(63)
async def test_numbers_of_any_length_in_a_schema_are_the_schemas_fault(constrainer: Constrainer) -> None:
    huge = {"type": "integer", "minimum": 10**30}
    with pytest.raises(InvalidRequest) as refused:
        await constrainer.grammar(chat(constraint=JsonSchema(huge)))
    assert refused.value.param == "response_format"
    # A tool that need not be strict is served without it.
    assert await constrainer.grammar(chat(ToolSpec("f", parameters={"properties": {"a": huge}}))) is None
