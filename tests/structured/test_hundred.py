"""A model with random weights, asked for every form: each of its answers has the form.

Without weights that mean something, some texts go on to the last of their room: they are counted and few.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.chat_tokenizer import END_OF_TURN
from tests.fakes.model_folders import model_folder  # noqa: F401  (it settles the BLAS)
from tests.fakes.models import save_model
from tests.structured.grammars import VALIDATORS, corpus

from vllm_mlx.chat.tokenizer import Tokenizer
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
ROOM = 3000
AT_ONCE = 32
CUT = "cut off"
LEAST_ENDED = 150
CASES = [case for _, case in corpus()]
PATTERNS = [
    pattern
    for i in range(10)
    for pattern in (
        rf"[a-f]{{{i},{i + 3}}}-[0-9]{{{i + 1}}}",
        rf"(ab|cd){{1,{i + 1}}}!?",
        rf"[A-Za-z0-9_.]{{{i + 1}}}@[a-z]{{2,5}}\.(com|org)",
        rf"[^\s]{{{i + 1}}}/",
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
    return save_model(folder, "qwen3", chat=True, config={"max_position_embeddings": CONTEXT})


@pytest.fixture(scope="module")
async def hub(folder: Path) -> AsyncIterator[Hub]:
    hub = build_service(
        Config(model=ModelConfig(model=str(folder)), engine=EngineConfig(engine_process=False))
    )
    await hub.start()
    await hub.ready()
    yield hub
    await hub.aclose()


@pytest.fixture(scope="module")
def closers(folder: Path) -> dict[int, float]:
    """A leaning to what ends a text, so that random draws do not go on to the last of their room."""
    tokenizer = Tokenizer.load(folder)
    bias = {END_OF_TURN: 80.0, '"': 60.0, "@": 20.0, "]": 12.0, "}": 6.0}
    return {tokenizer.encode(text, add_special_tokens=False)[0]: addend for text, addend in bias.items()}


def asking(i: int, closers: dict[int, float], chat: dict[str, Any], **more: Any) -> GenerateRequest:
    sampling = SamplingParams(temperature=1.0, seed=i, max_tokens=ROOM, logit_bias=closers)
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


def fault(case: dict[str, Any], text: str, ended: bool) -> str | None:
    """Why an answer is not valid; None if it is."""
    if not ended:
        return CUT
    try:
        value = json.loads(text)
    except ValueError:
        return f"no JSON: {text[:200]!r}"
    validator = VALIDATORS[case.get("draft", 2020)](case["schema"])
    return None if case.get("check") is False or validator.is_valid(value) else f"invalid: {text[:200]!r}"


async def test_every_answer_under_a_schema_is_valid(hub: Hub, closers: dict[int, float]) -> None:
    cases = CASES
    assert len(cases) >= 150
    asked = [asking(i, closers, {}, constraint=JsonSchema(case["schema"])) for i, case in enumerate(cases)]
    told = await answers(hub, asked)
    faults = [
        fault(case, choice.text, choice.finish_reason == "stop")
        for case, choice in zip(cases, told, strict=True)
    ]
    print(f"json_schema: {faults.count(None)} of {len(faults)}")
    assert [one for one in faults if one not in (None, CUT)] == []
    assert faults.count(None) >= LEAST_ENDED


@pytest.mark.parametrize("mode", ["required", "named"])
async def test_every_forced_call_has_valid_arguments(mode: Any, hub: Hub, closers: dict[int, float]) -> None:
    wrapped = [
        case | {"schema": {"type": "object", "properties": {"value": case["schema"]}, "required": ["value"]}}
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
        chat = {"tools": tools, "tool_choice": choice, "parallel_tool_calls": False}
        asked.append(asking(i, closers, chat))
    faults = []
    for i, choice in enumerate(await answers(hub, asked)):
        if len(choice.tool_calls) != 1:
            faults.append(f"{len(choice.tool_calls)} calls: {choice.text[:200]!r}")
            continue
        [call] = choice.tool_calls
        case = wrapped[(i + int(call.name.removeprefix("tool_"))) % len(wrapped)]
        wrong_name = mode == "named" and call.name != "tool_0"
        ended = choice.finish_reason == "tool_calls"
        faults.append("another tool" if wrong_name else fault(case, call.arguments, ended))
    print(f"{mode}: {faults.count(None)} of {len(faults)}")
    assert [one for one in faults if one not in (None, CUT)] == []
    assert faults.count(None) >= LEAST_ENDED


async def test_every_answer_matches_its_regular_expression(hub: Hub, closers: dict[int, float]) -> None:
    assert len(set(PATTERNS)) == 100
    asked = [asking(i, closers, {}, constraint=Regex(pattern)) for i, pattern in enumerate(PATTERNS)]
    told = await answers(hub, asked)
    wrong = [
        (pattern, choice.text)
        for pattern, choice in zip(PATTERNS, told, strict=True)
        if choice.finish_reason != "stop" or not re.fullmatch(pattern, choice.text)
    ]
    print(f"regex: {len(PATTERNS) - len(wrong)} of {len(PATTERNS)}")
    assert wrong == []
