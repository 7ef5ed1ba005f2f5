from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from itertools import count

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.parsing.said import Said, said
from tests.parsing.said import parse as parse_with

from vllm_mlx.core.events import (
    Event,
    ReasoningDelta,
    TextDelta,
    TokenLogprob,
    ToolCallDelta,
    ToolCallStart,
)
from vllm_mlx.core.tools import ToolSpec
from vllm_mlx.parsing.format import OutputFormat
from vllm_mlx.parsing.registry import FORMATS
from vllm_mlx.parsing.stream import OutputParser

HERMES = FORMATS.get("hermes")
CALL = (
    '<tool_call>\n{"name": "look", "arguments": {"q": "caf\u00e9 \U0001f600", "n": [1, "}"]}}\n</tool_call>'
)


def parse(
    pieces: Sequence[str], fmt: OutputFormat = HERMES, *, thinking: bool = False, tools: bool = True
) -> list[Said]:
    return parse_with(pieces, fmt, thinking=thinking, tools=() if tools else None)


def call(index: int, name: str, arguments: str) -> list[Said]:
    return [("call", str(index), name, f"id{index}"), (f"arguments {index}", arguments)]


LOOK = '{"q": "caf\u00e9 \U0001f600", "n": [1, "}"]}'

CASES: dict[str, tuple[str, list[Said]]] = {
    "an answer": ("Hello\nworld\n", [("text", "Hello\nworld\n")]),
    "nothing": ("", []),
    "a thought and an answer": (
        "<think>\nHm.\n\nYes.\n</think>\n\nHello",
        [("thought", "Hm.\n\nYes."), ("text", "Hello")],
    ),
    "an empty thought": ("<think>\n\n</think>\n\nHello", [("text", "Hello")]),
    "a thought that never ends": ("<think>\nHm.\n", [("thought", "Hm.\n")]),
    "spaces beside tags": ("<think> a </think> b ", [("thought", " a "), ("text", " b ")]),
    "a call": (CALL, call(0, "look", LOOK)),
    "a call after an answer": ("Wait.\n" + CALL, [("text", "Wait."), *call(0, "look", LOOK)]),
    "a call inside a thought": (
        f"<think>\na\n{CALL}\nb\n</think>\n\nc",
        [("thought", "a"), *call(0, "look", LOOK), ("thought", "\n\nb"), ("text", "c")],
    ),
    "several calls": (
        f'{CALL}\n<tool_call>{{"name": "b", "arguments": {{}}}}</tool_call>',
        [*call(0, "look", LOOK), *call(1, "b", "{}")],
    ),
    "several calls in one block": (
        '<tool_call>[{"name": "a", "arguments": {}}, {"name": "b", "arguments": {"x": 1}}]</tool_call>',
        [*call(0, "a", "{}"), *call(1, "b", '{"x": 1}')],
    ),
    "text between calls": (
        f'a\n{CALL}\nb\n<tool_call>{{"name": "c"}}</tool_call>\nd',
        [("text", "a"), *call(0, "look", LOOK), ("text", "\n\nb"), *call(1, "c", "{}"), ("text", "\n\nd")],
    ),
    "arguments before the name": (
        '<tool_call>{"arguments": {"a": 1}, "name": "f"}</tool_call>',
        call(0, "f", '{"a": 1}'),
    ),
    "arguments as a string": (
        '<tool_call>{"name": "f", "arguments": "{\\"a\\": 1}"}</tool_call>',
        call(0, "f", '{"a": 1}'),
    ),
    "a string that is no arguments": (
        '<tool_call>{"name": "f", "arguments": "two words"}</tool_call>',
        call(0, "f", "two words"),
    ),
    "arguments called parameters": (
        '<tool_call>{"name": "f", "parameters": {"a": 1}}</tool_call>',
        call(0, "f", '{"a": 1}'),
    ),
    "null arguments": ('<tool_call>{"name": "f", "arguments": null}</tool_call>', call(0, "f", "{}")),
    "a name with escapes": ('<tool_call>{"name": "\\u0066"}</tool_call>', call(0, "f", "{}")),
    "other members": (
        '<tool_call>{"id": [1, "<x"], "name": "f", "arguments": {}, "type": "function"}</tool_call>!',
        [*call(0, "f", "{}"), ("text", "!")],
    ),
    "the close tag in an argument": (
        '<tool_call>{"name": "f", "arguments": {"a": "x</tool_call>\\n</tool_call>"}}</tool_call>!',
        [*call(0, "f", '{"a": "x</tool_call>\\n</tool_call>"}'), ("text", "!")],
    ),
    "a missing outer brace": (
        '<tool_call>\n{"name": "f", "arguments": {"a": 1}\n</tool_call>!',
        [*call(0, "f", '{"a": 1}'), ("text", "!")],
    ),
    "one brace too many": (
        '<tool_call>{"name": "f", "arguments": {"a": 1}}}\n</tool_call>!',
        [*call(0, "f", '{"a": 1}'), ("text", "!")],
    ),
    "a string that is never closed": (
        '<tool_call>{"name": "f", "arguments": {"a": "1}}\n</tool_call>Bye',
        [*call(0, "f", '{"a": "1}}\n'), ("text", "Bye")],
    ),
    "no close tag": ('<tool_call>{"name": "f", "arguments": {}}', call(0, "f", "{}")),
    "half a close tag": ('<tool_call>{"name": "f", "arguments": {}}\n</tool', call(0, "f", "{}")),
    "cut in the arguments": (
        '<tool_call>{"name": "f", "arguments": {"a": "Par',
        call(0, "f", '{"a": "Par'),
    ),
    "cut in the name": ('a\n<tool_call>\n{"name": "f', [("text", 'a\n<tool_call>\n{"name": "f')]),
    "cut in the tag": ("a\n<tool_c", [("text", "a\n<tool_c")]),
    "no JSON": ("<tool_call>look()</tool_call>", [("text", "<tool_call>look()</tool_call>")]),
    "JSON without a name": (
        '<tool_call>{"q": 1}</tool_call>b',
        [("text", '<tool_call>{"q": 1}</tool_call>b')],
    ),
    "a flat call": (
        '<tool_call>{"name": "f", "q": 1}</tool_call>b',
        [("text", '<tool_call>{"name": "f", "q": 1}</tool_call>b')],
    ),
    "an empty block": ("a<tool_call>\n</tool_call>", [("text", "a<tool_call>\n</tool_call>")]),
    "a broken call inside a thought": (
        "<think>use <tool_call> now</think>ok",
        [("thought", "use <tool_call> now"), ("text", "ok")],
    ),
    "a broken call before a good one": (
        "<tool_call>\n" + CALL,
        [("text", "<tool_call>"), *call(0, "look", LOOK)],
    ),
    "garbage after a call": (
        '<tool_call>{"name": "f", "arguments": {}} oops</tool_call>',
        [*call(0, "f", "{}"), ("text", " oops</tool_call>")],
    ),
    "a stray close tag": ("a</think>b</tool_call>", [("text", "a</think>b</tool_call>")]),
    "tags that only begin alike": (
        "a < b <th <thin<think>x",
        [("text", "a < b <th <thin"), ("thought", "x")],
    ),
    "nested JSON that looks broken": (
        '<tool_call>{"name": "f", "arguments": {"a": 1, b <c }}</tool_call>',
        call(0, "f", '{"a": 1, b <c }'),
    ),
}


