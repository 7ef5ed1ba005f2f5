"""Anthropic's dialect end to end: a server process of its own, the official clients, and known tokens."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
from tests.e2e.server import Server, in_thread
from tests.fakes.scripted import Answer, scripted_service
from tests.fakes.wire import named_events

TOOLS: Any = [
    {
        "name": "get_weather",
        "description": "The weather of a city",
        "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    }
]
THINKING: Any = {"type": "adaptive"}
KEEP: Any = {"type": "ephemeral"}


def user(text: str) -> Any:
    return [{"role": "user", "content": text}]


def fields(prompt: Any, **more: Any) -> Any:
    messages = user(prompt) if isinstance(prompt, str) else prompt
    return {"model": "claude-anything", "max_tokens": 2048, "messages": messages} | more


@pytest.fixture(scope="module")
def claude(scripted: Server) -> Iterator[anthropic.Anthropic]:
    """The official client of the script."""
    with scripted.anthropic_sdk() as client:
        yield client


@pytest.mark.requirement(54)
def test_one_process_serves_both_clients(tiny: Server) -> None:
    with tiny.sdk() as sdk, tiny.anthropic_sdk() as claude:
        asked: Any = {"model": "default", "messages": user("Say something."), "max_tokens": 12}
        whole = sdk.chat.completions.create(**asked, temperature=0, extra_body={"enable_thinking": False})
        message = claude.messages.create(**asked, extra_body={"temperature": 0})
        answer = whole.choices[0].message
        texts = [getattr(block, "text", None) or getattr(block, "thinking", "") for block in message.content]
        assert "".join(texts) == (answer.reasoning or "") + (answer.content or "")  # type: ignore[attr-defined]
        assert whole.usage is not None
        assert message.usage.output_tokens == whole.usage.completion_tokens
        assert all_input(message) == whole.usage.prompt_tokens
    assert tiny.process.poll() is None  # one process answered both, and still does


def all_input(message: anthropic.types.Message) -> int:
    return all_input_of(message.usage)


def all_input_of(usage: anthropic.types.Usage) -> int:
    return (
        usage.input_tokens + (usage.cache_read_input_tokens or 0) + (usage.cache_creation_input_tokens or 0)
    )


@pytest.mark.requirement(39)
@pytest.mark.parametrize("streamed", [False, True])
def test_a_thought_and_a_tool_call(claude: anthropic.Anthropic, streamed: bool) -> None:
    asked = fields("What is the weather?", tools=TOOLS, thinking=THINKING)
    if streamed:
        with claude.messages.stream(**asked) as stream:
            message: Any = stream.get_final_message()
    else:
        message = claude.messages.create(**asked)
    thought, call = message.content
    assert (thought.type, thought.thinking) == ("thinking", "I need the tool.")
    assert thought.signature
    assert (call.type, call.name, call.input) == ("tool_use", "get_weather", {"city": "Zürich"})
    assert message.stop_reason == "tool_use"
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "Use it to count."}
    again = [
        *user("And then?"),
        {"role": "assistant", "content": message.content},
        {"role": "user", "content": [result]},
    ]
    answer = claude.messages.create(**fields(again, tools=TOOLS))
    assert answer.content[0].text == "one two three four five six"  # type: ignore[union-attr]


@pytest.mark.requirement(39, 55)
def test_a_request_switches_thinking(claude: anthropic.Anthropic) -> None:
    (text,) = claude.messages.create(**fields("Hi")).content
    assert text.text == "No thought."  # type: ignore[union-attr]
    thought, text = claude.messages.create(**fields("Hi", thinking=THINKING)).content
    assert (thought.thinking, text.text) == ("Hm.", "A thought.")  # type: ignore[union-attr]


@pytest.mark.requirement(39)
def test_a_stop_sequence_is_named_and_never_shown(claude: anthropic.Anthropic) -> None:
    asked = fields("count", stop_sequences=["five", "three"])
    message = claude.messages.create(**asked)
    assert (message.stop_reason, message.stop_sequence) == ("stop_sequence", "three")
    with claude.messages.stream(**asked) as stream:
        assert "".join(stream.text_stream) == message.content[0].text == "one two "  # type: ignore[union-attr]
        assert stream.get_final_message().usage.output_tokens == message.usage.output_tokens == 13


@pytest.mark.requirement(39)
def test_an_answer_that_has_begun_is_continued(claude: anthropic.Anthropic) -> None:
    begun = [*user("Hello"), {"role": "assistant", "content": "I shall count:"}]
    message = claude.messages.create(**fields(begun))
    assert message.content[0].text == "one two three four five six"  # type: ignore[union-attr]


@pytest.mark.requirement(39, 77)
def test_no_character_is_split_between_events(scripted: Server) -> None:
    text = scripted.post("/v1/messages", **fields("emoji", stream=True)).text
    events = [event for event in named_events(text) if event["type"] == "content_block_delta"]
    pieces = [event["delta"]["text"] for event in events]
    assert pieces == list("Grüße 👩‍👩‍👧 日本語 🏳️‍🌈!")


CONVERSATIONS: list[dict[str, Any]] = [
    fields("Hi"),
    fields("Hi", thinking=THINKING),
    fields("Hi" * 100, system="Be kind."),
    fields("Hi", system=[{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], tools=TOOLS),
    fields("Hi", tools=TOOLS, tool_choice={"type": "none"}),
    fields([*user("Hi"), {"role": "assistant", "content": "I am"}]),
    fields(
        [
            *user("日本語"),
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "hm", "signature": "x"},
                    {"type": "tool_use", "id": "t", "name": "f", "input": {"a": [1, "ü"]}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "t", "is_error": True},
                    {"type": "text", "text": "And now?"},
                ],
            },
        ]
    ),
    fields("Hi", system="x-anthropic-billing-header: cc_version=1;\nBe kind.", cache_control=KEEP),
    fields("Hi", system=[{"type": "text", "text": "Be kind.", "cache_control": KEEP}]),
    fields("Hi", tools=[{"type": "bash_20250124", "name": "bash", "cache_control": KEEP}]),
    fields([*user("Hi"), {"role": "system", "content": "Be brief."}], output_config={"effort": "low"}),
    fields(
        [
            {
                "role": "user",
                "content": [
                    {
                        "type": "document",
                        "source": {"type": "text", "media_type": "text/plain", "data": "Well."},
                        "title": "Log",
                        "cache_control": KEEP,
                    },
                    {"type": "text", "text": "Hi"},
                ],
            }
        ]
    ),
]


@pytest.mark.requirement(40)
@pytest.mark.parametrize("asked", CONVERSATIONS, ids=range(len(CONVERSATIONS)))
def test_a_count_equals_the_input_of_the_real_call(claude: anthropic.Anthropic, asked: Any) -> None:
    counted = {name: value for name, value in asked.items() if name != "max_tokens"}
    tokens = claude.messages.count_tokens(**counted).input_tokens
    for _ in range(2):  # the second time from the cache
        assert all_input(claude.messages.create(**asked)) == tokens
    again = claude.messages.create(**asked).usage
    assert again.cache_read_input_tokens == (tokens - 1) // 16 * 16


@pytest.mark.requirement(39, 42)
def test_what_was_marked_is_written_once_and_read_after_that(claude: anthropic.Anthropic) -> None:
    system = [{"type": "text", "text": "Never asked before. " * 10, "cache_control": KEEP}]
    first = claude.messages.create(**fields("Hi", system=system)).usage
    assert first.cache_read_input_tokens == 0
    # One token a byte: the marked prompt in its turn, and the opening of the next one.
    marked = len("<|im_start|>system\n") - 11 + 200 + len("<|im_end|>\n") - 9 + len("<|im_start|>user\n") - 11
    assert first.cache_creation_input_tokens == marked
    again = claude.messages.create(**fields("Hi", system=system)).usage
    assert again.cache_read_input_tokens == (all_input_of(first) - 1) // 16 * 16
    assert again.cache_creation_input_tokens == 0
    longer = claude.messages.create(**fields("Hi" * 50, system=system, cache_control=KEEP)).usage
    assert longer.cache_read_input_tokens == marked // 16 * 16
    # All was marked: only what opens the answer is plain input.
    assert longer.input_tokens == len("<|im_start|>assistant\n") - 11 + len("<think>\n\n</think>\n\n") - 13


@pytest.mark.requirement(42)
def test_the_changing_line_of_claude_code_does_not_end_the_shared_prefix(
    claude: anthropic.Anthropic,
) -> None:
    def ask(line: str) -> anthropic.types.Usage:
        blocks = [{"type": "text", "text": line}, {"type": "text", "text": "You are an agent. " * 20}]
        return claude.messages.create(**fields("Hi", system=blocks)).usage

    first = ask("x-anthropic-billing-header: cc_version=2.1.197; cch=1f2e3;")
    again = ask("x-anthropic-billing-header: cc_version=2.1.198; cch=0a9b8c7d;")
    assert again.cache_read_input_tokens == (all_input_of(first) - 1) // 16 * 16


@pytest.mark.requirement(39)
def test_no_tokens_at_all_only_warm_the_cache(claude: anthropic.Anthropic) -> None:
    prompt = "Warm this long prompt, which nobody has sent before."
    message = claude.messages.create(**fields(prompt, max_tokens=0))
    assert (message.content, message.stop_reason, message.usage.output_tokens) == ([], "max_tokens", 0)
    assert claude.messages.create(**fields(prompt)).usage.cache_read_input_tokens


@pytest.mark.requirement(39)
def test_an_answer_ends_where_the_context_does_and_a_longer_prompt_is_refused(tmp_path: Path) -> None:
    service = scripted_service(tmp_path / "small", [Answer("on ", endless=True)], context=256)
    with in_thread(service) as url, anthropic.Anthropic(base_url=url, api_key="x", max_retries=0) as claude:
        message = claude.messages.create(**fields("Go", max_tokens=16_000))
        assert message.stop_reason == "model_context_window_exceeded"
        assert all_input(message) + message.usage.output_tokens == 256
        with pytest.raises(anthropic.BadRequestError, match=r"prompt is too long: .*256"):
            claude.messages.create(**fields("Go" * 200))


@pytest.mark.requirement(54)
def test_a_fault_of_one_dialect_is_told_in_its_own_shape(scripted: Server) -> None:
    with scripted.sdk() as sdk, scripted.anthropic_sdk() as claude:
        with pytest.raises(openai.BadRequestError) as openais:
            sdk.chat.completions.create(model="default", messages=[])
        with pytest.raises(anthropic.BadRequestError) as anthropics:
            claude.messages.create(model="default", max_tokens=5, messages=[])
    assert openais.value.param == "messages"
    body: Any = anthropics.value.body
    assert body["error"]["type"] == "invalid_request_error"
    assert body["request_id"] == anthropics.value.request_id
