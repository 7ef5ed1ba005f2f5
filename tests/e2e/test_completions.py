"""Text completions through the official client, over a tiny random model."""

from __future__ import annotations

import math
from typing import Any

import openai
import pytest
from tests.e2e.server import Server

pytestmark = pytest.mark.requirement(35)

PROMPT = "Once upon a time"
IDS = list(range(20, 36))


def ask(sdk: openai.OpenAI, prompt: Any = PROMPT, **more: Any) -> Any:
    given = {"model": "default", "max_tokens": 8, "temperature": 0} | more
    given["extra_body"] = {"ignore_eos": True}
    return sdk.completions.create(prompt=prompt, **given)


def test_each_prompt_of_a_list_is_continued_as_alone(sdk: openai.OpenAI) -> None:
    prompts = [PROMPT, "Another", "A third one, longer than the others"]
    alone = [ask(sdk, prompt).choices[0].text for prompt in prompts]
    together = ask(sdk, prompts)
    assert [(c.index, c.text) for c in together.choices] == list(enumerate(alone))
    assert together.usage.prompt_tokens == sum(map(len, prompts))
    texts = ["", "", ""]
    for chunk in ask(sdk, prompts, stream=True):
        texts[chunk.choices[0].index] += chunk.choices[0].text
    assert texts == alone


def test_token_ids_say_the_same_as_their_text(sdk: openai.OpenAI, tiny: Server) -> None:
    ids = tiny.post("/tokenize", prompt=PROMPT).json()["tokens"]
    alone = ask(sdk).choices[0].text
    assert ask(sdk, ids).choices[0].text == alone
    assert [c.text for c in ask(sdk, [ids, IDS]).choices] == [alone, ask(sdk, IDS).choices[0].text]


def test_echo_brings_the_prompt_back_with_its_logprobs(sdk: openai.OpenAI) -> None:
    choice = ask(sdk, echo=True, logprobs=2).choices[0]
    plain = ask(sdk, logprobs=2).choices[0]
    assert choice.text == PROMPT + plain.text
    given = choice.logprobs
    assert given.tokens[: len(PROMPT)] == list(PROMPT)
    assert given.text_offset[: len(PROMPT)] == list(range(len(PROMPT)))
    assert given.token_logprobs[0] is None
    assert all(value <= 0 for value in given.token_logprobs[1:])
    assert given.tokens[len(PROMPT) :] == plain.logprobs.tokens
    assert given.token_logprobs[len(PROMPT) :] == pytest.approx(plain.logprobs.token_logprobs, abs=1e-4)


def test_choices_of_an_echoed_prompt_all_carry_its_logprobs(sdk: openai.OpenAI) -> None:
    answer = ask(sdk, echo=True, logprobs=0, n=3, temperature=1.0, seed=3)
    scores = [c.logprobs.token_logprobs[: len(PROMPT)] for c in answer.choices]
    assert scores[0] == scores[1] == scores[2]
    assert all(c.text.startswith(PROMPT) for c in answer.choices)
    assert all(len(c.logprobs.tokens) == len(PROMPT) + 8 for c in answer.choices)
    assert len({c.text for c in answer.choices}) == 3


@pytest.mark.parametrize("n", [1, 2])
def test_a_prompt_is_scored_without_generating_a_token(sdk: openai.OpenAI, n: int) -> None:
    answer = ask(sdk, echo=True, logprobs=1, max_tokens=0, n=n)
    generated = ask(sdk, echo=True, logprobs=1, max_tokens=1)
    assert answer.usage.completion_tokens == 0
    for choice in answer.choices:
        assert (choice.text, choice.finish_reason) == (PROMPT, "length")
        assert choice.logprobs.tokens == list(PROMPT)
        expected = generated.choices[0].logprobs.token_logprobs[:-1]
        assert choice.logprobs.token_logprobs == pytest.approx(expected, abs=1e-4)
        assert all(math.isfinite(value) for value in choice.logprobs.token_logprobs[1:])


def test_several_prompts_are_scored_at_once(sdk: openai.OpenAI) -> None:
    prompts = [PROMPT, "Else", "x"]
    answer = ask(sdk, prompts, echo=True, logprobs=1, max_tokens=0)
    assert [choice.text for choice in answer.choices] == prompts
    assert [len(choice.logprobs.tokens) for choice in answer.choices] == [16, 4, 1]


def test_n_choices_of_each_prompt_have_places_of_their_own(sdk: openai.OpenAI) -> None:
    answer = ask(sdk, [PROMPT, "Else"], n=2, temperature=1.0, seed=5)
    assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]
    assert len({choice.text for choice in answer.choices}) == 4
    assert answer.usage.completion_tokens == 32


@pytest.mark.parametrize("prompt", [[512], [-1], [[1], [600]], [], ""])
def test_ids_outside_the_vocabulary_and_empty_prompts_are_refused(sdk: openai.OpenAI, prompt: Any) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        ask(sdk, prompt)
    assert caught.value.param == "prompt"


@pytest.mark.requirement(90)
def test_detokenize_reverses_tokenize(tiny: Server) -> None:
    ids = tiny.post("/tokenize", prompt="Grüße, 日本").json()
    assert ids["count"] == len("Grüße, 日本".encode())
    assert tiny.post("/detokenize", tokens=ids["tokens"]).json() == {"prompt": "Grüße, 日本"}