@pytest.mark.parametrize(("text", "expected"), CASES.values(), ids=CASES.keys())
def test_a_whole_text_gives_its_events(text: str, expected: list[Said]) -> None:
    assert parse([text]) == expected


@pytest.mark.requirement(68)
@pytest.mark.parametrize("text", [text for text, _ in CASES.values()], ids=CASES.keys())
def test_every_cut_gives_the_same_events(text: str) -> None:
    whole = parse([text])
    assert parse(list(text)) == whole
    for cut in range(1, len(text)):
        assert parse([text[:cut], text[cut:]]) == whole


FRAGMENTS = st.sampled_from(
    [
        *(
            "<think>",
            "</think>",
            "<tool_call>",
            "</tool_call>",
            "\n",
            "<",
            "</",
            " ",
            '"',
            "{",
            "}",
            "[",
            "]",
        ),
        *('{"name": "f", "arguments": ', '{"name": "f", "arguments": {"k": "', '"}}', ",", ":", "\\", "1"),
        *('{"arguments": {}, "name": "g"}', "W"),
    ]
)


@given(st.lists(FRAGMENTS, max_size=25), st.booleans(), st.data())
def test_random_markup_in_random_cuts_gives_the_same_events_and_loses_no_word(
    fragments: list[str], thinking: bool, data: st.DataObject
) -> None:
    numbered = count()
    text = "".join(f"w{next(numbered)}." if part == "W" else part for part in fragments)
    whole = parse([text], thinking=thinking)
    assert parse(list(text), thinking=thinking) == whole
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    assert parse(pieces, thinking=thinking) == whole
    everything = "\n".join(part for one in whole for part in one[1:])
    for number in range(next(numbered)):
        assert everything.count(f"w{number}.") == 1


