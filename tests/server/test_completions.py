"""Text completions: prompts of all kinds, side by side, with the legacy logprobs."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from tests.fakes.service import WAIT, FakeModelService, Script, completed, spoken, token
from tests.fakes.wire import frames

from vllm_mlx.core.errors import ContextOverflow
from vllm_mlx.core.events import Finished, Started, TextDelta, TokenLogprob
from vllm_mlx.core.requests import GenerateRequest, TextInput, TokenInput

pytestmark = [pytest.mark.anyio, pytest.mark.requirement(35)]


async def ask(client: httpx.AsyncClient, **fields: Any) -> Any:
    response = await client.post("/v1/completions", json=fields)
    assert response.status_code == 200, response.text
    return frames(response.text) if fields.get("stream") else response.json()


async def test_a_text_is_continued(client: httpx.AsyncClient, service: FakeModelService) -> None:
    body = await ask(client, prompt="once", max_tokens=5)
    assert body["object"] == "text_completion"
    assert body["choices"] == [
        {
            "index": 0,
            "text": "hello big world",
            "logprobs": None,
            "finish_reason": "stop",
            "stop_reason": None,
        }
    ]
    assert body["usage"]["total_tokens"] == 8
    request = service.requests[0]
    assert request.input == TextInput("once")
    assert request.sampling.max_tokens == 5


@pytest.mark.parametrize(
    ("prompt", "inputs"),
    [
        ("a", [TextInput("a")]),
        ("", [TextInput("")]),
        (["a", "b"], [TextInput("a"), TextInput("b")]),
        ([5, 6], [TokenInput((5, 6))]),
        ([[5], [6, 7]], [TokenInput((5,)), TokenInput((6, 7))]),
    ],
)
async def test_a_prompt_is_text_or_ids_or_a_list_of_either(
    client: httpx.AsyncClient, service: FakeModelService, prompt: Any, inputs: list[Any]
) -> None:
    body = await ask(client, prompt=prompt)
    assert [request.input for request in service.requests] == inputs
    assert [choice["index"] for choice in body["choices"]] == list(range(len(inputs)))
    assert len({request.request_id for request in service.requests}) == len(inputs)


def by_prompt(request: GenerateRequest) -> Script:
    assert isinstance(request.input, TextInput)
    name = request.input.text
    return [*spoken(f"{name} zero"), *spoken(f"{name} one", choice=1, reason="length"), completed(4)]


@pytest.mark.parametrize("stream", [False, True])
async def test_choices_count_through_all_prompts_and_usage_is_the_sum(
    client: httpx.AsyncClient, service: FakeModelService, stream: bool
) -> None:
    service.script = by_prompt
    options = {"stream": True, "stream_options": {"include_usage": True}} if stream else {}
    answer = await ask(client, prompt=["a", "b", "c"], n=2, **options)
    chunks = answer if stream else [answer]
    texts, reasons = [""] * 6, [None] * 6
    for chunk in chunks:
        for choice in chunk["choices"]:
            texts[choice["index"]] += choice["text"]
            reasons[choice["index"]] = choice["finish_reason"] or reasons[choice["index"]]
    assert texts == ["a zero", "a one", "b zero", "b one", "c zero", "c one"]
    assert reasons == ["stop", "length"] * 3
    assert chunks[-1]["usage"]["prompt_tokens"] == 15
    assert chunks[-1]["usage"]["completion_tokens"] == 12
    assert chunks[-1]["usage"]["prompt_tokens_details"] == {"cached_tokens": 9}


async def test_list_prompts_run_at_the_same_time(
    client: httpx.AsyncClient, service: FakeModelService
) -> None:
    def script(request: GenerateRequest) -> Script:
        assert isinstance(request.input, TextInput)
        if request.input.text == "second":
            return [*spoken("b"), service.go.set, completed()]
        return [WAIT, *spoken("a"), completed()]

    service.script = script
    body = await ask(client, prompt=["first", "second"])
    assert [choice["text"] for choice in body["choices"]] == ["a", "b"]


async def test_one_bad_prompt_fails_the_request_and_ends_the_others(
    client: httpx.AsyncClient, service: FakeModelService
) -> None:
    def script(request: GenerateRequest) -> Script:
        assert isinstance(request.input, TextInput)
        return [ContextOverflow("too long")] if request.input.text == "bad" else [WAIT]

    service.script = script
    response = await client.post("/v1/completions", json={"prompt": ["good", "bad"]})
    assert response.status_code == 400
    assert service.open_streams == 0


async def test_logprobs_come_in_the_legacy_shape_with_offsets(
    client: httpx.AsyncClient, service: FakeModelService
) -> None:
    half, rest = "é".encode()[:1], "é".encode()[1:]
    service.script = [
        Started(0, 2),
        TextDelta(0, "Hi", (token("Hi", None),)),
        TextDelta(0, " you", (token(" you", -0.25, others=[" you", " me"]),)),
        TextDelta(0, "", (TokenLogprob(1, "\ufffd", half, -1.5),)),
        TextDelta(0, "é!", (TokenLogprob(2, "\ufffd", rest, -2.0), token("!", float("-inf")))),
        Finished(0, "length"),
        completed(5),
    ]
    whole = (await ask(client, prompt="Hi", echo=True, logprobs=2))["choices"][0]
    assert whole["text"] == "Hi youé!"
    assert whole["logprobs"] == {
        "tokens": ["Hi", " you", "bytes:\\xc3", "bytes:\\xa9", "!"],
        "token_logprobs": [None, -0.25, -1.5, -2.0, -9999.0],
        "top_logprobs": [
            None,
            {" you": -0.25, " me": -2.0},
            {"bytes:\\xc3": -1.5},
            {"bytes:\\xa9": -2.0},
            {"!": -9999.0},
        ],
        "text_offset": [0, 2, 6, 6, 6],
    }
    pieces = [c["choices"][0] for c in await ask(client, prompt="Hi", echo=True, logprobs=2, stream=True)]
    folded = {key: [] for key in whole["logprobs"]}
    for piece in pieces:
        for key, values in (piece["logprobs"] or {}).items():
            folded[key] += values
    assert folded == whole["logprobs"]
    assert "".join(piece["text"] for piece in pieces) == whole["text"]


async def test_echo_asks_for_the_prompt_and_its_logprobs(
    client: httpx.AsyncClient, service: FakeModelService
) -> None:
    await ask(client, prompt="a", echo=True, logprobs=3)
    await ask(client, prompt=[4], echo=True)
    await ask(client, prompt="a", logprobs=0)
    first, second, third = service.requests
    assert (first.input, first.sampling.logprobs, first.sampling.prompt_logprobs) == (
        TextInput("a", True),
        3,
        3,
    )
    assert (second.input, second.sampling.prompt_logprobs) == (TokenInput((4,), True), None)
    assert (third.sampling.logprobs, third.sampling.prompt_logprobs) == (0, None)
