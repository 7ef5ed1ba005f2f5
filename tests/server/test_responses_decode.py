"""POST /v1/responses: what the service sees of a body."""

from __future__ import annotations

import tracemalloc
from typing import Any

import httpx
import pytest
from tests.fakes.responses import asked, checked_response, prompt, whole
from tests.fakes.service import FakeModelService

from vllm_mlx.core.constraints import JsonObject, JsonSchema
from vllm_mlx.core.messages import Message, Reasoning, Text, ToolCall, ToolResult
from vllm_mlx.core.requests import ChatInput
from vllm_mlx.core.tools import ToolChoice, ToolSpec
from vllm_mlx.server.responses.truncation import fitted
from vllm_mlx.server.signatures import seal

pytestmark = [pytest.mark.anyio, pytest.mark.requirement(38)]

CALL = {"type": "function_call", "call_id": "c", "name": "f", "arguments": '{"a":1}'}
OUTPUT = {"type": "function_call_output", "call_id": "c", "output": "ok"}
F = {"type": "function", "name": "f", "description": "d", "parameters": {"type": "object"}, "strict": True}
G = {"type": "function", "name": "g"}
AGENTS = {"type": "namespace", "name": "agents", "description": "Helpers", "tools": [G]}


def user(text: str) -> Message:
    return Message("user", (Text(text),))


async def test_items_become_turns(client: httpx.AsyncClient, service: FakeModelService) -> None:
    items = [
        {"role": "developer", "content": "Be kind."},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "a"}], "id": "msg_1"},
        {"role": "user", "content": [{"type": "input_text", "text": x} for x in "bc"]},
        {
            "type": "reasoning",
            "id": "rs_1",
            "summary": [],
            "content": [{"type": "reasoning_text", "text": "t"}],
        },
        {
            "type": "message",
            "id": "msg_2",
            "status": "completed",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "I look.", "annotations": []}],
        },
        CALL,
        CALL | {"call_id": "d", "namespace": "agents", "name": "g", "arguments": ""},
        OUTPUT | {"output": [{"type": "input_text", "text": x} for x in "xy"]},
        OUTPUT | {"call_id": "d", "output": ""},
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]},
        {"role": "system", "content": "Go on."},
        {"role": "user", "content": ""},
    ]
    chat = await prompt(client, service, input=items, instructions="Be brief.")
    assert chat.messages == (
        Message("system", (Text("Be brief."), Text("\n\nBe kind."))),
        Message("user", (Text("a"), Text("\n\nb"), Text("\n\nc"))),
        Message(
            "assistant",
            (
                Reasoning("t"),
                Text("I look."),
                ToolCall("c", "f", '{"a":1}'),
                ToolCall("d", "agents__g", "{}"),
            ),
        ),
        Message("tool", (ToolResult("c", "x\n\ny"), ToolResult("d", ""))),
        Message("assistant", (Text("No."),)),
        Message("system", (Text("Go on."),)),
        Message("user", (Text(""),)),
    )


async def test_a_call_that_was_cut_off_needs_no_output(
    client: httpx.AsyncClient, service: FakeModelService
) -> None:
    cut = {"type": "function_call", "call_id": "c", "name": "f", "arguments": '{"a', "status": "incomplete"}
    chat = await prompt(client, service, input=[cut, {"role": "user", "content": "Go on."}])
    assert chat.messages == (Message("assistant", (ToolCall("c", "f", '{"a'),)), user("Go on."))


