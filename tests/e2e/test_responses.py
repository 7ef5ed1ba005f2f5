"""The Responses API through the whole path of the real app, asked by the official client."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from tests.e2e.server import LIMIT_S, Server, eventually, in_thread, is_idle
from tests.fakes.responses import checked_events, checked_response, kinds
from tests.fakes.scripted import Answer, scripted_service

pytestmark = pytest.mark.requirement(38)

WEATHER: Any = {
    "type": "function",
    "name": "get_weather",
    "description": "The weather of a city",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    },
    "strict": True,
}
GROUPED: Any = [{"type": "namespace", "name": "sky", "description": "The sky", "tools": [WEATHER]}]
EMOJI = "Grüße 👩‍👩‍👧 日本語 🏳️‍🌈!"


def test_text_in_text_out(scripted_sdk: openai.OpenAI) -> None:
    answer = scripted_sdk.responses.create(model="default", input="count", instructions="Be brief.")
    assert (answer.output_text, answer.status) == ("one two three four five six", "completed")
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.input_tokens + answer.usage.output_tokens
    assert str(answer._request_id).startswith("req_")


def test_a_prompt_that_was_there_before_is_read_from_the_cache(scripted_sdk: openai.OpenAI) -> None:
    for cached in (False, True):
        answer = scripted_sdk.responses.create(model="default", input="count " + "and again " * 20)
        assert answer.usage is not None
        assert (answer.usage.input_tokens_details.cached_tokens > 0) == cached


def test_the_clients_own_stream_helper_follows(scripted_sdk: openai.OpenAI) -> None:
    with scripted_sdk.responses.stream(
        model="default", input="What is the weather in Zürich?", tools=[WEATHER]
    ) as stream:
        snapshots = [e.snapshot for e in stream if e.type == "response.function_call_arguments.delta"]
        final = stream.get_final_response()
    call = final.output[-1]
    assert call.type == "function_call"
    assert snapshots[-1] == call.arguments
    assert json.loads(call.arguments) == {"city": "Zürich"}
    thought = final.output[0]
    assert thought.type == "reasoning"
    assert thought.content is not None
    assert thought.content[0].text == "I need the tool."


def tool_loop(client: openai.OpenAI, *, stream: bool, stored: bool) -> str:
    """Ask, run the tool, tell the result, and hear the answer."""
    asked: Any = [{"role": "user", "content": "What is the weather?"}]
    first = spoken(client, stream, input=asked, tools=[WEATHER], store=stored)
    (call,) = [item for item in first.output if item.type == "function_call"]
    told: Any = {"type": "function_call_output", "call_id": call.call_id, "output": "count: sunny"}
    if stored:
        more: Any = {"input": [told], "previous_response_id": first.id}
    else:
        more = {"input": [*asked, *(item.to_dict() for item in first.output), told]}
    return str(spoken(client, stream, tools=[WEATHER], store=stored, **more).output_text)


def spoken(client: openai.OpenAI, stream: bool, **fields: Any) -> Any:
    if not stream:
        return client.responses.create(model="default", **fields)
    with client.responses.stream(model="default", **fields) as events:
        return events.get_final_response()


LOOP = [
    Answer("It is sunny.", when="count: sunny"),
    Answer('<tool_call>\n{"name": "get_weather", "arguments": {"city": "X"}}\n</tool_call>'),
]


@pytest.fixture(scope="module")
def looping(tmp_path_factory: pytest.TempPathFactory) -> Iterator[openai.OpenAI]:
    """A model that calls a tool and then tells its result."""
    service = scripted_service(tmp_path_factory.mktemp("loop") / "loop", LOOP)
    with (
        in_thread(service) as url,
        openai.OpenAI(base_url=url + "/v1", api_key="x", max_retries=0, timeout=LIMIT_S) as client,
    ):
        yield client


@pytest.mark.requirement(68)
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("stored", [False, True])
def test_a_tool_loop_comes_to_its_end(looping: openai.OpenAI, stream: bool, stored: bool) -> None:
    assert tool_loop(looping, stream=stream, stored=stored) == "It is sunny."


def test_a_call_within_a_namespace_goes_out_and_comes_back(tmp_path: Path) -> None:
    text = '<tool_call>\n{"name": "sky__get_weather", "arguments": {"city": "X"}}\n</tool_call>'
    answers = [Answer("Sunny.", when="it shines"), Answer(text, when='"sky__get_weather"')]
    asked: Any = [{"role": "user", "content": "Weather?"}]
    with (
        in_thread(scripted_service(tmp_path / "sky", answers)) as url,
        openai.OpenAI(base_url=url + "/v1", api_key="x", max_retries=0, timeout=LIMIT_S) as client,
    ):
        (call,) = client.responses.create(model="default", input=asked, tools=GROUPED).output
        assert call.type == "function_call"
        assert (call.namespace, call.name) == ("sky", "get_weather")
        told: Any = {"type": "function_call_output", "call_id": call.call_id, "output": "it shines"}
        answer = client.responses.create(model="default", input=[*asked, call.to_dict(), told], tools=GROUPED)
    assert answer.output_text == "Sunny."


def test_a_streamed_answer_is_kept_and_listed(scripted_sdk: openai.OpenAI) -> None:
    events = list(scripted_sdk.responses.create(model="default", input="Hi", stream=True))
    last = events[-1]
    assert last.type == "response.completed"
    again = scripted_sdk.responses.retrieve(last.response.id)
    assert again.to_dict() == last.response.to_dict()
    replayed = list(scripted_sdk.responses.retrieve(again.id, stream=True))
    assert replayed[-1].type == "response.completed"
    assert [item.type for item in scripted_sdk.responses.input_items.list(again.id)] == ["message"]
    scripted_sdk.responses.delete(again.id)
    with pytest.raises(openai.NotFoundError, match="deleted"):
        scripted_sdk.responses.retrieve(again.id)
    with pytest.raises(openai.NotFoundError, match="deleted"):
        scripted_sdk.responses.create(model="default", input="x", previous_response_id=again.id)
    with pytest.raises(openai.NotFoundError):
        scripted_sdk.responses.cancel(again.id)


def test_a_request_switches_thinking(scripted_sdk: openai.OpenAI) -> None:
    answer = scripted_sdk.responses.create(model="default", input="Hi")
    assert [item.type for item in answer.output] == ["reasoning", "message"]
    answer = scripted_sdk.responses.create(model="default", input="Hi", reasoning={"effort": "none"})
    assert answer.output_text == "No thought."
    assert [item.type for item in answer.output] == ["message"]


@pytest.mark.requirement(77)
def test_no_character_is_split_between_events(scripted: Server) -> None:
    events = checked_events(scripted.post("/v1/responses", input="emoji", stream=True).text)
    deltas = [event["delta"] for event in events if event["type"] == "response.output_text.delta"]
    assert "".join(deltas) == EMOJI
    assert not any("\ufffd" in delta for delta in deltas)


def test_an_answer_that_meets_its_limit_is_incomplete(scripted: Server) -> None:
    answer = checked_response(scripted.post("/v1/responses", input="count", max_output_tokens=3).json())
    assert (answer["status"], answer["usage"]["output_tokens"]) == ("incomplete", 3)
    events = checked_events(
        scripted.post("/v1/responses", input="count", max_output_tokens=3, stream=True).text
    )
    assert kinds(events)[-1] == "incomplete"


def test_logprobs_are_those_of_the_text(scripted_sdk: openai.OpenAI) -> None:
    answer = scripted_sdk.responses.create(
        model="default", input="count", include=["message.output_text.logprobs"]
    )
    message = answer.output[-1]
    assert message.type == "message"
    part = message.content[0]
    assert part.type == "output_text"
    assert part.logprobs is not None
    assert "".join(entry.token for entry in part.logprobs) == "one two three four five six"


@pytest.mark.requirement(40)
def test_a_count_equals_the_input_of_the_real_call(scripted_sdk: openai.OpenAI) -> None:
    asked: Any
    for asked in (
        {"input": "count"},
        {"input": [{"role": "developer", "content": "x"}, {"role": "user", "content": "count"}]},
        {"input": "count", "instructions": "Be brief.", "tools": [WEATHER, *GROUPED]},
        {"input": "count", "reasoning": {"effort": "none"}},
    ):
        answer = scripted_sdk.responses.create(model="default", **asked)
        counted = scripted_sdk.responses.input_tokens.count(model="default", **asked)
        assert answer.usage is not None
        assert counted.input_tokens == answer.usage.input_tokens


def test_leaving_a_stream_frees_its_row(scripted: Server) -> None:
    body = {"input": "forever", "stream": True}
    with httpx.stream("POST", scripted.url + "/v1/responses", json=body, timeout=LIMIT_S) as response:
        for line in response.iter_lines():
            if "output_text.delta" in line:
                break
    eventually(lambda: is_idle(scripted.url))


CONTEXT = 1024
LONG = "x" * 200
"""In tokens, too: the scripted model's tokenizer has one a byte."""


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A model with a short context; what it says tells what it has read."""
    answers = [
        Answer("no call", when="answered"),
        Answer("all", when="first"),
        Answer("middle", when="second"),
        Answer("last", when="fifth"),
    ]
    service = scripted_service(tmp_path_factory.mktemp("narrow") / "narrow", answers, context=CONTEXT)
    with in_thread(service) as url:
        yield url


def ask(url: str, **fields: Any) -> httpx.Response:
    return httpx.post(url + "/v1/responses", json=fields, timeout=LIMIT_S)


def turns(*names: str) -> list[dict[str, str]]:
    return [
        {"role": "assistant" if i % 2 else "user", "content": f"{name} {LONG}"}
        for i, name in enumerate(names)
    ]


NAMES = ("first", "second", "third", "fourth", "fifth")


def test_the_oldest_turns_go_where_truncation_allows_it(narrow: str) -> None:
    def said(**fields: Any) -> Any:
        response = ask(narrow, truncation="auto", **fields)
        assert response.status_code == 200, response.text
        return response.json()

    assert said(input=turns(*NAMES[:2], "third"))["output"][0]["content"][0]["text"] == "all"
    cut = said(input=turns(*NAMES), instructions="Keep me.", max_output_tokens=300)
    assert cut["output"][0]["content"][0]["text"] == "last"
    assert CONTEXT - 600 < cut["usage"]["input_tokens"] < CONTEXT - 300
    assert (cut["truncation"], cut["instructions"]) == ("auto", "Keep me.")
    # The stored conversation is whole: what fits is found anew each time.
    more = said(input="fifth again", previous_response_id=cut["id"])
    assert more["output"][0]["content"][0]["text"] == "last"


def test_a_result_is_not_kept_without_its_call(narrow: str) -> None:
    # The call alone is too long; its result would fit.
    items: list[Any] = [
        {"role": "user", "content": "first"},
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": json.dumps({"a": LONG * 4})},
        {"type": "function_call_output", "call_id": "c", "output": "answered"},
        {"role": "user", "content": "fifth"},
    ]
    answer = ask(narrow, input=items, truncation="auto").json()
    assert answer["output"][0]["content"][0]["text"] == "last"


def test_what_is_too_long_by_itself_is_refused_with_the_numbers(narrow: str) -> None:
    for fields in (
        {"input": turns(*NAMES)},
        {"input": turns(*NAMES), "truncation": "disabled"},
        {"input": "x" * 3000, "truncation": "auto"},
        {"input": "x" * 300_000, "truncation": "auto"},
    ):
        response = ask(narrow, **fields)
        assert response.status_code == 400
        assert response.json()["error"]["code"] == "context_length_exceeded"
        assert str(CONTEXT) in response.json()["error"]["message"]
