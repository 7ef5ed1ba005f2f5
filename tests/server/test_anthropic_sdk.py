"""Anthropic's official client, unchanged, against a real server over scripted events."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import anthropic
import openai
import pytest
from pydantic import BaseModel
from tests.fakes.service import HANG, FakeModelService, completed, spoken
from tests.limits import LIMIT_S

from vllm_mlx.core.constraints import JsonSchema
from vllm_mlx.core.errors import ContextOverflow, Overloaded, Unavailable
from vllm_mlx.core.events import Finished, ReasoningDelta, Started, TextDelta, ToolCallDelta, ToolCallStart
from vllm_mlx.core.messages import ToolResult
from vllm_mlx.core.requests import ChatInput, GenerateRequest

pytestmark = pytest.mark.requirement(39, 44)

HI: Any = [{"role": "user", "content": "hi"}]
TOOLS: Any = [{"name": "f", "description": "does f", "input_schema": {"type": "object"}}]
THOUGHT_AND_CALL = [
    Started(0, 5, 3),
    ReasoningDelta(0, "hm"),
    TextDelta(0, "I look."),
    ToolCallStart(0, 0, "call_1", "f"),
    ToolCallDelta(0, 0, '{"a":'),
    ToolCallDelta(0, 0, '"日本"}'),
    Finished(0, "tool_calls"),
    completed(),
]


@pytest.fixture
def claude(live: Callable[..., str]) -> Iterator[anthropic.Anthropic]:
    """The official client, against a real server."""
    with anthropic.Anthropic(base_url=live(), api_key="not-needed", max_retries=0) as client:
        yield client


def ask(client: anthropic.Anthropic, **more: Any) -> anthropic.types.Message:
    fields: Any = {"model": "default", "max_tokens": 64, "messages": HI} | more
    message: anthropic.types.Message = client.messages.create(**fields)
    return message


def test_a_message(claude: anthropic.Anthropic) -> None:
    message = ask(claude, system="Be kind.", stop_sequences=["x"])
    assert message.content[0].type == "text"
    assert message.content[0].text == "hello big world"
    assert (message.stop_reason, message.model) == ("end_turn", "org/tiny")
    assert (message.usage.input_tokens, message.usage.cache_read_input_tokens) == (2, 3)
    assert message._request_id is not None
    assert message._request_id.startswith("req_")


def test_a_stream(claude: anthropic.Anthropic) -> None:
    with claude.messages.stream(model="default", max_tokens=64, messages=HI) as stream:
        assert "".join(stream.text_stream) == "hello big world"
        final = stream.get_final_message()
    assert (final.stop_reason, final.usage.output_tokens) == ("end_turn", 3)


def test_a_thought_a_text_and_a_call_and_their_way_back(
    claude: anthropic.Anthropic, service: FakeModelService
) -> None:
    service.script = THOUGHT_AND_CALL
    message = ask(claude, tools=TOOLS, thinking={"type": "adaptive"})
    assert [block.type for block in message.content] == ["thinking", "text", "tool_use"]
    assert message.stop_reason == "tool_use"
    with claude.messages.stream(model="default", max_tokens=64, messages=HI, tools=TOOLS) as stream:
        streamed = stream.get_final_message()
    assert [block.to_dict() for block in streamed.content] == [block.to_dict() for block in message.content]
    call = message.content[2]
    assert call.type == "tool_use"
    assert call.input == {"a": "日本"}
    service.script = [*spoken("done"), completed()]
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "ok"}
    again = [
        *HI,
        {"role": "assistant", "content": message.content},
        {"role": "user", "content": [result]},
    ]
    assert ask(claude, messages=again, tools=TOOLS).content[0].text == "done"  # type: ignore[union-attr]


def test_the_beta_routes(claude: anthropic.Anthropic) -> None:
    message = claude.beta.messages.create(
        model="default", max_tokens=64, messages=HI, betas=["interleaved-thinking-2025-05-14"]
    )
    assert message.content[0].text == "hello big world"  # type: ignore[union-attr]
    assert claude.beta.messages.count_tokens(model="default", messages=HI).input_tokens == 3


class Sum(BaseModel):
    """What the answer shall be."""

    total: int


def test_an_answer_of_a_type(claude: anthropic.Anthropic, service: FakeModelService) -> None:
    service.script = [*spoken('{"total": 42}'), completed()]
    fields: Any = {"model": "default", "max_tokens": 64, "messages": HI, "output_format": Sum}
    assert claude.messages.parse(**fields).parsed_output == Sum(total=42)
    assert claude.beta.messages.parse(**fields).parsed_output == Sum(total=42)
    with claude.messages.stream(**fields) as stream:
        assert stream.get_final_message().parsed_output == Sum(total=42)
    for request in service.requests:
        assert isinstance(request.constraint, JsonSchema)
        assert isinstance(request.constraint.schema, dict)
        assert request.constraint.schema["required"] == ["total"]


def test_the_package_runs_a_tool_and_sends_its_result(
    claude: anthropic.Anthropic, service: FakeModelService
) -> None:
    @anthropic.beta_tool
    def f(a: str) -> str:
        """Does f."""
        return f"done with {a}"

    def script(request: GenerateRequest) -> Any:
        assert isinstance(request.input, ChatInput)
        results = [part.text for part in request.input.messages[-1].parts if isinstance(part, ToolResult)]
        return [*spoken(f"It is {results[0]}."), completed()] if results else THOUGHT_AND_CALL

    service.script = script
    runner = claude.beta.messages.tool_runner(model="default", max_tokens=64, messages=HI, tools=[f])
    assert runner.until_done().content[-1].text == "It is done with 日本."  # type: ignore[union-attr]


def test_count_tokens(claude: anthropic.Anthropic) -> None:
    assert claude.messages.count_tokens(model="default", messages=HI, system="x").input_tokens == 3


def test_errors_become_the_clients_own_exceptions(
    claude: anthropic.Anthropic, service: FakeModelService
) -> None:
    with pytest.raises(anthropic.NotFoundError, match="not served") as missing:
        ask(claude, model="claude-x")
    assert missing.value.request_id is not None
    service.script = [ContextOverflow("too long: 5000 tokens of 4096")]
    with pytest.raises(anthropic.BadRequestError, match="too long"):
        ask(claude)
    service.script = [Overloaded("full")]
    with pytest.raises(anthropic.RateLimitError):
        ask(claude)
    service.script = [Unavailable("gone")]
    with pytest.raises(anthropic.InternalServerError):
        ask(claude)


def test_an_error_within_a_stream_is_raised_by_the_client(
    claude: anthropic.Anthropic, service: FakeModelService
) -> None:
    service.script = [Started(0, 5), TextDelta(0, "a"), Unavailable("The engine died.")]
    stream = claude.messages.create(model="default", max_tokens=64, messages=HI, stream=True)
    with pytest.raises(anthropic.APIStatusError, match="engine died"):
        list(stream)


def test_leaving_a_stream_ends_the_request(claude: anthropic.Anthropic, service: FakeModelService) -> None:
    service.script = [*spoken("a b")[:2], HANG]
    with claude.messages.stream(model="default", max_tokens=64, messages=HI) as stream:
        next(iter(stream))
        assert not service.closed.is_set()
    assert service.closed.wait(LIMIT_S)


@pytest.mark.requirement(54)
def test_both_clients_hear_the_same_from_one_server(live: Callable[..., str]) -> None:
    url = live()
    with (
        anthropic.Anthropic(base_url=url, api_key="x", max_retries=0) as claude,
        openai.OpenAI(base_url=url + "/v1", api_key="x", max_retries=0) as sdk,
    ):
        answer = sdk.chat.completions.create(model="default", messages=HI)
        assert ask(claude).content[0].text == answer.choices[0].message.content  # type: ignore[union-attr]