@pytest.mark.parametrize(
    ("thought", "read"),
    [
        ({"content": [{"type": "reasoning_text", "text": "open"}]}, (Reasoning("open"),)),
        ({"encrypted_content": seal("sealed")}, (Reasoning("sealed"),)),
        ({"summary": [{"type": "summary_text", "text": x} for x in "ab"]}, (Reasoning("a\n\nb"),)),
        ({"encrypted_content": "gAAAA-sealed-by-others"}, ()),
    ],
)
async def test_a_thought_is_read_from_what_there_is_of_it(
    client: httpx.AsyncClient, service: FakeModelService, thought: Any, read: Any
) -> None:
    items = [{"role": "user", "content": "a"}, {"type": "reasoning", "summary": [], **thought}]
    chat = await prompt(client, service, input=[*items, {"role": "assistant", "content": "b"}])
    assert chat.messages == (user("a"), Message("assistant", (*read, Text("b"))))


SPEC_F = ToolSpec(name="f", description="d", parameters={"type": "object"}, strict=True)
SPEC_G = ToolSpec(name="agents__g")


@pytest.mark.parametrize(
    ("choice", "specs", "read"),
    [
        (None, (SPEC_F, SPEC_G), ToolChoice("auto")),
        ("auto", (SPEC_F, SPEC_G), ToolChoice("auto")),
        ("none", (SPEC_F, SPEC_G), ToolChoice("none")),
        ("required", (SPEC_F, SPEC_G), ToolChoice("required")),
        ({"type": "function", "name": "f"}, (SPEC_F, SPEC_G), ToolChoice("named", "f")),
        (
            {"type": "function", "name": "g", "namespace": "agents"},
            (SPEC_F, SPEC_G),
            ToolChoice("named", "agents__g"),
        ),
        (
            {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "f"}]},
            (SPEC_F,),
            ToolChoice("required"),
        ),
        ({"type": "allowed_tools", "mode": "auto", "tools": []}, (), ToolChoice("auto")),
    ],
)
async def test_tools_and_the_choice_among_them(
    client: httpx.AsyncClient, service: FakeModelService, choice: Any, specs: Any, read: Any
) -> None:
    response = await client.post(
        "/v1/responses", json={"input": "hi", "tools": [F, AGENTS], "tool_choice": choice}
    )
    answer = checked_response_with_choice(response.json())
    chat = service.requests[-1].input
    assert isinstance(chat, ChatInput)
    assert (chat.tools, chat.tool_choice) == (specs, read)
    assert answer["tool_choice"] == (choice or "auto")
    assert [tool["name"] for tool in answer["tools"]] == ["f", "agents"]


def checked_response_with_choice(body: Any) -> Any:
    """A function's namespace in `tool_choice` is what Codex's tools need and the package does not know."""
    if isinstance(body["tool_choice"], dict) and "namespace" in body["tool_choice"]:
        return body
    return checked_response(body)


@pytest.mark.requirement(55)
@pytest.mark.parametrize("effort", ["none", "minimal", "low", "medium", "high", "xhigh", "max"])
async def test_an_effort_means_what_it_means_in_a_chat(
    client: httpx.AsyncClient, service: FakeModelService, effort: str
) -> None:
    chat = await prompt(client, service, reasoning={"effort": effort})
    body = {"messages": [{"role": "user", "content": "hi"}], "reasoning_effort": effort}
    assert (await client.post("/v1/chat/completions", json=body)).status_code == 200
    asked = service.requests[-1].input
    assert isinstance(asked, ChatInput)
    assert chat.template_kwargs == asked.template_kwargs
    assert chat.template_kwargs["enable_thinking"] is (effort not in ("none", "minimal"))


async def test_the_templates_own_variables_win_over_the_effort(
    client: httpx.AsyncClient, service: FakeModelService
) -> None:
    chat = await prompt(
        client, service, reasoning={"effort": "none"}, chat_template_kwargs={"enable_thinking": True}
    )
    assert chat.template_kwargs == {"enable_thinking": True}


async def test_a_count_is_of_the_same_prompt(client: httpx.AsyncClient, service: FakeModelService) -> None:
    fields: dict[str, Any] = {"input": [CALL, OUTPUT], "tools": [F], "instructions": "Be brief."}
    chat = await prompt(client, service, **fields)
    response = await client.post("/v1/responses/input_tokens", json=fields)
    assert response.json() == {"object": "response.input_tokens", "input_tokens": 3}
    assert service.tokenized == [(chat, True)]


