"""Forced and strict tool calls: what the grammar writes is a call that the format's reader understands."""

from __future__ import annotations

import json
import re
from keyword import iskeyword
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.structured.grammars import accepts, matcher, walk

from vllm_mlx.core.constraints import JsonSchema
from vllm_mlx.core.errors import InvalidRequest
from vllm_mlx.core.events import TextDelta, ToolCallDelta, ToolCallStart
from vllm_mlx.core.tools import ToolChoice, ToolSpec
from vllm_mlx.parsing.registry import FORMATS
from vllm_mlx.parsing.stream import OutputParser
from vllm_mlx.parsing.write import write_calls
from vllm_mlx.structured.check import check_grammar, tokens_of
from vllm_mlx.structured.checking import Names
from vllm_mlx.structured.grammar import answer_of, grammar_of
from vllm_mlx.structured.tools import calls_grammar

WEATHER = ToolSpec(
    "get_weather",
    parameters={
        "type": "object",
        "properties": {
            "city": {"type": "string"},
            "days": {"type": "integer", "minimum": 1, "maximum": 9},
            "unit": {"enum": ["celsius", "fahrenheit"]},
        },
        "required": ["city", "days"],
        "additionalProperties": False,
    },
    strict=True,
)
CLOCK = ToolSpec(
    "clock",
    parameters={"type": "object", "properties": {"utc": {"type": "boolean"}}, "additionalProperties": False},
)
FORECAST = ToolSpec(
    "forecast",
    parameters={
        "type": "object",
        "properties": {
            "city": {"enum": ["Zürich", "<b>", "a\nb"]},
            "days": {"type": "array", "items": {"type": "integer"}, "minItems": 1},
            "exact": {"anyOf": [{"type": "boolean"}, {"type": "null"}]},
            "where": {"type": "object", "properties": {"x": {"type": "number"}}, "required": ["x"]},
        },
        "required": ["city", "days"],
        "additionalProperties": False,
    },
)
"""Without free text, which may be long where tags stand around it, and without numbers beyond all floats,
which stay text where a format writes no JSON."""
TOOLS = (WEATHER, CLOCK)
DESCRIBED = (
    "anthropic",
    "apertus",
    "apriel",
    "command",
    "command_r",
    "deepseek_v3",
    "deepseek_v31",
    "deepseek_v32",
    "deepseek_v4",
    "ernie",
    "functionary",
    "functionary_v2",
    "functionary_v31",
    "functiongemma",
    "gemini",
    "gemma3",
    "gemma4",
    "generic",
    "gigachat",
    "gigachat3",
    "glm4",
    "granite",
    "granite33",
    "granite_20b",
    "harmony",
    "hermes",
    "hunyuan",
    "hy3",
    "internlm",
    "kimi_k2",
    "kimi_k3",
    "lfm2",
    "llama3_json",
    "llama4_json",
    "longcat",
    "minicpm",
    "minimax_m2",
    "minimax_m3",
    "mistral",
    "mistral_json",
    "muse_glimmer",
    "nemotron",
    "olmo3",
    "phi4",
    "pythonic",
    "qwen3_coder",
    "seed_oss",
    "solar_open",
    "step3",
    "xlam",
)
UNDESCRIBED = ("plain", "think")
INSIDE = ("functionary", "functionary_v2")
"""Formats whose answers begin inside a header, and may be followed by calls."""
PARTS = ("harmony", "muse_glimmer")
"""Formats whose words before calls stand in parts of their own."""
BARE = ("gemini", "llama3_json", "llama4_json", "pythonic", "xlam")
"""Formats whose calls nothing marks: they begin the answer, or there are none."""
BYTES = tokens_of(Names())
REQUIRED = ToolChoice("required")
CALLS = [("get_weather", {"city": "Zürich\n<b>", "days": 3, "unit": "celsius"}), ("clock", {"utc": True})]


def grammar(name: str, tools: tuple[ToolSpec, ...], choice: ToolChoice, **more: Any) -> str:
    text = calls_grammar(FORMATS.get(name), tools, choice, lambda tag: None, **more)
    assert text is not None
    check_grammar(text, BYTES)
    return text


