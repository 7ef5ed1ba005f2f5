"""A model with random weights, asked for every form: each of its answers has the form.

Sampled at the highest temperature, so that no whim of the weights decides, and with nothing that leans to
an end. A text without a bound, such as a string, goes on for as long as chance has it: what the room cuts off
is asked for again with other seeds, until each form has an answer that ended. Whatever ended, in any of the
draws, must be valid.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from tests.fakes.model_folders import model_folder  # noqa: F401  (it settles the BLAS)
from tests.fakes.models import save_model
from tests.structured.grammars import VALIDATORS, corpus

from vllm_mlx.config import Config, EngineConfig, ModelConfig
from vllm_mlx.core.constraints import JsonSchema, Regex
from vllm_mlx.core.messages import Message, Text
from vllm_mlx.core.requests import ChatInput, GenerateRequest
from vllm_mlx.core.results import ChoiceResult, fold
from vllm_mlx.core.sampling import SamplingParams
from vllm_mlx.core.tools import ToolChoice, ToolSpec
from vllm_mlx.service.build import build_service
from vllm_mlx.service.hub import Hub

pytestmark = [pytest.mark.slow, pytest.mark.anyio, pytest.mark.requirement(46, 63)]

CONTEXT = 8192
VOCABULARY = 262
"""A token a byte, and the six tags."""
ROOM = 3000
AT_ONCE = 32
TIMEOUT_S = 10_000.0
"""Of one request; a slow machine is no fault."""
DRAWS = (1, 8, 32, 32, 32)
"""Of each form that no answer has ended for yet, in one round after the other."""
CUT = "cut off"
CASES = [case for _, case in corpus()]
PATTERNS = [
    pattern
    for i in range(10)
    for pattern in (
        rf"[a-f]{{{i},{i + 3}}}-[0-9]{{{i + 1}}}",
        rf"(ab|cd){{1,{i + 1}}}!?",
        rf"[A-Za-z0-9_.]{{{i + 1}}}@[a-z]{{2,5}}\.(com|org)",
        rf"[^ \n]{{{i + 1}}}/",  # Python's \s has four control characters more than the grammar's
        rf"(?i)yes{i}|no{i}",
        rf"-?(0|[1-9][0-9]{{0,{i}}})(\.[0-9]{{1,{i + 1}}})?",
        rf"[à-ÿ]{{1,{i + 1}}}é",
        rf"(a(b(c{{{i}}})?)?)?z",
        rf"\[{i}(, [0-9]){{0,{i}}}\]",
        rf"[\"\\]{{1,{i + 1}}}\n?x",
    )
]


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    return save_model(
        folder, "qwen3", chat=True, config={"max_position_embeddings": CONTEXT, "vocab_size": VOCABULARY}
    )


@pytest.fixture(scope="module")
async def hub(folder: Path) -> AsyncIterator[Hub]:
    hub = build_service(
        Config(
            model=ModelConfig(model=str(folder)), engine=EngineConfig(engine_process=False, timeout=TIMEOUT_S)
        )
    )
    await hub.start()
    await hub.ready()
    yield hub
    await hub.aclose()


def asking(i: int, chat: dict[str, Any], **more: Any) -> GenerateRequest:
    sampling = SamplingParams(temperature=2.0, seed=i, max_tokens=ROOM)
    messages = (Message("user", (Text(f"Number {i}"),)),)
    return GenerateRequest(
        input=ChatInput(messages=messages, template_kwargs={"enable_thinking": False}, **chat),
        sampling=sampling,
        thinking_budget=0,  # or the model opens thoughts, which at random do not end
        **more,
    )


async def answers(hub: Hub, requests: Sequence[GenerateRequest]) -> list[ChoiceResult]:
    room = asyncio.Semaphore(AT_ONCE)

    async def one(request: GenerateRequest) -> ChoiceResult:
        async with room:
            return (await fold(hub.generate(request))).choices[0]

    return await asyncio.gather(*map(one, requests))


async def faults(
    hub: Hub, requests: Sequence[GenerateRequest], judge: Callable[[int, ChoiceResult], str | None]
) -> list[str]:
    """What is wrong with the answers, those among it that never ended; prints how many draws it took."""
    wrong, open_, asked, seed = [], list(range(len(requests))), 0, 0
    for draws in DRAWS:
        places = [place for place in open_ for _ in range(draws)]
        drawn = []
        for place in places:
            seed += 1
            sampling = replace(requests[place].sampling, seed=seed)
            drawn.append(replace(requests[place], sampling=sampling))
        asked += len(drawn)
        judged = [
            (place, judge(place, choice))
            for place, choice in zip(places, await answers(hub, drawn), strict=True)
        ]
        wrong += [f"{place}: {fault}" for place, fault in judged if fault not in (None, CUT)]
        ended = {place for place, fault in judged if fault != CUT}
        open_ = [place for place in open_ if place not in ended]
        print(f"{len(requests) - len(open_)} of {len(requests)} after {asked} draws; wrong: {len(wrong)}")
        if not open_:
            break
    return wrong + [f"{place}: {CUT}" for place in open_]


def fault_of(case: dict[str, Any], text: str) -> str | None:
    """Why a text is not valid; None if it is."""
    try:
        value = json.loads(text)
    except ValueError:
        return f"no JSON: {text[:200]!r}"
    validator = VALIDATORS[case.get("draft", 2020)](case["schema"])
    return None if case.get("check") is False or validator.is_valid(value) else f"invalid: {text[:200]!r}"


@pytest.fixture(autouse=True)
def numbers_of_any_length() -> Iterator[None]:
    """Chance writes integers of more digits than Python reads by default."""
    before = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)
    yield
    sys.set_int_max_str_digits(before)


async def test_every_answer_under_a_schema_is_valid(hub: Hub) -> None:
    assert len(CASES) >= 150
    asked = [asking(i, {}, constraint=JsonSchema(case["schema"])) for i, case in enumerate(CASES)]

    def judge(place: int, choice: ChoiceResult) -> str | None:
        return fault_of(CASES[place], choice.text) if choice.finish_reason == "stop" else CUT

    assert await faults(hub, asked, judge) == []


@pytest.mark.parametrize("mode", ["required", "named"])
async def test_every_forced_call_has_valid_arguments(mode: Any, hub: Hub) -> None:
    closed = {"type": "object", "additionalProperties": False}
    wrapped = [
        case | {"schema": closed | {"properties": {"value": case["schema"]}, "required": ["value"]}}
        for case in CASES
        if "$ref" not in json.dumps(case["schema"]) and isinstance(case["schema"], dict)
    ]
    assert len(wrapped) >= 150
    asked = []
    for i, case in enumerate(wrapped):
        others = wrapped[(i + 1) % len(wrapped)], wrapped[(i + 2) % len(wrapped)]
        tools = tuple(
            ToolSpec(f"tool_{n}", parameters=each["schema"], strict=True)
            for n, each in enumerate((case, *others))
        )
        choice = ToolChoice("required") if mode == "required" else ToolChoice("named", name="tool_0")
        asked.append(asking(i, {"tools": tools, "tool_choice": choice, "parallel_tool_calls": False}))

    def judge(place: int, choice: ChoiceResult) -> str | None:
        if choice.finish_reason == "length":
            return CUT
        if choice.finish_reason != "tool_calls" or len(choice.tool_calls) != 1:
            return f"{len(choice.tool_calls)} calls: {choice.text[:200]!r}"
        [call] = choice.tool_calls
        if mode == "named" and call.name != "tool_0":
            return "another tool"
        case = wrapped[(place + int(call.name.removeprefix("tool_"))) % len(wrapped)]
        return fault_of(case, call.arguments)

    assert await faults(hub, asked, judge) == []


async def test_every_answer_matches_its_regular_expression(hub: Hub) -> None:
    assert len(set(PATTERNS)) == 100
    asked = [asking(i, {}, constraint=Regex(pattern)) for i, pattern in enumerate(PATTERNS)]

    def judge(place: int, choice: ChoiceResult) -> str | None:
        if choice.finish_reason != "stop":
            return CUT
        return None if re.fullmatch(PATTERNS[place], choice.text) else repr(choice.text)

    assert await faults(hub, asked, judge) == []