@pytest.mark.parametrize(
    ("form", "constraint"),
    [
        ({"type": "text"}, None),
        ({"type": "json_object"}, JsonObject()),
        (
            {"type": "json_schema", "name": "n", "schema": {"type": "array"}, "strict": True},
            JsonSchema({"type": "array"}, "n"),
        ),
    ],
)
async def test_the_form_of_the_answer(
    client: httpx.AsyncClient, service: FakeModelService, form: Any, constraint: Any
) -> None:
    answer = await whole(client, text={"format": form, "verbosity": "low"})
    assert service.requests[-1].constraint == constraint
    assert answer["text"]["verbosity"] == "low"
    assert form.items() <= answer["text"]["format"].items()


async def test_sampling_and_limits(client: httpx.AsyncClient, service: FakeModelService) -> None:
    fields = {"temperature": 0.5, "top_p": 0.9, "top_k": 5, "min_p": 0.1, "seed": 7}
    request = await asked(client, service, max_output_tokens=9, cache_salt="s", **fields)
    sampling = request.sampling
    assert {name: getattr(sampling, name) for name in fields} == fields
    assert (sampling.max_tokens, request.cut_to_context, request.cache_salt) == (9, True, "s")
    assert sampling.logprobs is None


async def test_what_cannot_be_read_in_an_output_is_named_to_the_model(
    client: httpx.AsyncClient, service: FakeModelService
) -> None:
    output = [
        {"type": "input_text", "text": "a.png"},
        {"type": "input_image", "image_url": "data:image/png;base64,AAAA"},
        {"type": "input_file", "file_data": "AAAA"},
    ]
    answer = await whole(client, input=[CALL, OUTPUT | {"output": output}])
    expected = "a.png\n\n[image: this model takes text only]\n\n[file: this model takes text only]"
    read = service.requests[-1].input
    assert isinstance(read, ChatInput)
    assert read.messages[-1].parts == (ToolResult("c", expected),)
    # The next turn reads what this one has read.
    again = await prompt(client, service, input="Well?", previous_response_id=answer["id"])
    assert again.messages[1].parts == (ToolResult("c", expected),)
    listed = await client.get(f"/v1/responses/{answer['id']}/input_items")
    assert [part["text"] for part in listed.json()["data"][0]["output"]] == expected.split("\n\n")


class Counting(FakeModelService):
    """A token a turn."""

    async def tokenize(self, model: str, input: object, *, add_special_tokens: bool = True) -> list[int]:
        assert isinstance(input, ChatInput)
        return [0] * len(input.messages)


async def test_finding_what_fits_copies_no_conversation_for_each_of_its_turns() -> None:
    turns = tuple(Message("assistant" if i % 2 else "user", (Text("x"),)) for i in range(12_000))
    service = Counting()
    tracemalloc.start()
    try:
        chat = await fitted(service, "default", ChatInput(messages=turns), None)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    context = service.card.max_model_len or 0
    assert chat.messages == turns[-(context - context // 8) :]
    assert peak < 8 * 2**20


async def test_lengths_and_thoughts_are_bounded_by_the_fields_of_chat_too(
    client: httpx.AsyncClient, service: FakeModelService
) -> None:
    body = {
        "input": "hi",
        "enable_thinking": False,
        "thinking_token_budget": 7,
        "max_tokens": 9,
        "reasoning": {"effort": "high"},
    }
    assert (await client.post("/v1/responses", json=body)).status_code == 200
    request = service.requests[-1]
    assert (request.thinking_budget, request.sampling.max_tokens) == (7, 9)
    assert isinstance(request.input, ChatInput)
    assert request.input.template_kwargs == {"enable_thinking": False, "reasoning_effort": "high"}
