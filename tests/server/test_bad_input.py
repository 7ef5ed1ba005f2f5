"""Whatever a client sends, it hears in OpenAI's shape what is wrong, and nothing reaches the service."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fakes.service import FakeModelService

from vllm_mlx.core.errors import InvalidRequest
from vllm_mlx.core.structure import MAX_BRANCHES, MAX_NESTING, MAX_VALUES
from vllm_mlx.server.body import parse_json

pytestmark = [pytest.mark.anyio, pytest.mark.requirement(80)]

USER = {"role": "user", "content": "hi"}
TOOL = {"type": "function", "function": {"name": "f"}}
CALL = {"id": "c", **TOOL}
CALLING = {"role": "assistant", "tool_calls": [CALL]}
RESULT = {"role": "tool", "tool_call_id": "c", "content": "x"}
ALLOWED_UNKNOWN = {
    "type": "allowed_tools",
    "allowed_tools": {"mode": "auto", "tools": [{"type": "function", "function": {"name": "g"}}]},
}
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}


def turn(**fields: Any) -> dict[str, Any]:
    return {"messages": [fields]}


SCHEMA = {"type": "object"}

# What a decoder refuses by itself; what is wrong with a schema or a pattern is the service's to say.
WRONG_FORMS: list[tuple[dict[str, Any], str]] = [
    ({"response_format": "json"}, "response_format"),
    ({"response_format": {}}, "response_format.type"),
    ({"response_format": {"type": "xml"}}, "response_format"),
    ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
    ({"response_format": {"type": "json_schema", "json_schema": {}}}, "response_format.json_schema.schema"),
    (
        {"response_format": {"type": "json_schema", "json_schema": {"schema": 5}}},
        "response_format.json_schema.schema",
    ),
    ({"response_format": {"type": "regex"}}, "response_format.regex"),
    ({"response_format": {"type": "choice", "choice": "a"}}, "response_format.choice"),
    ({"response_format": {"type": "choice", "choice": [1]}}, "response_format.choice[0]"),
    ({"response_format": {"type": "structural_tag"}}, "response_format.structures"),
    ({"response_format": {"type": "structural_tag", "format": {}}}, "response_format.format"),
    (
        {"response_format": {"type": "structural_tag", "structures": [{"begin": "a", "end": "b"}]}},
        "response_format.structures[0].schema",
    ),
    ({"guided_json": "{"}, "guided_json"),
    ({"guided_json": "5"}, "guided_json"),
    ({"guided_json": 5}, "guided_json"),
    ({"guided_regex": 5}, "guided_regex"),
    ({"guided_choice": ["a", None]}, "guided_choice[1]"),
    ({"guided_grammar": ["a"]}, "guided_grammar"),
    ({"guided_json": SCHEMA, "guided_regex": "a"}, "guided_regex"),
    ({"response_format": {"type": "json_object"}, "guided_json_object": True}, "guided_json_object"),
    ({"structured_outputs": {"json": SCHEMA, "regex": "a"}}, "structured_outputs"),
    ({"structured_outputs": {"json": "{"}}, "structured_outputs.json"),
    ({"structured_outputs": {"structural_tag": "{}"}}, "structured_outputs.structural_tag.structures"),
    ({"structured_outputs": {"structural_tag": "[]"}}, "structured_outputs.structural_tag"),
    (
        {"structured_outputs": {"json": SCHEMA, "whitespace_pattern": " "}},
        "structured_outputs.whitespace_pattern",
    ),
    ({"structured_outputs": {}}, "structured_outputs"),
    ({"structured_outputs": {"choice": None, "json_object": False}}, "structured_outputs"),
    ({"structured_outputs": {"choices": ["a"]}}, "structured_outputs.choices"),
    ({"structured_outputs": {"choice": ["a"], "foo": 1}}, "structured_outputs.foo"),
    ({"structured_outputs": {"choice": []}}, "structured_outputs.choice"),
    ({"response_format": {"type": "choice", "choice": []}}, "response_format.choice"),
    ({"guided_choice": []}, "guided_choice"),
    ({"guided_whitespace_pattern": " *"}, "guided_whitespace_pattern"),
    ({"grammar": 5}, "grammar"),
    ({"json_schema": "{"}, "json_schema"),
    ({"json_schema": SCHEMA, "grammar": "x"}, "json_schema"),
    ({"regex": ["a"]}, "regex"),
    ({"ebnf": 'root ::= "a"'}, "ebnf"),
    ({"format": "json"}, "format"),
    ({"format": SCHEMA}, "format"),
]

WRONG_FIELDS: list[tuple[dict[str, Any], str]] = [
    ({"messages": None}, "messages"),
    ({"messages": []}, "messages"),
    ({"messages": "hi"}, "messages"),
    ({"messages": {}}, "messages"),
    ({"messages": [None]}, "messages[0]"),
    ({"messages": ["hi"]}, "messages[0]"),
    (turn(content="x"), "messages[0].role"),
    (turn(role="king", content="x"), "messages[0].role"),
    (turn(role="function", content="x", name="f"), "messages[0].role"),
    (turn(role=1, content="x"), "messages[0].role"),
    (turn(role="user"), "messages[0].content"),
    (turn(role="user", content=None), "messages[0].content"),
    (turn(role="user", content=7), "messages[0].content"),
    (turn(role="user", content={"type": "text"}), "messages[0].content"),
    (turn(role="user", content=["x"]), "messages[0].content[0]"),
    (turn(role="user", content=[{"text": "x"}]), "messages[0].content[0].type"),
    (turn(role="user", content=[{"type": "text"}]), "messages[0].content[0].text"),
    (turn(role="user", content=[{"type": "text", "text": 1}]), "messages[0].content[0].text"),
    (turn(role="user", content=[IMAGE]), "messages[0].content[0].type"),
    (turn(role="user", content=[{"type": "input_audio", "input_audio": {}}]), "messages[0].content[0].type"),
    (turn(role="user", content="x", tool_calls=[{"id": "a", **TOOL}]), "messages[0].tool_calls"),
    (turn(role="user", content="x", name=5), "messages[0].name"),
    (turn(role="tool", content="x"), "messages[0].tool_call_id"),
    (turn(role="tool", tool_call_id="c"), "messages[0].content"),
    (turn(role="assistant", tool_calls=[TOOL]), "messages[0].tool_calls[0].id"),
    (
        turn(role="assistant", tool_calls=[{"id": "a", "function": {"name": "f", "arguments": {}}}]),
        "messages[0].tool_calls[0].function.arguments",
    ),
    (turn(role="assistant", function_call={"name": "f", "arguments": ""}), "messages[0].function_call"),
    (turn(role="assistant", audio={"id": "a"}), "messages[0].audio"),
    (turn(role="tool", tool_call_id="c", content="x"), "messages[0].tool_call_id"),
    (turn(role="assistant", tool_calls=[CALL]), "messages"),
    (turn(role="assistant", tool_calls=[CALL, CALL]), "messages[0].tool_calls"),
    ({"messages": [CALLING, USER]}, "messages[1]"),
    ({"messages": [CALLING, CALLING]}, "messages[1]"),
    ({"messages": [CALLING, {**RESULT, "tool_call_id": "d"}]}, "messages[1].tool_call_id"),
    ({"messages": [CALLING, RESULT, RESULT]}, "messages[2].tool_call_id"),
    ({"messages": [CALLING, RESULT, USER, RESULT]}, "messages[3].tool_call_id"),
    ({"model": 5}, "model"),
    ({"model": "no-such"}, "model"),
    ({"temperature": -0.1}, "temperature"),
    ({"temperature": "1"}, "temperature"),
    ({"temperature": True}, "temperature"),
    ({"temperature": 10**400}, "temperature"),
    ({"top_p": 0}, "top_p"),
    ({"top_p": 1.5}, "top_p"),
    ({"top_k": -2}, "top_k"),
    ({"top_k": 1.5}, "top_k"),
    ({"min_p": 2}, "min_p"),
    ({"repetition_penalty": 0}, "repetition_penalty"),
    ({"presence_penalty": 2.1}, "presence_penalty"),
    ({"frequency_penalty": -3}, "frequency_penalty"),
    ({"n": 0}, "n"),
    ({"n": -1}, "n"),
    ({"n": 10**9}, "n"),
    ({"n": True}, "n"),
    ({"n": "2"}, "n"),
    ({"n": 1.0}, "n"),
    ({"seed": 2**63}, "seed"),
    ({"seed": 10**300}, "seed"),
    ({"seed": 1.5}, "seed"),
    ({"max_tokens": 0}, "max_tokens"),
    ({"max_tokens": -5}, "max_tokens"),
    ({"max_tokens": 10**18}, "max_tokens"),
    ({"max_completion_tokens": "9"}, "max_completion_tokens"),
    ({"min_tokens": -1}, "min_tokens"),
    ({"min_tokens": 5, "max_tokens": 2}, "min_tokens"),
    ({"stop": [""]}, "stop"),
    ({"stop": 5}, "stop"),
    ({"stop": ["a", 5]}, "stop[1]"),
    ({"stop": ["x"] * 1000}, "stop"),
    ({"stop": "x" * 100_000}, "stop"),
    ({"stop_token_ids": [-1]}, "stop_token_ids"),
    ({"stop_token_ids": ["1"]}, "stop_token_ids[0]"),
    ({"logit_bias": []}, "logit_bias"),
    ({"logit_bias": {"x": 1}}, "logit_bias"),
    ({"logit_bias": {"-1": 1}}, "logit_bias"),
    ({"logit_bias": {"1": "1"}}, "logit_bias"),
    ({"logit_bias": {"1": 1, "01": 2}}, "logit_bias"),
    ({"logit_bias": {"1": None}}, "logit_bias"),
    ({"logit_bias": {"1": 101}}, "logit_bias"),
    ({"logit_bias": {"1": 10**400}}, "logit_bias"),
    ({"logit_bias": {"9" * 40: 1}}, "logit_bias"),
    ({"logit_bias": {"²": 1}}, "logit_bias"),
    ({"logit_bias": {str(i): 1 for i in range(20_000)}}, "logit_bias"),
    ({"logprobs": 5}, "logprobs"),
    ({"top_logprobs": 3}, "top_logprobs"),
    ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
    ({"logprobs": True, "top_logprobs": -1}, "top_logprobs"),
    ({"stream": "yes"}, "stream"),
    ({"stream": 1}, "stream"),
    ({"stream_options": {"include_usage": True}}, "stream_options"),
    ({"stream": True, "stream_options": []}, "stream_options"),
    ({"stream": True, "stream_options": {"include_usage": "x"}}, "stream_options.include_usage"),
    ({"tools": {}}, "tools"),
    ({"tools": [{"type": "code_interpreter"}]}, "tools[0].type"),
    ({"tools": [{"type": "function"}]}, "tools[0].function"),
    ({"tools": [{"type": "custom", "custom": {"name": "f"}}]}, "tools[0].type"),
    ({"reasoning_effort": "utmost"}, "reasoning_effort"),
    ({"verbosity": 5}, "verbosity"),
    ({"prediction": "x"}, "prediction"),
    ({"prompt_cache_key": 5}, "prompt_cache_key"),
    ({"safety_identifier": {}}, "safety_identifier"),
    ({"metadata": "x"}, "metadata"),
    ({"store": "yes"}, "store"),
    ({"service_tier": 1}, "service_tier"),
    ({"moderation": {"model": "m"}}, "moderation"),
    ({"stream": True, "stream_options": {"include_obfuscation": 1}}, "stream_options.include_obfuscation"),
    ({"tools": [{"type": "function", "function": {"name": ""}}]}, "tools[0].function.name"),
    (
        {"tools": [{"type": "function", "function": {"name": "f", "parameters": 3}}]},
        "tools[0].function.parameters",
    ),
    ({"tools": [TOOL] * 2000}, "tools"),
    ({"tool_choice": "required"}, "tool_choice"),
    ({"tools": [], "tool_choice": "required"}, "tool_choice"),
    ({"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "g"}}}, "tool_choice"),
    ({"tools": [TOOL], "tool_choice": {"type": "allowed_tools"}}, "tool_choice.allowed_tools"),
    ({"tools": [TOOL], "tool_choice": ALLOWED_UNKNOWN}, "tool_choice"),
    ({"parallel_tool_calls": "no"}, "parallel_tool_calls"),
    ({"tools": [TOOL], "tool_choice": "some"}, "tool_choice"),
    ({"tool_choice": {"type": "function"}}, "tool_choice.function"),
    ({"functions": [{"name": "f"}]}, "functions"),
    ({"function_call": "auto"}, "function_call"),
    *WRONG_FORMS,
    ({"modalities": ["text", "audio"]}, "modalities"),
    ({"audio": {"voice": "x", "format": "wav"}}, "audio"),
    ({"web_search_options": {"search_context_size": "low"}}, "web_search_options"),
    ({"use_beam_search": True}, "use_beam_search"),
    ({"chat_template": "{{ x }}"}, "chat_template"),
    ({"chat_template_kwargs": []}, "chat_template_kwargs"),
    ({"enable_thinking": "no"}, "enable_thinking"),
    ({"add_generation_prompt": False}, "add_generation_prompt"),
    ({"add_generation_prompt": True, "continue_final_message": True}, "continue_final_message"),
    ({"priority": 10**12}, "priority"),
    ({"cache_salt": 5}, "cache_salt"),
    ({"cache_salt": "x" * 5000}, "cache_salt"),
    ({"timeout": 0}, "timeout"),
    ({"timeout": -1}, "timeout"),
    ({"user": 5}, "user"),
    ({"messages": [USER] * 20_000}, "messages"),
    (turn(role="user", content=[{"type": "text", "text": ""}] * 20_000), "messages[0].content"),
    (
        turn(role="assistant", tool_calls=[{"id": "a", "function": {"name": "f"}}] * 20_000),
        "messages[0].tool_calls",
    ),
]

WRONG_COMPLETIONS: list[tuple[dict[str, Any], str]] = [
    ({"prompt": None}, "prompt"),
    ({"prompt": []}, "prompt"),
    ({"prompt": [[]]}, "prompt"),
    ({"prompt": [[1], []]}, "prompt"),
    ({"prompt": 5}, "prompt"),
    ({"prompt": {"a": 1}}, "prompt"),
    ({"prompt": ["a", 1]}, "prompt[1]"),
    ({"prompt": [1, "a"]}, "prompt[1]"),
    ({"prompt": [True]}, "prompt[0]"),
    ({"prompt": [1.5]}, "prompt[0]"),
    ({"prompt": [-1]}, "prompt"),
    ({"prompt": [2**31]}, "prompt"),
    ({"prompt": [10**300]}, "prompt"),
    ({"prompt": [[1, [2]]]}, "prompt[0][1]"),
    ({"prompt": ["x"] * 5000}, "prompt"),
    ({"prompt": ["x"] * 256, "n": 128}, "prompt"),
    ({"logprobs": True}, "logprobs"),
    ({"logprobs": -1}, "logprobs"),
    ({"logprobs": 21}, "logprobs"),
    ({"echo": "yes"}, "echo"),
    ({"suffix": "end"}, "suffix"),
    ({"best_of": 3}, "best_of"),
    ({"best_of": 1, "n": 2}, "best_of"),
    *WRONG_FORMS,
    ({"max_tokens": 1.5}, "max_tokens"),
]

NO_JSON: list[bytes] = [
    b"",
    b" ",
    b"null",
    b"[]",
    b'"hi"',
    b"5",
    b"{",
    b"{]",
    b'{"a":1}}',
    b'{"a":1,}',
    b"{'a':1}",
    b'{"a":NaN}',
    b'{"a":Infinity}',
    b'{"a":-Infinity}',
    b'{"a":1e999}',
    b'{"a":' + b"9" * 5000 + b"}",
    b'{"a":-' + b"9" * 5000 + b"}",
    b'{"a":01}',
    b'{"a":.5}',
    b'{"a":+1}',
    b'{"a":"\\ud800"}',
    b'{"a":"\\udc00\\ud800"}',
    b'{"a":"\xff"}',
    b'{"a":"\xed\xa0\x80"}',
    b'{"a":"\x01"}',
    b'{"a":"\\x41"}',
    b"\xef\xbb\xbf{}",
    b"\x00",
    b"a=1&b=2",
    b"[" * 100_000,
    b'{"a":' * 1000 + b"1" + b"}" * 1000,
    b"{}" * 50_000,
]


@pytest.fixture(autouse=True)
def nothing_reached_the_service(service: FakeModelService) -> Iterator[None]:
    yield
    assert not service.requests


def openai_error(response: httpx.Response) -> dict[str, Any]:
    body = response.json()
    assert set(body) == {"error"}
    assert set(body["error"]) == {"message", "type", "param", "code"}
    assert len(response.content) < 1000
    return dict(body["error"])


@pytest.mark.parametrize(("fields", "param"), WRONG_FIELDS, ids=lambda value: str(value)[:40])
async def test_a_wrong_chat_field_is_named(client: httpx.AsyncClient, fields: Any, param: str) -> None:
    # Numbers of any length, which the client library's own encoder would refuse.
    body = json.dumps({"model": "default", "messages": [USER]} | fields)
    response = await client.post("/v1/chat/completions", content=body)
    assert response.status_code == (404 if fields == {"model": "no-such"} else 400)
    error = openai_error(response)
    assert error["param"] == param
    assert param.split("[")[0].split(".")[0] in error["message"]


@pytest.mark.parametrize(("fields", "param"), WRONG_COMPLETIONS, ids=lambda value: str(value)[:40])
async def test_a_wrong_completion_field_is_named(client: httpx.AsyncClient, fields: Any, param: str) -> None:
    response = await client.post("/v1/completions", content=json.dumps({"prompt": "x"} | fields))
    assert response.status_code == 400
    assert openai_error(response)["param"] == param


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions", "/tokenize", "/detokenize"])
@pytest.mark.parametrize("body", NO_JSON, ids=lambda value: str(value)[:30])
async def test_what_is_no_json_object_is_refused(client: httpx.AsyncClient, path: str, body: bytes) -> None:
    response = await client.post(path, content=body, headers={"content-type": "application/json"})
    assert response.status_code == 400
    assert openai_error(response)["code"] in ("invalid_json", "nesting_too_deep")


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/tokenize", {}, "prompt"),
        ("/tokenize", {"prompt": "a", "messages": [USER]}, "prompt"),
        ("/tokenize", {"prompt": 5}, "prompt"),
        ("/tokenize", {"messages": []}, "messages"),
        ("/tokenize", {"prompt": "a", "add_special_tokens": 1}, "add_special_tokens"),
        ("/detokenize", {}, "tokens"),
        ("/detokenize", {"tokens": "a"}, "tokens"),
        ("/detokenize", {"tokens": [1, "a"]}, "tokens[1]"),
        ("/detokenize", {"tokens": [-1]}, "tokens"),
    ],
)
async def test_wrong_token_requests_are_named(
    client: httpx.AsyncClient, path: str, body: Any, param: str
) -> None:
    response = await client.post(path, json=body)
    assert response.status_code == 400
    assert openai_error(response)["param"] == param


async def test_an_error_repeats_no_megabytes(client: httpx.AsyncClient) -> None:
    huge = "A" * 500_000
    for body in ({"messages": [USER], "model": huge}, {"messages": huge}, {"messages": [{"role": huge}]}):
        response = await client.post("/v1/chat/completions", json=body)
        assert response.status_code in (400, 404)
        assert len(response.content) < 1000


async def test_a_body_of_very_many_fields_is_refused(
    client: httpx.AsyncClient,
) -> None:
    body = {"messages": [USER]} | {f"k{i}": 0 for i in range(10_000)}
    response = await client.post("/v1/chat/completions", json=body)
    assert response.status_code == 400
    assert openai_error(response)["code"] == "too_many_fields"


async def test_a_million_wrong_items_make_one_error(client: httpx.AsyncClient) -> None:
    response = await client.post("/v1/completions", json={"prompt": [[1.5] * 100_000]})
    assert openai_error(response)["param"] == "prompt[0][0]"


@given(
    st.recursive(
        st.text('[]{}"\\ab', max_size=8),
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.text('[]{"\\', max_size=3), inner, max_size=2)
        ),
    ),
    st.integers(0, 2 * MAX_NESTING),
    st.booleans(),
)
def test_nesting_is_measured_outside_strings_only(value: Any, around: int, ascii_only: bool) -> None:
    for _ in range(around):
        value = [value]
    body = json.dumps(value, ensure_ascii=ascii_only).encode()
    if depth(value) > MAX_NESTING:
        assert refusal(body) == "nesting_too_deep"
    else:
        assert parse_json(body) == value


def refusal(body: bytes) -> str:
    with pytest.raises(InvalidRequest) as refused:
        parse_json(body)
    return refused.value.code


def depth(value: Any) -> int:
    if isinstance(value, dict):
        value = list(value.values())
    return 1 + max((depth(item) for item in value), default=0) if isinstance(value, list) else 0


WIDE = {
    "arrays": b"[" + b",".join([b"[]"] * MAX_BRANCHES) + b"]",
    "objects": b"[" + b",".join([b"{}"] * MAX_BRANCHES) + b"]",
    "numbers": b"[" + b",".join([b"1"] * (MAX_VALUES + 1)) + b"]",
    "pairs": b"{" + b",".join(b'"%d":1' % i for i in range(MAX_BRANCHES)) + b"}",
    "after a text": b'["' + b'\\"[' * 300_000 + b'",' + b",".join([b"1"] * MAX_VALUES) + b"]",
}


SPEC = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}


@pytest.mark.parametrize(
    ("field", "more"),
    [
        ("tools", {"tools": [SPEC] * 20_000, "messages": [USER]}),
        ("messages", {"tools": [SPEC], "messages": [USER] * 50_000}),
        ("prompt", {"prompt": [1] * (MAX_VALUES + 1)}),
        ("messages", {"messages": [{"role": "user", "content": [[]] * MAX_BRANCHES}]}),
        (None, {"messages": [USER], "metadata": {str(i): "x" for i in range(MAX_BRANCHES)}}),
        (None, [[]] * (MAX_BRANCHES + 1)),
    ],
)
def test_the_field_that_holds_too_many_values_is_named(field: str | None, more: Any) -> None:
    with pytest.raises(InvalidRequest) as refused:
        parse_json(json.dumps(more).encode())
    assert (refused.value.param, refused.value.code) == (field, "too_many_values")
    assert refused.value.message.startswith("The JSON" if field is None else f"{field}: The JSON holds")


@pytest.mark.parametrize("body", WIDE.values(), ids=WIDE)
def test_a_body_of_too_many_values_is_refused_before_any_of_them_is_built(body: bytes) -> None:
    tracemalloc.start()
    try:
        assert refusal(body) == "too_many_values"
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # Some copies of the text; built values would take 8 bytes each in their array and 56 for an empty one.
    assert peak < 3 * len(body) + 2**20


@pytest.mark.parametrize(
    "body",
    [
        b"[" + b",".join([b"1"] * MAX_VALUES) + b"]",
        b"[" + b",".join([b"[]"] * (MAX_BRANCHES - 1)) + b"]",
        b"{" + b",".join(b'"%d":1' % i for i in range(MAX_BRANCHES - 1)) + b"}",
        b'["' + b"[,{:," * MAX_VALUES + b'"]',
        b'["' + b'\\",[' * MAX_VALUES + b'"]',
    ],
    ids=["numbers", "arrays", "pairs", "a text", "a text with quotes"],
)
def test_what_is_within_the_limits_or_in_a_text_is_parsed(body: bytes) -> None:
    assert len(parse_json(body)) >= 1


@given(st.binary(max_size=200) | st.text('[]{}",:\\u1e9 \n', max_size=200).map(str.encode))
def test_any_bytes_are_parsed_as_json_has_it_or_refused(body: bytes) -> None:
    try:
        value = parse_json(body)
    except InvalidRequest:
        return
    assert json.loads(body) == value
