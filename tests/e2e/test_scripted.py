"""The scripted server: exact reasoning, tool calls and text through the whole path of the real app."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import openai
import pytest
from tests.e2e.server import Server
from tests.fakes.scripted import Answer, load_script
from tests.fakes.wire import as_folded, folded_chat, frames

TOOLS: list[Any] = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "The weather of a city",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}},
                "required": ["city"],
            },
        },
    }
]
EMOJI = "Grüße 👩‍👩‍👧 日本語 🏳️‍🌈!"


def ask(sdk: openai.OpenAI, prompt: str, **more: Any) -> Any:
    messages: Any = [{"role": "user", "content": prompt}]
    return sdk.chat.completions.create(model="default", messages=messages, **more)


@pytest.mark.requirement(67, 68)
def test_a_thought_and_a_tool_call_are_told_apart(scripted_sdk: openai.OpenAI) -> None:
    choice = ask(scripted_sdk, "What is the weather?", tools=TOOLS).choices[0]
    assert (choice.finish_reason, choice.message.content) == ("tool_calls", None)
    assert choice.message.reasoning == choice.message.reasoning_content == "I need the tool."
    (call,) = choice.message.tool_calls
    assert call.function.name == "get_weather"
    assert json.loads(call.function.arguments) == {"city": "Zürich"}


@pytest.mark.requirement(68)
def test_a_streamed_tool_call_adds_up_to_the_whole_one(scripted_sdk: openai.OpenAI, scripted: Server) -> None:
    messages: Any = [{"role": "user", "content": "What is the weather?"}]
    with scripted_sdk.chat.completions.stream(model="default", messages=messages, tools=TOOLS) as stream:
        final = stream.get_final_completion().choices[0]
    assert final.finish_reason == "tool_calls"
    assert final.message.tool_calls
    assert json.loads(final.message.tool_calls[0].function.arguments) == {"city": "Zürich"}
    body = {"messages": messages, "tools": TOOLS}
    whole = as_folded(scripted.post("/v1/chat/completions", **body).json())
    parts = folded_chat(frames(scripted.post("/v1/chat/completions", stream=True, **body).text))
    for choice in (*whole, *parts):
        choice["calls"][0].pop("id")
    assert parts == whole


def test_the_result_of_a_tool_goes_back(scripted_sdk: openai.OpenAI) -> None:
    call = ask(scripted_sdk, "What is the weather?", tools=TOOLS).choices[0].message
    messages: Any = [
        {"role": "user", "content": "Use it to count."},
        call,
        {"role": "tool", "tool_call_id": call.tool_calls[0].id, "content": "sunny"},
    ]
    answer = scripted_sdk.chat.completions.create(model="default", messages=messages)
    assert answer.choices[0].message.content == "one two three four five six"


@pytest.mark.requirement(55)
def test_a_request_switches_thinking(scripted_sdk: openai.OpenAI) -> None:
    message = ask(scripted_sdk, "Hi").choices[0].message
    assert (message.reasoning, message.content) == ("Hm.", "A thought.")
    short: Any
    for short in ({"enable_thinking": False}, {"chat_template_kwargs": {"enable_thinking": False}}):
        message = ask(scripted_sdk, "Hi", extra_body=short).choices[0].message
        assert (message.reasoning, message.content) == (None, "No thought.")


@pytest.mark.requirement(77)
def test_no_character_is_split_between_chunks(scripted: Server) -> None:
    body = {"messages": [{"role": "user", "content": "emoji"}], "stream": True}
    chunks = frames(scripted.post("/v1/chat/completions", **body).text)
    pieces = [c["choices"][0]["delta"].get("content") or "" for c in chunks]
    assert "".join(pieces) == EMOJI
    assert "\ufffd" not in "".join(pieces)
    # One token a byte: every character of several bytes came as several tokens and left as one piece.
    assert [piece for piece in pieces if piece] == list(EMOJI)


@pytest.mark.requirement(77)
def test_a_text_cut_inside_a_character_ends_with_a_mark(scripted_sdk: openai.OpenAI) -> None:
    assert ask(scripted_sdk, "emoji", max_tokens=3).choices[0].message.content == "Gr\ufffd"


@pytest.mark.parametrize(
    ("stop", "said", "tokens"),
    [
        ("three", "one two ", 13),
        (["five", "ee fo"], "one two thr", 16),
        (["e", "one"], "", 3),
        ("seven", "one two three four five six", 28),
        ("six", "one two three four five ", 27),
    ],
)
def test_stop_strings_never_leak_and_tokens_after_them_are_not_billed(
    scripted_sdk: openai.OpenAI, stop: Any, said: str, tokens: int
) -> None:
    answer = ask(scripted_sdk, "count", stop=stop)
    assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == (said, "stop")
    assert answer.usage.completion_tokens == tokens
    shown = ""
    for chunk in ask(scripted_sdk, "count", stop=stop, stream=True, stream_options={"include_usage": True}):
        if chunk.choices:
            shown += chunk.choices[0].delta.content or ""
            assert said.startswith(shown)
        else:
            assert chunk.usage.completion_tokens == tokens
    assert shown == said


def test_a_stop_string_that_the_last_allowed_token_completes_still_stops(scripted_sdk: openai.OpenAI) -> None:
    answer = ask(scripted_sdk, "count", stop="three", max_tokens=13)
    assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == ("one two ", "stop")
    assert answer.usage.completion_tokens == 13


def test_logprobs_of_a_stopped_text_are_those_of_what_is_shown(scripted_sdk: openai.OpenAI) -> None:
    choice = ask(scripted_sdk, "count", stop="three", logprobs=True).choices[0]
    assert "".join(entry.token for entry in choice.logprobs.content) == "one two "
    assert [entry.logprob for entry in choice.logprobs.content] == [-float(i) for i in range(8)]


def test_a_script_file_holds_answers_in_order(tmp_path: Path) -> None:
    file = tmp_path / "script.json"
    file.write_text('[{"text": "a", "when": "b"}, {"text": "c", "endless": true}]')
    assert load_script(file) == [Answer("a", when="b"), Answer("c", endless=True)]