def read(name: str, text: str, tools: tuple[ToolSpec, ...] = TOOLS) -> tuple[str, list[tuple[str, Any]]]:
    """The text around the calls, and the calls."""
    parser = OutputParser(FORMATS.get(name), tools=tools)
    said, names, arguments = "", [], []
    for event in [*parser.feed(text), *parser.finish()]:
        match event:
            case TextDelta(text=piece):
                said += piece
            case ToolCallStart(name=called):
                names.append(called)
                arguments.append("")
            case ToolCallDelta():
                arguments[-1] += event.arguments
    return said, [(called, json.loads(given)) for called, given in zip(names, arguments, strict=True)]


def written(name: str, calls: list[tuple[str, dict[str, Any]]]) -> str:
    return write_calls(FORMATS.get(name).calls[0], calls)


@pytest.mark.requirement(63, 65)
def test_every_format_is_described_or_known_not_to_be() -> None:
    assert {FORMATS.get(name).name for name in FORMATS} == {*DESCRIBED, *UNDESCRIBED}


@pytest.mark.requirement(63, 65)
@pytest.mark.parametrize("name", DESCRIBED)
def test_required_takes_calls_as_the_family_writes_them_and_nothing_else(name: str) -> None:
    text = grammar(name, TOOLS, REQUIRED)
    assert accepts(text, written(name, CALLS[:1]))
    assert accepts(text, written(name, CALLS))
    assert accepts(text, written(name, [("clock", {})]))
    for wrong in (
        "",
        "Hello.",
        "Hello. " + written(name, CALLS[:1]),
        written(name, [("unknown", {})]),
        written(name, [("get_weather", {"city": "x"})]),
        written(name, [("get_weather", {"city": "x", "days": 10})]),
        written(name, [("get_weather", {"city": "x", "days": 1, "unit": "kelvin"})]),
        written(name, CALLS[:1])[:-1],
    ):
        assert not accepts(text, wrong), wrong


@pytest.mark.requirement(63, 65)
@pytest.mark.parametrize("name", DESCRIBED)
@pytest.mark.parametrize("seed", range(3))
def test_whatever_a_forced_call_becomes_the_reader_understands_it(name: str, seed: int) -> None:
    tools = (FORECAST, CLOCK)
    output = walk(grammar(name, tools, REQUIRED), seed)
    assert output is not None
    said, calls = read(name, output, tools)
    assert said.strip() == ""
    assert calls
    for called, arguments in calls:
        [tool] = [tool for tool in tools if tool.name == called]
        jsonschema.validate(arguments, tool.parameters)


@pytest.mark.requirement(63, 65)
@pytest.mark.parametrize("name", DESCRIBED)
def test_a_named_tool_is_the_only_one(name: str) -> None:
    text = grammar(name, TOOLS, ToolChoice("named", "clock"))
    assert accepts(text, written(name, CALLS[1:]))
    assert not accepts(text, written(name, CALLS[:1]))


@pytest.mark.requirement(63, 65)
@pytest.mark.parametrize("name", DESCRIBED)
def test_without_parallel_calls_there_is_one(name: str) -> None:
    text = grammar(name, TOOLS, REQUIRED, parallel=False)
    assert accepts(text, written(name, CALLS[:1]))
    assert not accepts(text, written(name, CALLS))


@pytest.mark.requirement(63, 65)
@pytest.mark.parametrize("name", [name for name in DESCRIBED if name not in (*INSIDE, *BARE, *PARTS)])
def test_beside_a_strict_tool_text_is_free_and_calls_are_valid(name: str) -> None:
    text = grammar(name, TOOLS, ToolChoice())
    assert accepts(text, "")
    assert accepts(text, "Just text, 1 < 2.")
    assert accepts(text, "So: " + written(name, CALLS[:1]))
    assert accepts(text, written(name, CALLS))
    assert not accepts(text, written(name, [("get_weather", {"city": "x"})]))
    assert not accepts(text, "So: " + written(name, [("unknown", {})]))
    one = grammar(name, TOOLS, ToolChoice(), parallel=False)
    assert accepts(one, "So: " + written(name, CALLS[:1]))
    assert accepts(one, "No call.")
    assert not accepts(one, written(name, CALLS))


