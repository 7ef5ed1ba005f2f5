"""A budget for thought, from the request to the tokens that are billed as thought."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.fakes.scripted import Answer, scripted_service

from vllm_mlx.config import ModelConfig
from vllm_mlx.core.constraints import Regex
from vllm_mlx.core.errors import InvalidRequest
from vllm_mlx.core.messages import Message, Text
from vllm_mlx.core.requests import ChatInput, GenerateRequest, TextInput
from vllm_mlx.core.results import GenerationResult, fold
from vllm_mlx.core.sampling import SamplingParams
from vllm_mlx.service.hub import Hub

pytestmark = [pytest.mark.anyio, pytest.mark.requirement(67)]

# The tags are tokens, every letter is one.
THOUGHT = "abcdefghij"
SCRIPT = [Answer(f"<think>{THOUGHT}</think>the answer", when="think"), Answer("no thought")]


def asking(prompt: str = "think", **more: object) -> GenerateRequest:
    chat = ChatInput(messages=(Message("user", (Text(prompt),)),))
    sampling = SamplingParams(max_tokens=60, temperature=0.0)
    return GenerateRequest(**{"input": chat, "sampling": sampling, **more})


async def answer(
    folder: Path, *requests: GenerateRequest, settings: ModelConfig | None = None
) -> list[GenerationResult]:
    hub: Hub = scripted_service(folder, SCRIPT, model=settings)
    await hub.start()
    try:
        return [await fold(hub.generate(request)) for request in requests]
    finally:
        await hub.aclose()


def parts(result: GenerationResult) -> tuple[str, str, int]:
    (choice,) = result.choices
    return choice.reasoning, choice.text, result.usage.reasoning_tokens


async def test_a_thought_is_closed_after_as_many_tokens_as_the_budget_has(tmp_path: Path) -> None:
    asked = [asking(thinking_budget=budget) for budget in (4, 0, 10, 1000)]
    cut, none, just, ample = [parts(result) for result in await answer(tmp_path / "m", *asked)]
    # The scripted model goes on by the number of its tokens, also of those that were written for it.
    assert cut == ("abcd", "ij</think>the answer", 6)
    assert none == ("", "!abcdefghij</think>the answer", 0)
    assert just == ("abcdefghij", " answer", 12)
    assert ample == ("abcdefghij", "the answer", 11)


async def test_the_command_line_gives_a_budget_to_requests_that_say_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "m"
    settings = ModelConfig(model=str(folder), default_thinking_token_budget=4)
    silent, own = await answer(folder, asking(), asking(thinking_budget=1000), settings=settings)
    assert parts(silent) == ("abcd", "ij</think>the answer", 6)
    assert parts(own) == ("abcdefghij", "the answer", 11)


async def test_without_a_budget_nothing_is_closed_and_a_prompt_without_thought_is_left_alone(
    tmp_path: Path,
) -> None:
    free, plain, raw = await answer(
        tmp_path / "m",
        asking(),
        asking("else", thinking_budget=2),
        asking(input=TextInput("think"), thinking_budget=2),
    )
    assert parts(free)[:2] == ("abcdefghij", "the answer")
    assert parts(plain)[:2] == ("", "no thought")
    assert THOUGHT in parts(raw)[1]


async def test_budgets_and_forms_that_cannot_be_are_refused(tmp_path: Path) -> None:
    for request, param in (
        (asking(thinking_budget=-1), "thinking_token_budget"),
        (asking(constraint=Regex("(")), "response_format"),
    ):
        with pytest.raises(InvalidRequest) as caught:
            await answer(tmp_path / "m", request)
        assert caught.value.param == param
