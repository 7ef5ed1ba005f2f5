"""A form is asked of what follows the thought; line breaks between the two do not change the answer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.scripted import Answer, scripted_service

from vllm_mlx.core.constraints import JsonSchema, Regex
from vllm_mlx.core.messages import Message, Text
from vllm_mlx.core.requests import ChatInput, GenerateRequest
from vllm_mlx.core.results import ChoiceResult, fold
from vllm_mlx.core.sampling import SamplingParams
from vllm_mlx.core.tools import ToolChoice, ToolSpec

pytestmark = [pytest.mark.anyio, pytest.mark.requirement(63, 67)]

ANSWER = '{"a": 1, "b": "x\\n\\ny"}'
CALL = '<tool_call>\n{"name": "look", "arguments": {"a": 1}}\n</tool_call>'
SCHEMA = {
    "type": "object",
    "properties": {"a": {"type": "integer"}, "b": {"type": "string"}},
    "required": ["a"],
    "additionalProperties": False,
}
BETWEEN = ["", "\n", "\n\n"]


PIECES = (".</", ">\n\n", '>{"', " <")
"""Tokens of which a part is a tag's, where tags are plain text."""


async def said(folder: Path, text: str, *, pieces: Sequence[str] | None = None, **more: Any) -> ChoiceResult:
    chat = ChatInput(messages=(Message("user", (Text("Hi"),)),), **more.pop("chat", {}))
    sampling = SamplingParams(max_tokens=120, temperature=0.0)
    hub = scripted_service(folder, [Answer(text)], pieces=pieces)
    await hub.start()
    try:
        result = await fold(hub.generate(GenerateRequest(input=chat, sampling=sampling, **more)))
    finally:
        await hub.aclose()
    return result.choices[0]


@pytest.mark.parametrize("between", BETWEEN)
@pytest.mark.parametrize("thought", ["<think>\nabc\n</think>", "<think></think>"])
async def test_an_answer_after_a_thought_is_what_the_model_writes(
    tmp_path: Path, thought: str, between: str
) -> None:
    text = thought + between + ANSWER
    free = await said(tmp_path / "m", text)
    bound = await said(tmp_path / "n", text, constraint=JsonSchema(SCHEMA))
    assert (bound.reasoning, bound.text) == (free.reasoning, free.text)
    assert bound.text == ANSWER


@pytest.mark.parametrize("between", BETWEEN)
async def test_a_forced_call_after_a_thought_is_what_the_model_writes(tmp_path: Path, between: str) -> None:
    tools = {"tools": (ToolSpec("look", parameters=SCHEMA),), "tool_choice": ToolChoice("required")}
    choice = await said(tmp_path / "m", f"<think>\nabc\n</think>{between}{CALL}", chat=tools)
    [call] = choice.tool_calls
    assert (call.name, call.arguments) == ("look", '{"a": 1}')
    assert not choice.text


async def test_a_model_that_shall_not_think_answers_in_its_form_at_once(tmp_path: Path) -> None:
    silent = {"template_kwargs": {"enable_thinking": False}}
    text = "<think>\nabc\n</think>7"
    choice = await said(tmp_path / "m", text, constraint=Regex("[0-9]"), chat=silent)
    assert (choice.reasoning, len(choice.text)) == ("", 1)
    assert choice.text in set("0123456789")


async def test_an_answer_without_a_thought_begins_with_its_form(tmp_path: Path) -> None:
    choice = await said(tmp_path / "m", "\n\n7", constraint=Regex("[0-9]"))
    assert choice.text in set("0123456789")


@pytest.mark.parametrize("between", BETWEEN)
@pytest.mark.parametrize("thought", ["<think>Well.", "<think>\nWell\n", "<think>a < b </th>"])
async def test_a_tag_in_plain_text_ends_the_thought_whichever_tokens_it_comes_in(
    tmp_path: Path, thought: str, between: str
) -> None:
    text = f"{thought}</think>{between}{ANSWER}"
    free = await said(tmp_path / "m", text, pieces=PIECES)
    bound = await said(tmp_path / "n", text, pieces=PIECES, constraint=JsonSchema(SCHEMA))
    assert (bound.reasoning, bound.text) == (free.reasoning, free.text)
    assert bound.text == ANSWER


async def test_a_thought_in_plain_tags_has_a_budget_and_the_answer_none(tmp_path: Path) -> None:
    text = "<think>Well.</think>\n\nIt is a long answer that no budget of thought may end."
    choice = await said(tmp_path / "m", text, pieces=PIECES, constraint=Regex("(.|\n)*"), thinking_budget=12)
    assert choice.text == text.partition("\n\n")[2]
    choice = await said(
        tmp_path / "n",
        text.replace("Well", "Well, let me see"),
        pieces=PIECES,
        constraint=Regex("(.|\n)*"),
        thinking_budget=5,
    )
    assert choice.reasoning.strip() == "Well,"