@pytest.mark.requirement(63, 65)
@pytest.mark.parametrize("name", DESCRIBED)
def test_beside_a_response_format_the_answer_is_either(name: str) -> None:
    answer = answer_of(
        JsonSchema({"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]})
    )
    channels = FORMATS.get(name).channels
    before = "" if channels is None else channels.answer_open
    text = grammar(name, TOOLS, ToolChoice(), answer=answer)
    assert accepts(text, before + '{"a": 1}')
    assert accepts(text, written(name, CALLS))
    assert not accepts(text, before + '{"a": "x"}')
    assert not accepts(text, "Hello.")
    assert not accepts(text, written(name, [("get_weather", {"city": "x"})]))


@pytest.mark.requirement(63, 65)
@pytest.mark.parametrize("name", UNDESCRIBED)
def test_a_format_that_cannot_be_described_is_refused_by_name(name: str) -> None:
    with pytest.raises(InvalidRequest, match=f"\\({name}\\)"):
        grammar(name, TOOLS, REQUIRED)


@pytest.mark.requirement(63, 65)
@pytest.mark.parametrize("name", BARE)
def test_where_nothing_marks_a_call_text_does_not_begin_like_one(name: str) -> None:
    text = grammar(name, TOOLS, ToolChoice())
    for fine in ("", "\n", "Just text, {1} [2].", "\n x", written(name, CALLS)):
        assert accepts(text, fine), fine
    call = written(name, [("get_weather", {"city": "x"})])
    for wrong in (call, call[:1], " \n" + call[:1] + "1", written(name, CALLS) + "."):
        assert not accepts(text, wrong), wrong


@pytest.mark.requirement(63, 65)
def test_the_parts_of_harmony_are_free_but_for_their_headers_and_calls() -> None:
    text = grammar("harmony", TOOLS, ToolChoice())
    said = "<|channel|>commentary<|message|>I will look.<|end|><|start|>assistant"
    for fine in (
        "<|channel|>final<|message|>Hello <b>.",
        written("harmony", CALLS[:1]),
        said + written("harmony", CALLS[:1]),
        said + said + "<|channel|>final<|message|>",
    ):
        assert accepts(text, fine), fine
    for wrong in (
        "Hello.",
        "",
        "<|channel|>final json<|message|>{}",
        "<|channel|>commentary to=functions.clock<|message|>{}",
        said + written("harmony", [("unknown", {})]),
    ):
        assert not accepts(text, wrong), wrong


@pytest.mark.requirement(63, 65)
def test_the_messages_of_muse_glimmer_are_free_but_for_their_headers_and_calls() -> None:
    text = grammar("muse_glimmer", TOOLS, ToolChoice())
    begun = "<|start|>assistant"
    said = " to=user<|message|>I will look.<|eom|>"
    call = written("muse_glimmer", CALLS)
    for fine in (
        " to=user<|message|>Hello <b>.",
        call,
        call.removeprefix(begun),
        said + call,
        begun + said + said + " to=user<|message|>",
    ):
        assert accepts(text, fine), fine
    for wrong in (
        "Hello.",
        "",
        " to=clock<|message|>{}",
        said + written("muse_glimmer", [("unknown", {})]),
        call.replace('name="clock"', 'name="get_weather"'),
    ):
        assert not accepts(text, wrong), wrong


@pytest.mark.requirement(63, 65)
def test_calls_may_close_an_answer_that_the_prompt_or_the_thought_has_opened() -> None:
    for name, close in (("kimi_k3", "<|close|>response<|sep|>"), ("solar_open", "<|end|><|begin|>assistant")):
        text = grammar(name, TOOLS, REQUIRED)
        assert accepts(text, close + written(name, CALLS))
        assert not accepts(text, FORMATS.get(name).answer_open + written(name, CALLS))


@pytest.mark.requirement(46, 63)
@pytest.mark.parametrize("name", ["kimi_k3", "solar_open"])
def test_an_answer_with_a_form_may_begin_with_the_familys_tag(name: str) -> None:
    text = grammar_of(JsonSchema({"type": "integer"}), lambda tag: None, FORMATS.get(name))
    assert accepts(text, "5")
    assert accepts(text, f"{FORMATS.get(name).answer_open}5")
    assert not accepts(text, f"{FORMATS.get(name).answer_open}x")


@pytest.mark.requirement(63, 65)
def test_an_argument_that_tells_its_type_tells_one_that_the_schema_allows() -> None:
    text = grammar("kimi_k3", (CLOCK,), REQUIRED)
    call = written("kimi_k3", [("clock", {"utc": True})])
    assert accepts(text, call)
    assert not accepts(text, call.replace('type="boolean"', 'type="string"'))
    assert not accepts(text, call.replace('type="boolean"', 'type="number"'))


@pytest.mark.requirement(63, 65)
def test_a_tag_of_control_tokens_and_words_may_follow_free_text() -> None:
    ids = {"<|open|>": 256, "<|close|>": 257, "<|sep|>": 258}
    text = calls_grammar(FORMATS.get("kimi_k3"), TOOLS, ToolChoice(), ids.get)
    assert text is not None
    asked = matcher(text)

    def taken(output: str) -> bool:
        tokens: list[int] = []
        for piece in re.split(r"(<[^<>]*>)", output):
            tokens += [ids[piece]] if piece in ids else piece.encode()
        return asked.deep_copy().try_consume_tokens(tokens) == len(tokens)

    assert taken("So, <tools>: " + written("kimi_k3", CALLS))
    assert not taken("<|open|>response<|sep|>")
    assert not taken(written("kimi_k3", [("unknown", {})]))


@pytest.mark.requirement(63, 65)
@pytest.mark.parametrize("name", INSIDE)
def test_strict_tools_need_calls_that_text_cannot_begin_like(name: str) -> None:
    with pytest.raises(InvalidRequest, match="begin like any text"):
        grammar(name, TOOLS, ToolChoice())


@pytest.mark.requirement(63)
def test_tools_that_leave_everything_open_have_no_grammar() -> None:
    for tools, choice in (((CLOCK,), ToolChoice()), (TOOLS, ToolChoice("none")), ((), ToolChoice())):
        assert calls_grammar(FORMATS.get("hermes"), tools, choice, lambda tag: None) is None


@pytest.mark.requirement(63)
def test_only_a_strict_tool_is_refused_for_its_schema() -> None:
    schema = {"type": "object", "properties": {"a": {"not": {}}}}
    loose, strict = ToolSpec("f", parameters=schema), ToolSpec("f", parameters=schema, strict=True)
    assert accepts(grammar("hermes", (loose,), REQUIRED), written("hermes", [("f", {"a": 1, "b": []})]))
    with pytest.raises(InvalidRequest, match=r"'f'.*'not'"):
        grammar("hermes", (strict,), REQUIRED)


@pytest.mark.requirement(63)
@pytest.mark.parametrize("name", DESCRIBED)
def test_a_tool_without_parameters_takes_none(name: str) -> None:
    text = grammar(name, (ToolSpec("f"),), REQUIRED)
    assert accepts(text, written(name, [("f", {})]))
    assert not accepts(text, written(name, [("f", {"a": 1})]))


@pytest.mark.requirement(63)
def test_arguments_are_an_object_whatever_the_schema_says() -> None:
    for parameters in ({}, {"type": "object"}, {"$ref": "#/$defs/a", "$defs": {"a": {}}}):
        text = grammar("hermes", (ToolSpec("f", parameters=parameters),), REQUIRED)
        assert accepts(text, written("hermes", [("f", {"a": 1})]))
        assert not accepts(text, '<tool_call>\n{"name": "f", "arguments": 5}\n</tool_call>')


@pytest.mark.requirement(63)
def test_a_tool_that_there_is_not_cannot_be_forced() -> None:
    with pytest.raises(InvalidRequest, match="'g'"):
        grammar("hermes", TOOLS, ToolChoice("named", "g"))
    with pytest.raises(InvalidRequest, match="no tools"):
        grammar("hermes", (), REQUIRED)


@pytest.mark.requirement(63, 65)
@pytest.mark.parametrize("name", ["kimi_k3", "solar_open", "muse_glimmer", "kimi_k2"])
def test_a_name_that_looks_like_a_placeholder_is_a_name(name: str) -> None:
    properties = {"{type}": {"type": "integer"}, "{id}": {"type": "integer"}}
    tool = ToolSpec("f{id}", parameters={"type": "object", "properties": properties})
    if name in ("kimi_k2", "solar_open"):  # a brace ends the name there
        assert refusal(name, tool) is not None
        return
    text = grammar(name, (tool,), REQUIRED)
    assert "f{id}" in text
    assert read(name, written(name, [("f{id}", {})]), (tool,)) == ("", [("f{id}", {})])
    if name not in ("gemma3", "lfm2", "olmo3", "pythonic"):  # names of arguments are words there
        assert "{type}" in text


@pytest.mark.requirement(63, 65)
@pytest.mark.parametrize("name", DESCRIBED)
@given(keys=st.lists(st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,63}", fullmatch=True), min_size=1, unique=True))
@settings(max_examples=5, deadline=None)
def test_words_are_names_in_every_format(name: str, keys: list[str]) -> None:
    """What `unreadable` takes for granted."""
    arguments = {key: 1 for key in keys if not iskeyword(key)}
    assert read(name, written(name, [("f", arguments)]), (ToolSpec("f"),)) == ("", [("f", arguments)])


ODD = ("plain", "max temp", "user:name", 'a"b', "a<b", "it's", "ключ", "a=b", "a,b", "a}", " a", "x" * 400)


def named(key: str, *, strict: bool = False) -> ToolSpec:
    """A tool with an argument of this name, and one with it inside."""
    color = {"type": "string", "enum": ["red", "green"]}
    point = {"type": "object", "properties": {key: color}, "additionalProperties": False}
    properties = {key: color, "ok": {"type": "integer"}, "in": point}
    schema = {"type": "object", "properties": properties, "required": [key, "ok"]}
    schema |= {"additionalProperties": False}
    return ToolSpec("paint", parameters=schema, strict=strict)


@pytest.mark.requirement(63, 80)
@pytest.mark.parametrize("required", [[{}], [[], 1], "k", {"k": 1}, None, ['k"', {}]], ids=repr)
def test_odd_names_beside_a_schema_that_is_none_are_the_callers_fault_or_left_out(required: Any) -> None:
    schema = {"type": "object", "properties": {'k"': {}, "k": {"properties": [1]}}, "required": required}
    for strict in (False, True):
        tool = ToolSpec("paint", parameters=schema, strict=strict)
        assert refusal("qwen3_coder", tool) is not None or not strict


def refusal(name: str, tool: ToolSpec) -> InvalidRequest | None:
    try:
        grammar(name, (tool,), REQUIRED)
    except InvalidRequest as error:
        return error
    return None


@pytest.mark.requirement(63, 65, 68)
@pytest.mark.parametrize("name", DESCRIBED)
def test_a_forced_call_has_no_names_that_its_format_does_not_read_again(name: str) -> None:
    assert refusal(name, named("plain")) is None
    for key in ODD:
        text = grammar(name, (named(key),), REQUIRED)
        call = [("paint", {key: "red", "ok": 1})]
        bare = written(name, [("paint", {"ok": 1})])
        if accepts(text, written(name, call)):
            assert read(name, written(name, call), (named(key),)) == ("", call)
            assert not accepts(text, bare)
        else:
            assert key != "plain"
            assert accepts(text, bare)
            strict = refusal(name, named(key, strict=True))
            assert strict is not None
            assert "cannot be strict" in strict.message
            assert strict.param == "tools"


@pytest.mark.requirement(63, 65, 68)
@pytest.mark.parametrize("name", ["hermes", "kimi_k2", "qwen3_coder", "pythonic", "gemma4"])
def test_a_tool_whose_name_a_format_does_not_read_again_cannot_be_forced(name: str) -> None:
    for odd in ("a tool", 'a"b', "a<b", "a(b", "f{id}"):
        tool = ToolSpec(odd, parameters={"type": "object", "properties": {}})
        error = refusal(name, tool)
        if error is None:
            assert read(name, written(name, [(odd, {})]), (tool,)) == ("", [(odd, {})])
        else:
            assert "cannot write its name" in error.message
