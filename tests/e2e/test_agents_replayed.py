"""What Goose, Jan, AnythingLLM and Olla send, replayed against the real server.

Goose's bodies are what its published provider code (`goose-sdk` 0.1.0a13) sent to a scripted server, with
our texts. Of Jan, AnythingLLM and Olla only the public sources were read (2026-11): names and order of fields
and headers are theirs, values are ours.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.e2e.server import LIMIT_S, Server, eventually, in_thread
from tests.fakes.scripted import Answer, scripted_service
from tests.fakes.wire import folded_chat, frames, named_events

RESULT = "nine-4711"
CALL = '<tool_call>\n{"name": "closing_time", "arguments": {"place": "the harbour"}}\n</tool_call>'
ANSWERS = [
    Answer("It closes at nine.", when=RESULT),
    Answer("<think>\nThe tool knows.\n</think>\n\n" + CALL, when="<tools>"),
    Answer("Hello!"),
]
SCHEMA = {"type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"]}
FUNCTION = {"name": "closing_time", "description": "Tells when a place closes.", "parameters": SCHEMA}
TOOL = {"type": "function", "function": FUNCTION | {"strict": False}}
ARGUMENTS = json.dumps({"place": "the harbour"})
MARK = {"type": "ephemeral"}
SYSTEM, QUESTION = "You help people of the harbour.", "When does the harbour close?"
PIXELS = "data:image/png;base64,iVBORw=="
WITH_USAGE = {"stream": True, "stream_options": {"include_usage": True}}


@pytest.fixture
def client(tmp_path: Path) -> Iterator[httpx.Client]:
    with (
        in_thread(scripted_service(tmp_path / "scripted", ANSWERS)) as url,
        httpx.Client(base_url=url, timeout=LIMIT_S) as client,
    ):
        yield client


def turn(role: str, content: Any, **more: Any) -> dict[str, Any]:
    return {"role": role, "content": content, **more}


def called(result: Any) -> list[dict[str, Any]]:
    """The two turns of a chat in which the tool was called and answered."""
    function = {"name": "closing_time", "arguments": ARGUMENTS}
    calls = [{"id": "call_1", "type": "function", "function": function}]
    return [
        turn("assistant", "", tool_calls=calls, reasoning_content="The tool knows."),
        {"role": "tool", "content": result, "tool_call_id": "call_1"},
    ]


def chat_stream(client: httpx.Client, body: Any, **more: Any) -> tuple[dict[str, Any], Any]:
    """The first choice of a streamed chat as a message, and its last chunk."""
    response = client.post("/v1/chat/completions", json=body, **more)
    assert response.status_code == 200, response.text
    chunks = frames(response.text)
    return folded_chat(chunks)[0], chunks[-1]


@pytest.mark.requirement(93)
def test_goose_does_its_task_over_chat_completions(client: httpx.Client) -> None:
    listed = client.get("/v1/models", headers={"accept": "*/*"}).json()["data"]
    assert [(model["id"], model["meta"]["n_ctx"]) for model in listed] == [("scripted", 131_072)]
    turns = [turn("system", SYSTEM), turn("user", QUESTION)]
    body = {"model": "default", "messages": turns, "tools": [TOOL], **WITH_USAGE}
    message, last = chat_stream(client, body)
    assert message["reasoning"] == "The tool knows."
    assert message["calls"][0]["name"] == "closing_time"
    assert last["usage"]["prompt_tokens"] > 0
    message, _ = chat_stream(client, body | {"messages": [*turns, *called(RESULT)]})
    assert message["content"] == "It closes at nine."


@pytest.mark.requirement(93)
def test_goose_does_its_task_over_responses(client: httpx.Client) -> None:
    """It takes this API for names such as gpt-5, and sends the whole conversation each time."""
    question = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": QUESTION}]}
    system = {"type": "message", "role": "system", "content": [{"type": "input_text", "text": SYSTEM}]}
    body = {
        "model": "gpt-5",
        "input": [system, question],
        "store": False,
        "tools": [{"type": "function", **FUNCTION, "strict": False}],
        "max_output_tokens": 400,
        "stream": True,
    }
    events = named_events(client.post("/v1/responses", json=body).text)
    calls = [item for item in events[-1]["response"]["output"] if item["type"] == "function_call"]
    assert [(call["name"], json.loads(call["arguments"])) for call in calls] == [
        ("closing_time", {"place": "the harbour"})
    ]
    call = {key: calls[0][key] for key in ("type", "call_id", "name", "arguments")}
    output = {"type": "function_call_output", "call_id": call["call_id"]}
    results = [[{"type": "input_text", "text": RESULT}, {"type": "input_image", "image_url": PIXELS}], RESULT]
    for result in results:
        more = {"input": [system, question, call, output | {"output": result}]}
        events = named_events(client.post("/v1/responses", json=body | more).text)
        assert events[-1]["type"] == "response.completed"
        assert events[-1]["response"]["output"][-1]["content"][0]["text"] == "It closes at nine."


@pytest.mark.requirement(93)
def test_goose_does_its_task_over_messages(client: httpx.Client) -> None:
    headers = {"x-api-key": "", "anthropic-version": "2023-06-01"}
    listed = client.get("/v1/models", headers=headers).json()
    assert [model["id"] for model in listed["data"]] == ["scripted"]
    question = turn("user", [{"type": "text", "text": QUESTION, "cache_control": MARK}])
    tool = {"name": "closing_time", "description": "Tells.", "input_schema": SCHEMA, "cache_control": MARK}
    body = {
        "model": "default",
        "messages": [question],
        "max_tokens": 4096,
        "system": [{"type": "text", "text": SYSTEM, "cache_control": MARK}],
        "tools": [tool],
        "stream": True,
    }
    events = named_events(client.post("/v1/messages", json=body, headers=headers).text)
    opened = [event["content_block"] for event in events if event["type"] == "content_block_start"]
    assert [block["type"] for block in opened] == ["thinking", "tool_use"]
    use = {**opened[1], "input": {"place": "the harbour"}}
    thought = {"type": "thinking", "thinking": "The tool knows.", "signature": "theirs"}
    picture = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw=="}}
    results = [
        {"content": [{"type": "text", "text": RESULT}, picture]},
        {"content": f"Error: -32603: {RESULT}", "is_error": True, "cache_control": MARK},
    ]
    for result in results:
        answer = {"type": "tool_result", "tool_use_id": use["id"], **result}
        more = {"messages": [question, turn("assistant", [thought, use]), turn("user", [answer])]}
        events = named_events(client.post("/v1/messages", json=body | more, headers=headers).text)
        said = [event["delta"].get("text", "") for event in events if event["type"] == "content_block_delta"]
        assert "".join(said) == "It closes at nine."


@pytest.mark.requirement(93)
def test_an_image_of_goose_is_refused_in_words_that_it_shows(client: httpx.Client) -> None:
    text, refusal = {"type": "text", "text": "What is it?"}, "but this model takes text only"
    source = {"type": "base64", "media_type": "image/png", "data": "iVBORw=="}
    shown = {"type": "input_image", "image_url": PIXELS}
    requests: list[tuple[str, dict[str, Any]]] = [
        (
            "/v1/chat/completions",
            {"messages": [turn("user", [text, {"type": "image_url", "image_url": {"url": PIXELS}}])]},
        ),
        ("/v1/responses", {"input": [{"type": "message", **turn("user", [shown])}]}),
        (
            "/v1/messages",
            {"messages": [turn("user", [text, {"type": "image", "source": source}])], "max_tokens": 9},
        ),
    ]
    for path, body in requests:
        response = client.post(path, json={"model": "default", "stream": True, **body})
        assert response.status_code == 400
        assert refusal in response.json()["error"]["message"]


@pytest.mark.requirement(57, 93, 95)
def test_keys_and_strict_names_answer_each_agent_in_its_shape(chat_folder: Path, tmp_path: Path) -> None:
    words = (str(chat_folder), "--port", "0", "--served-model-name", "harbour", "--strict-model-id")
    body = {"model": "gpt-5", "messages": [turn("user", "Hi")], "max_tokens": 4}
    right, wrong = {"authorization": "Bearer k1"}, {"authorization": "Bearer other"}
    claude = {"x-api-key": "k1", "anthropic-version": "2023-06-01"}
    environment = {"VLLM_MLX_API_KEY": "k1"}
    server = Server("vllm_mlx", "serve", *words, log=tmp_path / "log", environment=environment)
    try:
        with httpx.Client(base_url=server.url, timeout=LIMIT_S) as client:
            eventually(lambda: client.get("/health").status_code == 200)
            assert client.get("/v1/models", headers=wrong).status_code == 401
            for path in ("/v1/chat/completions", "/v1/responses"):
                sent = body if path.endswith("completions") else {"model": "gpt-5", "input": "Hi"}
                refused = client.post(path, json=sent, headers=wrong)
                assert (refused.status_code, refused.json()["error"]["code"]) == (401, "invalid_api_key")
                unknown = client.post(path, json=sent, headers=right)
                assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "model_not_found")
                served = client.post(path, json=sent | {"model": "harbour"}, headers=right)
                assert served.status_code == 200
            refused = client.post("/v1/messages", json=body, headers=claude | {"x-api-key": "other"})
            assert (refused.status_code, refused.json()["error"]["type"]) == (401, "authentication_error")
            unknown = client.post("/v1/messages", json=body, headers=claude)
            assert (unknown.status_code, unknown.json()["error"]["type"]) == (404, "not_found_error")
            # Jan shows its key twice and calls itself a program; Goose asks by OpenAI's header alone.
            jan = right | {"x-api-key": "k1", "origin": "tauri://localhost"}
            for headers in (right, jan):
                listed = client.get("/v1/models", headers=headers).json()
                assert [model["id"] for model in listed["data"]] == ["harbour"]
                assert listed["object"] == "list"
    finally:
        server.end()


@pytest.mark.requirement(95)
def test_jan_does_its_task(client: httpx.Client) -> None:
    """The AI SDK's body, into which Jan merges the model's parameters; its key may be made up."""
    headers = {"origin": "tauri://localhost", "authorization": "Bearer jan"}
    listed = client.get("/v1/models", headers=headers | {"x-api-key": "jan"}).json()
    assert [model["id"] for model in listed["data"]] == ["scripted"]
    body = {
        "model": "scripted",
        "messages": [turn("system", SYSTEM), turn("user", [{"type": "text", "text": QUESTION}])],
        "tools": [TOOL],
        "tool_choice": "auto",
        **WITH_USAGE,
        "temperature": 0.7,
        "top_k": 20,
        "top_p": 0.95,
        "frequency_penalty": 0.7,
        "presence_penalty": 0.7,
        "max_tokens": 2048,
    }
    message, last = chat_stream(client, body, headers=headers)
    assert message["calls"][0]["name"] == "closing_time"
    assert last["usage"]["total_tokens"] > 0
    messages = [*body["messages"], *called(RESULT)]  # type: ignore[misc]
    message, _ = chat_stream(client, body | {"messages": messages}, headers=headers)
    assert message["content"] == "It closes at nine."


@pytest.mark.requirement(95)
@pytest.mark.parametrize("stream", [False, True])
def test_anythingllm_does_its_task(client: httpx.Client, stream: bool) -> None:
    """OpenAI's package under it; its agent names no limit and leaves the text beside calls null."""
    plain = {"model": "scripted", "messages": [turn("system", "Be kind."), turn("user", "Hi")]}
    body = plain | {"temperature": 0.7, "max_tokens": 1024}
    if stream:
        assert chat_stream(client, body | {"stream": True})[0]["content"] == "Hello!"
    else:
        answer = client.post("/v1/chat/completions", json=body).json()
        assert answer["choices"][0]["message"]["content"] == "Hello!"
    turns = [turn("system", SYSTEM), turn("user", QUESTION)]
    tool = {"type": "function", "function": FUNCTION}
    calls, result = called(RESULT)
    agent = {"model": "scripted", "messages": [*turns, calls | {"content": None}, result], "tools": [tool]}
    if stream:
        message, last = chat_stream(client, agent | WITH_USAGE)
        assert last["usage"]["completion_tokens"] > 0
    else:
        answer = client.post("/v1/chat/completions", json=agent | {"stream": False}).json()
        message = answer["choices"][0]["message"]
        assert answer["usage"]["completion_tokens"] > 0
    assert message["content"] == "It closes at nine."


