"""A forced call that is cut off: what was told of it is kept, and its markup is nobody's answer."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import msgspec
import pytest
from tests.fakes.scripted import Answer, scripted_service

from vllm_mlx.config import ModelConfig
from vllm_mlx.core.constraints import JsonSchema
from vllm_mlx.core.events import Finished, TextDelta
from vllm_mlx.core.messages import Message, Text
from vllm_mlx.core.requests import ChatInput, GenerateRequest
from vllm_mlx.core.results import ChoiceResult, fold
from vllm_mlx.core.sampling import SamplingParams
from vllm_mlx.core.tools import ToolChoice, ToolSpec
from vllm_mlx.parsing.registry import FORMATS
from vllm_mlx.parsing.stream import OutputParser
from vllm_mlx.parsing.write import write_calls
from vllm_mlx.service.hub import Hub

pytestmark = [pytest.mark.anyio, pytest.mark.requirement(65, 68)]

CITY = {"type": "string", "enum": ["Rome"]}
SCHEMA = {"type": "object", "properties": {"city": CITY}, "required": ["city"], "additionalProperties": False}
TOOLS = (ToolSpec("get_weather", None, SCHEMA),)
ARGUMENTS = {"city": "Rome"}
KINDS = ("hermes", "qwen3_coder", "llama3_json", "pythonic", "gemma4", "deepseek_v31")
"""Formats of every syntax, with tags and without, and with tags that are more than one token a character."""


def script(name: str) -> str:
    return write_calls(FORMATS.get(name).calls[0], [("get_weather", ARGUMENTS)])


def request(mode: str, **sampling: int | tuple[str, ...]) -> GenerateRequest:
    choice = {"named": ToolChoice("named", "get_weather"), "required": ToolChoice("required")}
    chat = ChatInput(
        messages=(Message("user", (Text("Hi"),)),), tools=TOOLS, tool_choice=choice.get(mode, ToolChoice())
    )
    params = SamplingParams(temperature=0.0, **sampling)  # type: ignore[arg-type]
    return GenerateRequest(input=chat, sampling=params)


async def cut(hub: Hub, mode: str, tokens: int) -> ChoiceResult:
    return (await fold(hub.generate(request(mode, max_tokens=tokens)))).choices[0]


async def length(hub: Hub) -> int:
    """Tokens of the whole answer."""
    result = await fold(hub.generate(request("required", max_tokens=1000)))
    assert [json.loads(call.arguments) for call in result.choices[0].tool_calls] == [ARGUMENTS]
    return result.usage.completion_tokens


@pytest.mark.parametrize("name", KINDS)
async def test_a_forced_call_is_never_shown_as_text_wherever_it_is_cut_off(tmp_path: Path, name: str) -> None:
    text = script(name)
    settings = ModelConfig(model=str(tmp_path / "m"), tool_call_parser=name, reasoning_parser="plain")
    hub = scripted_service(tmp_path / "m", [Answer(text)], model=settings)
    await hub.start()
    try:
        tokens = await length(hub)
        cuts = range(1, tokens, 1 + tokens // 60)
        called = await asyncio.gather(
            *(cut(hub, mode, most) for mode in ("required", "named") for most in cuts)
        )
        free = await asyncio.gather(*(cut(hub, "auto", most) for most in cuts))
    finally:
        await hub.aclose()
    assert {choice.finish_reason for choice in called if not choice.tool_calls} == {"length"}
    assert {choice.text for choice in called} == {""}
    assert {call.name for choice in called for call in choice.tool_calls} == {"get_weather"}
    # What nobody forced may be the beginning of anything: nothing of it is lost.
    begun = [choice.text for choice in free if not choice.tool_calls]
    assert begun
    assert all(said and text.startswith(said.strip("\ufffd\n")) for said in begun)


@pytest.mark.parametrize("name", KINDS)
async def test_a_call_in_the_place_of_a_form_is_no_text_of_that_form_wherever_it_is_cut_off(
    tmp_path: Path, name: str
) -> None:
    marked = OutputParser(FORMATS.get(name), tools=TOOLS).begins_markup(script(name))
    settings = ModelConfig(model=str(tmp_path / "m"), tool_call_parser=name, reasoning_parser="plain")
    hub = scripted_service(tmp_path / "m", [Answer(script(name))], model=settings)
    form = JsonSchema({"type": "object", "properties": {"a": {"type": "integer"}}})

    async def of_form(most: int) -> ChoiceResult:
        asked = msgspec.structs.replace(request("auto", max_tokens=most), constraint=form)
        return (await fold(hub.generate(asked))).choices[0]

    await hub.start()
    try:
        cuts = range(1, await length(hub), 3)
        cut = await asyncio.gather(*(of_form(most) for most in cuts))
    finally:
        await hub.aclose()
    assert any(choice.tool_calls for choice in cut)
    if marked:
        assert {choice.text for choice in cut} == {""}
    else:  # what nothing marks could be the form's as well
        assert name in ("llama3_json", "pythonic")
        assert {choice.text for choice in cut if choice.tool_calls} == {""}


async def test_a_form_that_is_cut_off_is_shown(tmp_path: Path) -> None:
    text = '{"a": "<tool_call>"}'
    hub = scripted_service(tmp_path / "m", [Answer(text)])
    await hub.start()
    try:
        for most in range(1, 12):
            asked = msgspec.structs.replace(
                request("auto", max_tokens=most), constraint=JsonSchema({"type": "object"})
            )
            (choice,) = (await fold(hub.generate(asked))).choices
            assert choice.text
            assert text.startswith(choice.text)
    finally:
        await hub.aclose()


async def test_a_stop_string_in_its_markup_leaves_no_text_either(tmp_path: Path) -> None:
    hub = scripted_service(tmp_path / "m", [Answer(script("hermes"))])
    await hub.start()
    try:
        result = await fold(hub.generate(request("required", stop=("get_w",), max_tokens=100)))
    finally:
        await hub.aclose()
    (choice,) = result.choices
    assert (choice.text, choice.tool_calls, choice.finish_reason) == ("", (), "stop")


@pytest.mark.parametrize("mode", ["auto", "required"])
@pytest.mark.parametrize("name", KINDS)
async def test_a_stop_string_in_its_arguments_is_the_reason_and_one_behind_them_is_not(
    tmp_path: Path, name: str, mode: str
) -> None:
    settings = ModelConfig(model=str(tmp_path / "m"), tool_call_parser=name, reasoning_parser="plain")
    text = script(name)
    hub = scripted_service(tmp_path / "m", [Answer(text)], model=settings)
    stops = ["ome", "The end"]  # in the only argument, and nowhere
    closing = text[text.rindex("Rome") + 4 :].rsplit("}", 1)[-1].strip()
    if name == "hermes":
        assert closing == "</tool_call>"
        stops.append(closing)
    await hub.start()
    try:
        cut, *whole = [
            (await fold(hub.generate(request(mode, stop=(stop,), max_tokens=1000)))).choices[0]
            for stop in stops
        ]
    finally:
        await hub.aclose()
    assert (cut.finish_reason, cut.stop_sequence) == ("stop", "ome")
    assert [call.name for call in cut.tool_calls] == ["get_weather"]
    with pytest.raises(ValueError, match=r"."):
        json.loads(cut.tool_calls[0].arguments)
    for choice in whole:
        assert choice.finish_reason == "tool_calls"
        assert [json.loads(call.arguments) for call in choice.tool_calls] == [ARGUMENTS]


async def test_a_call_that_was_closed_is_whole_whatever_its_arguments_are(tmp_path: Path) -> None:
    text = script("hermes").replace('"Rome"', "Rome") + "\nDone here."
    hub = scripted_service(tmp_path / "m", [Answer(text)])
    await hub.start()
    try:
        (choice,) = (await fold(hub.generate(request("auto", stop=("here",), max_tokens=1000)))).choices
    finally:
        await hub.aclose()
    assert (choice.finish_reason, choice.stop_sequence) == ("tool_calls", "here")
    assert "Done" in choice.text


@pytest.mark.parametrize("stop", [">", "think"])
async def test_a_form_shows_no_part_of_a_tag_that_opens_a_thought(tmp_path: Path, stop: str) -> None:
    hub = scripted_service(tmp_path / "m", [Answer("<think>Hm.</think>{}")])
    asked = request("auto", stop=(stop,), max_tokens=1000)
    chat = msgspec.structs.replace(asked.input, tools=())
    await hub.start()
    try:
        asked = msgspec.structs.replace(asked, input=chat, constraint=JsonSchema({"type": "object"}))
        (choice,) = (await fold(hub.generate(asked))).choices
    finally:
        await hub.aclose()
    assert (choice.text, choice.finish_reason) == ("", "stop")


async def test_the_logprobs_of_its_tokens_are_all_told(tmp_path: Path) -> None:
    hub = scripted_service(tmp_path / "m", [Answer(script("hermes"))])
    await hub.start()
    try:
        asked = request("required", max_tokens=9, logprobs=1)
        events = [event async for event in hub.generate(asked)]
    finally:
        await hub.aclose()
    assert [event.reason for event in events if isinstance(event, Finished)] == ["length"]
    texts = [event for event in events if isinstance(event, TextDelta)]
    assert "".join(event.text for event in texts) == ""
    assert sum(len(event.logprobs) for event in texts) == 9