@given(
    st.dictionaries(
        st.text(max_size=5), st.recursive(st.none() | st.text(max_size=5), st.lists, max_leaves=5), max_size=4
    ),
    st.booleans(),
)
def test_arguments_arrive_as_they_were_written(arguments: dict[str, object], ascii_only: bool) -> None:
    written = json.dumps(arguments, ensure_ascii=ascii_only)
    text = '<tool_call>\n{"name": "f", "arguments": ' + written + "}\n</tool_call>"
    assert parse(list(text)) == call(0, "f", written)


def test_a_call_is_announced_and_its_arguments_flow_before_it_is_complete() -> None:
    parser = OutputParser(HERMES, new_id=lambda: "id0")
    assert parser.feed('<tool_call>{"name": "f", "arguments": {"a') == [
        ToolCallStart(0, 0, "id0", "f"),
        ToolCallDelta(0, 0, '{"a'),
    ]
    assert parser.feed('": 1') == [ToolCallDelta(0, 0, '": 1')]
    assert parser.calls == 1


@pytest.mark.requirement(67)
def test_a_prompt_that_opened_the_thought_makes_the_text_begin_inside_it() -> None:
    assert parse(["\nHm.\n</think>\n\nHi"], thinking=True) == [("thought", "Hm."), ("text", "Hi")]
    assert parse(["<think>\nHm.</think>Hi"], thinking=True) == [("thought", "Hm."), ("text", "Hi")]
    assert parse(["Hm <think>"], thinking=True) == [("thought", "Hm <think>")]


def test_without_tools_their_markup_is_what_the_model_said() -> None:
    assert parse([CALL], tools=False) == [("text", CALL)]


def test_a_format_without_markup_passes_everything_at_once() -> None:
    parser = OutputParser(FORMATS.get("plain"), 3)
    assert parser.feed("<think>\n") == [TextDelta(3, "<think>\n")]
    assert parser.finish() == []


def test_a_character_that_begins_no_tag_is_shown_at_once() -> None:
    parser = OutputParser(HERMES)
    assert parser.feed("a <") == [TextDelta(0, "a ")]
    assert parser.feed("b") == [TextDelta(0, "<b")]


def test_the_parser_says_whether_the_text_ends_inside_the_thought() -> None:
    parser = OutputParser(HERMES)
    states = []
    for piece in ("<think>", "a", "</think>", "b"):
        parser.feed(piece)
        states.append(parser.reasoning)
    assert states == [True, True, False, False]


def logprob(token: str) -> TokenLogprob:
    return TokenLogprob(0, token, token.encode(), -0.5)


@given(st.lists(st.sampled_from(["a", "\n", "<think>", "</think>", "<", CALL]), max_size=12))
def test_every_logprob_comes_out_once_and_in_order(tokens: list[str]) -> None:
    parser = OutputParser(HERMES)
    events: list[Event] = []
    for token in tokens:
        events += parser.feed(token, [logprob(token)])
    events += parser.finish()
    deltas = [event for event in events if isinstance(event, TextDelta | ReasoningDelta)]
    assert [one.token for delta in deltas for one in delta.logprobs] == tokens


def test_logprobs_travel_with_the_delta_that_shows_their_text() -> None:
    parser = OutputParser(HERMES)
    assert parser.feed("<", [logprob("<")]) == []
    assert parser.feed("b", [logprob("b")]) == [TextDelta(0, "<b", (logprob("<"), logprob("b")))]


@pytest.mark.parametrize(
    "unit",
    [
        "<",
        "\n",
        "<tool_call>",
        "<tool_call>{",
        "<think></think>",
        '<tool_call>{"name": "f", "arguments": {"a": "\n</tool_cal',
        '<tool_call>{"name": "aaaaaaaaaaaaaaaa',
        '<tool_call>{"x": [[[[[[1,',
        CALL,
    ],
)
@pytest.mark.parametrize("piece", [1, 7, 1 << 30])
def test_the_work_grows_linearly_with_the_text(
    unit: str, piece: int, lines_executed: Callable[[Callable[[], object]], int]
) -> None:
    def work(n: int) -> int:
        text = unit * (n // len(unit))
        pieces = [text[at : at + piece] for at in range(0, len(text), piece)]
        return lines_executed(lambda: parse(pieces))

    assert work(8000) <= 2.3 * work(4000)


def test_a_broken_body_is_shown_as_soon_as_it_is_known_to_be_broken() -> None:
    parser = OutputParser(HERMES)
    assert said(parser.feed("<tool_call>no")) == [("text", "<tool_call>no")]


@pytest.mark.requirement(77)
@pytest.mark.parametrize(
    "call",
    [
        '{"name": "\\ud800", "arguments": {}}',
        '{"name": "f", "arguments": "\\udfff"}',
        '{"arguments": "{\\"a\\": \\"\\ud800\\"}", "name": "f"}',
    ],
)
def test_what_a_model_writes_can_always_be_sent(call: str) -> None:
    assert_can_be_sent("hermes", f"<tool_call>{call}</tool_call>")


@pytest.mark.requirement(77)
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("hermes", '<tool_call>{"name": "f", "arguments": {"o": "{\\"k\\": \\"\\\\udfff\\"}"}}</tool_call>'),
        ("pythonic", "[f(o={'k': '\\U0000dfff'})]"),
        ("pythonic", "[f(o='\\U0000dfff')]"),
    ],
)
def test_half_a_character_in_arguments_of_a_type_can_be_sent(name: str, text: str) -> None:
    assert "\ufffd" in assert_can_be_sent(name, text)