@pytest.mark.requirement(32, 41, 88, 89, 91)
def test_olla_finds_what_its_profile_reads(client: httpx.Client) -> None:
    assert client.get("/health").status_code == 200
    listed = client.get("/v1/models").json()
    assert listed["object"] == "list"
    fields = {"id", "object", "created", "owned_by", "root", "parent", "permission"}
    assert fields <= listed["data"][0].keys()
    assert isinstance(listed["data"][0]["created"], int)
    body = {
        "model": listed["data"][0]["id"],
        "messages": [turn("system", "You are a helpful assistant."), turn("user", "Explain it.")],
        "temperature": 0.7,
        "max_tokens": 500,
    }
    answer = client.post("/v1/chat/completions", json=body).json()
    assert answer["choices"][0]["finish_reason"] == "stop"
    assert answer["choices"][0]["logprobs"] is None
    assert answer["usage"]["total_tokens"] > answer["usage"]["completion_tokens"] > 0
    assert answer["metrics"]["time_to_first_token_ms"] > 0
    assert answer["metrics"]["generation_time_ms"] > 0
    headers = {"x-api-key": "not-needed", "anthropic-version": "2023-06-01"}
    asked = {"model": body["model"], "messages": [turn("user", "Hello!")]}
    message = client.post("/v1/messages", json=asked | {"max_tokens": 500}, headers=headers).json()
    counted = client.post("/v1/messages/count_tokens", json=asked, headers=headers).json()
    usage = message["usage"]
    assert counted["input_tokens"] == sum(usage[name] for name in usage if name.endswith("input_tokens"))
