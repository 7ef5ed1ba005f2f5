"""The official client, unchanged, against a real server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import openai
import pytest
from tests.fakes.service import HANG, FakeModelService, completed, spoken
from tests.limits import LIMIT_S

from vllm_mlx.core.errors import ContextOverflow, Overloaded, Unavailable
from vllm_mlx.core.events import Finished, ReasoningDelta, Started, TextDelta, ToolCallDelta, ToolCallStart

pytestmark = pytest.mark.requirement(33, 34, 35, 43)

HI = [{"role": "user", "content": "hi"}]


def test_chat(sdk: openai.OpenAI) -> None:
    answer = sdk.chat.completions.create(model="default", messages=HI)  # type: ignore[arg-type]
    assert answer.choices[0].message.content == "hello big world"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.prompt_tokens_details is not None
    assert answer.usage.prompt_tokens_details.cached_tokens == 3
    assert str(answer._request_id).startswith("req_")


def test_stream(sdk: openai.OpenAI) -> None:
    stream = sdk.chat.completions.create(
        model="default",
        messages=HI,
        stream=True,
        stream_options={"include_usage": True},  # type: ignore[arg-type]
    )
    chunks = list(stream)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks[:-1]) == "hello big world"
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 3


def test_n_logprobs_stop_and_seed(sdk: openai.OpenAI, service: FakeModelService) -> None:
    service.script = [*spoken("a b"), *spoken("c d", choice=1), completed(4)]
    answer = sdk.chat.completions.create(
        model="default",
        messages=HI,
        n=2,
        logprobs=True,
        top_logprobs=2,
        stop=["x", "y"],
        seed=7,  # type: ignore[arg-type]
    )
    assert [choice.message.content for choice in answer.choices] == ["a b", "c d"]
    assert answer.choices[1].logprobs is not None
    assert answer.choices[1].logprobs.content is not None
    first = answer.choices[1].logprobs.content[0]
    assert (first.token, first.bytes, len(first.top_logprobs)) == ("c ", [99, 32], 2)
    sampling = service.requests[0].sampling
    assert (sampling.n, sampling.stop, sampling.seed) == (2, ("x", "y"), 7)


def test_reasoning_and_tools(sdk: openai.OpenAI, service: FakeModelService) -> None:
    service.script = [
        Started(0, 5),
        ReasoningDelta(0, "hm"),
        ToolCallStart(0, 0, "call_1", "f"),
        ToolCallDelta(0, 0, '{"a":'),
        ToolCallDelta(0, 0, "1}"),
        Finished(0, "tool_calls"),
        completed(),
    ]
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
    message = sdk.chat.completions.create(model="default", messages=HI, tools=tools).choices[0].message  # type: ignore[arg-type,call-overload]
    assert (message.reasoning, message.reasoning_content) == ("hm", "hm")
    assert message.tool_calls[0].function.arguments == '{"a":1}'
    with sdk.chat.completions.stream(model="default", messages=HI, tools=tools) as stream:  # type: ignore[arg-type]
        stream.until_done()
        final = stream.get_final_completion().choices[0]
    assert final.finish_reason == "tool_calls"
    assert final.message.tool_calls is not None
    assert final.message.tool_calls[0].function.arguments == '{"a":1}'


def test_a_turn_with_tools_goes_back_as_it_came(sdk: openai.OpenAI, service: FakeModelService) -> None:
    service.script = [
        Started(0, 5),
        ToolCallStart(0, 0, "call_1", "f"),
        ToolCallDelta(0, 0, "{}"),
        Finished(0, "tool_calls"),
        completed(),
    ]
    message = sdk.chat.completions.create(model="default", messages=HI).choices[0].message  # type: ignore[arg-type]
    service.script = [*spoken("done"), completed()]
    answer = sdk.chat.completions.create(
        model="default",
        messages=[*HI, message, {"role": "tool", "tool_call_id": "call_1", "content": "ok"}],  # type: ignore[list-item]
    )
    assert answer.choices[0].message.content == "done"


def test_completions(sdk: openai.OpenAI) -> None:
    answer = sdk.completions.create(model="default", prompt=["a", "b"], logprobs=1, echo=True)
    assert [(choice.index, choice.text) for choice in answer.choices] == [
        (0, "hello big world"),
        (1, "hello big world"),
    ]
    assert answer.choices[0].logprobs is not None
    assert answer.choices[0].logprobs.tokens == ["hello ", "big ", "world"]
    assert answer.choices[0].logprobs.text_offset == [0, 6, 10]
    streamed = sdk.completions.create(model="default", prompt=[[1, 2], [3]], stream=True)
    texts = ["", ""]
    for chunk in streamed:
        texts[chunk.choices[0].index] += chunk.choices[0].text
    assert texts == ["hello big world"] * 2


def test_models(sdk: openai.OpenAI) -> None:
    assert [model.id for model in sdk.models.list()] == ["org/tiny"]
    assert sdk.models.retrieve("org/tiny").owned_by == "vllm-mlx"


def test_errors_become_the_clients_own_exceptions(sdk: openai.OpenAI, service: FakeModelService) -> None:
    def ask() -> object:
        return sdk.chat.completions.create(model="default", messages=HI)  # type: ignore[arg-type]

    with pytest.raises(openai.NotFoundError, match="not served"):
        sdk.chat.completions.create(model="gpt-x", messages=HI)  # type: ignore[arg-type]
    with pytest.raises(openai.BadRequestError) as caught:
        sdk.chat.completions.create(model="default", messages=HI, n=0)  # type: ignore[arg-type]
    assert caught.value.param == "n"
    service.script = [ContextOverflow("too long: 5000 tokens of 4096")]
    with pytest.raises(openai.BadRequestError) as caught:
        ask()
    assert caught.value.code == "context_length_exceeded"
    service.script = [Overloaded("full")]
    with pytest.raises(openai.RateLimitError):
        ask()
    service.script = [Unavailable("gone")]
    with pytest.raises(openai.InternalServerError):
        ask()


def test_an_error_within_a_stream_is_raised_by_the_client(
    sdk: openai.OpenAI, service: FakeModelService
) -> None:
    service.script = [Started(0, 5), TextDelta(0, "a"), Unavailable("The engine died.")]
    stream = sdk.chat.completions.create(model="default", messages=HI, stream=True)  # type: ignore[arg-type]
    with pytest.raises(openai.APIError, match="engine died"):
        list(stream)


def test_leaving_a_stream_ends_the_request(sdk: openai.OpenAI, service: FakeModelService) -> None:
    service.script = [*spoken("a b")[:2], HANG]
    with sdk.chat.completions.create(model="default", messages=HI, stream=True) as stream:  # type: ignore[arg-type]
        next(iter(stream))
        assert not service.closed.is_set()
    assert service.closed.wait(LIMIT_S)


async def fifty(url: str) -> list[str]:
    async with openai.AsyncOpenAI(base_url=url + "/v1", api_key="x", max_retries=0) as client:

        async def one() -> str:
            stream = await client.chat.completions.create(model="default", messages=HI, stream=True)  # type: ignore[call-overload]
            return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

        return list(await asyncio.gather(*(one() for _ in range(50))))


@pytest.mark.anyio
@pytest.mark.requirement(85)
async def test_fifty_streams_at_once(live: Callable[..., str]) -> None:
    assert await fifty(live()) == ["hello big world"] * 50