def assert_can_be_sent(name: str, text: str) -> str:
    tool = ToolSpec("f", parameters={"type": "object", "properties": {"o": {"type": "object"}}})
    parser = OutputParser(FORMATS.get(name), tools=[tool])
    events = parser.feed(text) + parser.finish()
    assert any(isinstance(event, ToolCallStart) for event in events)
    calls = [event for event in events if isinstance(event, ToolCallStart | ToolCallDelta)]
    for event in calls:
        str(event).encode()
        msgspec.json.encode(event)
    return "".join(event.arguments for event in calls if isinstance(event, ToolCallDelta))


@pytest.mark.requirement(65)
@pytest.mark.parametrize("written", ['{"n": 3,}', "{'n': 3}", '{"s": True}', '{"n": ' + "9" * 4400 + "}"])
@pytest.mark.parametrize("name", ["hermes", "llama4_json"])
def test_arguments_that_are_no_json_reach_the_client_wherever_they_stand(name: str, written: str) -> None:
    key = "parameters" if name == "llama4_json" else "arguments"
    output = f'{{"{key}": {written}, "name": "look"}}'
    output = output if name == "llama4_json" else f"<tool_call>\n{output}\n</tool_call>"
    events = parse_with(list(output), FORMATS.get(name))
    assert written in "".join(str(part) for event in events for part in event)


TAGGED = '{"a": "<think>b</think>", "c": "<tool_call>\\n<|channel|>"}'
FORMED: dict[str, tuple[str, str, list[Said]]] = {
    "an answer": ("hermes", TAGGED, [("text", TAGGED)]),
    "a thought first": ("hermes", f"<think>\nx\n</think>\n\n{TAGGED}", [("thought", "x"), ("text", TAGGED)]),
    "calls instead": ("hermes", f"{CALL}\n{CALL}", [*call(0, "look", LOOK), *call(1, "look", LOOK)]),
    "white space": ("hermes", " \n<answer>", [("text", " \n<answer>")]),
    "nothing": ("hermes", "", []),
    "markup that other answers drop": ("hunyuan", '["<answer>"]', [("text", '["<answer>"]')]),
    "a part": (
        "harmony",
        f"<|channel|>analysis<|message|>x<|end|><|start|>assistant<|channel|>final<|message|>{TAGGED}",
        [("thought", "x"), ("text", TAGGED)],
    ),
    "an answer in a channel": (
        "kimi_k3",
        f"<|open|>think<|sep|>x<|close|>think<|sep|><|open|>response<|sep|>{TAGGED}",
        [("thought", "x"), ("text", TAGGED)],
    ),
    "a message": (
        "muse_glimmer",
        f" to=self<|message|>x<|eom|><|start|>assistant to=user<|message|>{TAGGED}",
        [("thought", "x"), ("text", TAGGED)],
    ),
    "an answer in a turn of its own": (
        "solar_open",
        f"<|think|>x<|end|><|begin|>assistant<|content|>{TAGGED}",
        [("thought", "x"), ("text", TAGGED)],
    ),
    "no call, though nothing marks one": (
        "llama3_json",
        '{"b": "<|eom_id|>"}',
        [("text", '{"b": "<|eom_id|>"}')],
    ),
}


@pytest.mark.requirement(46, 63, 67)
@pytest.mark.parametrize("what", FORMED)
def test_an_answer_that_has_a_form_may_hold_any_tag(what: str) -> None:
    name, text, expected = FORMED[what]
    for size in (1, 2, 3, 7, len(text) or 1):
        pieces = [text[at : at + size] for at in range(0, len(text), size)]
        assert parse_with(pieces, FORMATS.get(name), has_form=True) == expected, size
