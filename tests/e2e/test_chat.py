"""The official OpenAI client drives `vllm-mlx serve` over a tiny random model."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from tests.e2e.server import LIMIT_S, Server

pytestmark = pytest.mark.requirement(5, 33, 34, 43)

HI: list[Any] = [{"role": "user", "content": "Hello there"}]


def ask(sdk: openai.OpenAI, **more: Any) -> Any:
    given = {"model": "default", "messages": HI, "max_tokens": 16, "temperature": 0} | more
    # A random model may say its end-of-text at any moment.
    given["extra_body"] = {"ignore_eos": True} | more.get("extra_body", {})
    return sdk.chat.completions.create(**given)


def text(sdk: openai.OpenAI, **more: Any) -> str:
    return ask(sdk, **more).choices[0].message.content


def streamed(sdk: openai.OpenAI, **more: Any) -> str:
    chunks = ask(sdk, stream=True, **more)
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


@pytest.mark.requirement(81, 88)
def test_a_chat_is_answered_with_exact_usage(sdk: openai.OpenAI) -> None:
    answer = ask(sdk)
    choice = answer.choices[0]
    assert (choice.index, choice.finish_reason, choice.message.role) == (0, "length", "assistant")
    assert choice.logprobs is None
    assert choice.message.content
    assert answer.model == "tiny"
    # One token a byte: <|im_start|>, "user\n", the text, <|im_end|>, "\n", <|im_start|>, "assistant\n".
    assert answer.usage.prompt_tokens == 1 + 5 + 11 + 1 + 1 + 1 + 10
    assert (answer.usage.completion_tokens, answer.usage.total_tokens) == (16, 30 + 16)
    assert answer.metrics["time_to_first_token_ms"] > 0
    assert answer.metrics["generation_time_ms"] > 0


def test_a_stream_says_what_the_whole_answer_says(sdk: openai.OpenAI) -> None:
    chunks = list(ask(sdk, stream=True, stream_options={"include_usage": True}))
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(c.choices[0].delta.content or "" for c in chunks[:-1]) == text(sdk)
    assert [c.choices[0].finish_reason for c in chunks[:-1]] == [None] * (len(chunks) - 2) + ["length"]
    assert chunks[-1].choices == []
    assert chunks[-1].usage.completion_tokens == 16
    assert len({chunk.id for chunk in chunks}) == 1


def test_a_stream_ends_with_done(tiny: Server) -> None:
    answer = tiny.post("/v1/chat/completions", messages=HI, stream=True, max_tokens=2)
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.text.endswith("data: [DONE]\n\n")


@pytest.mark.requirement(60)
def test_a_second_turn_finds_the_first_in_the_cache(sdk: openai.OpenAI) -> None:
    long: list[Any] = [{"role": "user", "content": "A question that fills some blocks. " * 4}]
    first = ask(sdk, messages=long, max_tokens=1)
    second = ask(sdk, messages=long, max_tokens=1)
    assert second.choices[0].message.content == first.choices[0].message.content
    assert second.usage.prompt_tokens_details.cached_tokens == (second.usage.prompt_tokens - 1) // 16 * 16


def test_choices_differ_and_a_seed_brings_them_back(sdk: openai.OpenAI) -> None:
    kept: dict[str, Any] = {"n": 3, "temperature": 1.0, "seed": 11}
    first, second = ask(sdk, **kept), ask(sdk, **kept)
    said = [choice.message.content for choice in first.choices]
    assert [choice.index for choice in first.choices] == [0, 1, 2]
    assert len(set(said)) == 3
    assert [choice.message.content for choice in second.choices] == said
    assert first.usage.completion_tokens == 48
    assert said[0] == text(sdk, temperature=1.0, seed=11)


@pytest.mark.requirement(58)
def test_a_seed_gives_one_text_at_any_batch_size(sdk: openai.OpenAI) -> None:
    alone = [text(sdk, temperature=1.0, seed=seed) for seed in range(8)]
    greedy = text(sdk)
    with ThreadPoolExecutor(9) as pool:
        cold = pool.submit(text, sdk)
        hot = [pool.submit(text, sdk, temperature=1.0, seed=seed) for seed in range(8)]
    assert [each.result() for each in hot] == alone
    assert cold.result() == greedy
    assert len(set(alone)) == 8


def test_logprobs_name_each_token_and_its_rivals(sdk: openai.OpenAI) -> None:
    choice = ask(sdk, logprobs=True, top_logprobs=3).choices[0]
    entries = choice.logprobs.content
    assert len(entries) == 16
    for entry in entries:
        assert entry.logprob <= 0
        assert len(entry.top_logprobs) == 3
        # Greedy: the chosen token is the likeliest one.
        assert entry.logprob == entry.top_logprobs[0].logprob
        assert [other.logprob for other in entry.top_logprobs] == sorted(
            (other.logprob for other in entry.top_logprobs), reverse=True
        )
    assert (
        b"".join(bytes(entry.bytes) for entry in entries).decode("utf-8", "replace") == choice.message.content
    )


@pytest.mark.parametrize("as_list", [False, True])
def test_a_stop_string_over_several_tokens_ends_the_text_and_is_not_shown(
    sdk: openai.OpenAI, as_list: bool
) -> None:
    whole = text(sdk, max_tokens=24)
    stop = whole[6:10]
    expected = whole[: whole.index(stop)]
    given: Any = ["never said", stop] if as_list else stop
    answer = ask(sdk, max_tokens=24, stop=given)
    assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == (expected, "stop")
    assert answer.choices[0].stop_reason == stop
    assert answer.usage.completion_tokens < 24
    assert streamed(sdk, max_tokens=24, stop=given) == expected


def test_a_stop_token_id_ends_the_text(sdk: openai.OpenAI, tiny: Server) -> None:
    # The likeliest first token is where the text would begin: so nothing is said.
    scored = tiny.post("/v1/completions", prompt="ab", max_tokens=4, temperature=0).json()
    assert scored["usage"]["completion_tokens"] == 4
    answer = ask(sdk, logit_bias={"7": 100}, extra_body={"stop_token_ids": [7]})
    assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == ("", "stop")
    assert answer.usage.completion_tokens == 1


def test_logit_bias_and_penalties_reach_the_sampler(sdk: openai.OpenAI) -> None:
    assert (
        text(sdk, logit_bias={"65": 100}, max_tokens=4) == text(sdk, logit_bias={"65": 100}, max_tokens=1) * 4
    )
    # The penalty of 2 a token each time soon outweighs a bias of 20.
    biased = text(sdk, logit_bias={"65": 20, "66": 20}, frequency_penalty=2.0, max_tokens=12)
    assert len(set(biased)) > 1


@pytest.mark.requirement(9)
def test_without_max_tokens_the_server_s_limit_ends_the_text(sdk: openai.OpenAI) -> None:
    answer = ask(sdk, max_tokens=None)
    assert (answer.usage.completion_tokens, answer.choices[0].finish_reason) == (24, "length")


@pytest.mark.requirement(43)
@pytest.mark.parametrize("model", ["default", "tiny", "gpt-4o", "claude-sonnet-4-5"])
def test_one_model_answers_to_every_name(sdk: openai.OpenAI, model: str) -> None:
    assert ask(sdk, model=model).model == "tiny"


@pytest.mark.requirement(32, 89)
def test_the_model_list_is_what_clients_read(sdk: openai.OpenAI, tiny: Server, chat_folder: Path) -> None:
    (model,) = sdk.models.list().data
    # That of the files: a server that starts anew says the same.
    assert model.created == int((chat_folder / "config.json").stat().st_mtime)
    assert (model.id, model.object, model.owned_by) == ("tiny", "model", "vllm-mlx")
    assert sdk.models.retrieve("tiny").created == model.created
    (fields,) = tiny.get("/v1/models").json()["data"]
    assert (fields["root"], fields["parent"], fields["max_model_len"]) == ("tiny", None, 8192)
    assert fields["permission"]


def test_no_answer_shows_where_the_model_lies(tiny: Server, chat_folder: object) -> None:
    folder = str(chat_folder).rsplit("/", 1)[0]
    bad = tiny.post("/v1/chat/completions", messages=HI, max_tokens=10**6)
    for answer in (tiny.get("/v1/models"), tiny.get("/v1/status"), tiny.get("/health"), bad):
        assert folder not in answer.text


def refused(sdk: openai.OpenAI, **more: Any) -> openai.BadRequestError:
    with pytest.raises(openai.BadRequestError) as caught:
        ask(sdk, **more)
    return caught.value


def test_an_overflow_is_told_with_the_numbers(sdk: openai.OpenAI) -> None:
    error = refused(sdk, max_tokens=8192)
    assert error.code == "context_length_exceeded"
    for number in ("8192", "8222", "30"):
        assert number in error.message
    error = refused(sdk, messages=[{"role": "user", "content": "x" * 9000}])
    assert error.code == "context_length_exceeded"
    assert "8192" in error.message


@pytest.mark.parametrize(
    ("given", "param"),
    [
        ({"temperature": -1}, "temperature"),
        ({"n": 0}, "n"),
        ({"messages": []}, "messages"),
        ({"logit_bias": {"512": 1}}, "logit_bias"),
        ({"extra_body": {"stop_token_ids": [512]}}, "stop_token_ids"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"top_logprobs": 3}, "top_logprobs"),
    ],
)
def test_a_bad_value_is_refused_by_its_name(sdk: openai.OpenAI, given: dict[str, Any], param: str) -> None:
    error = refused(sdk, **given)
    assert (error.param, error.type) == (param, "invalid_request_error")


def test_a_route_that_is_not_there_is_not_found(tiny: Server) -> None:
    answer = tiny.get("/v1/nothing")
    assert (answer.status_code, answer.json()["error"]["type"]) == (404, "invalid_request_error")


def test_any_key_will_do_and_none_too(tiny: Server) -> None:
    body = json.dumps({"messages": HI, "max_tokens": 1})
    for headers in ({}, {"authorization": "Bearer x"}, {"x-api-key": "y"}):
        assert (
            httpx.post(
                tiny.url + "/v1/chat/completions", content=body, headers=headers, timeout=LIMIT_S
            ).status_code
            == 200
        )
