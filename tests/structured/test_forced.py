"""Forced calls of every format, written by a model with random weights: each is one of the tools' own.

Once with the format's tags as ordinary text, and once as control tokens, which no text spells.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import jsonschema
import pytest
from tests.fakes.chat_tokenizer import save_chat_tokenizer
from tests.fakes.models import save_model
from tests.structured.test_tools import CLOCK, DESCRIBED, FORECAST
from tokenizers import AddedToken, Tokenizer

from vllm_mlx.config import Config, EngineConfig, ModelConfig
from vllm_mlx.core.messages import Message, Text
from vllm_mlx.core.requests import ChatInput, GenerateRequest
from vllm_mlx.core.results import ChoiceResult, fold
from vllm_mlx.core.sampling import SamplingParams
from vllm_mlx.core.tools import ToolChoice
from vllm_mlx.parsing.registry import FORMATS
from vllm_mlx.service.build import build_service
from vllm_mlx.service.hub import Hub

pytestmark = [pytest.mark.anyio, pytest.mark.requirement(63, 65, 68)]

TOOLS = (FORECAST, CLOCK)
QUICK = ("harmony", True)
_TAG = re.compile(r"<[^<>\s]+>|\[[A-Z_]+\]")
ROOM = 1200
DRAWS = 12
"""Some go on to the last of their room: numbers and lists have no bound."""
FEWER_NAMES = 100
"""Ids left to the format's tags."""


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def save(folder: Path, tags: list[str]) -> Path:
    save_model(folder, "qwen3", chat=True, config={"max_position_embeddings": 8192})
    if tags:
        save_chat_tokenizer(folder, vocab_size=512 - FEWER_NAMES)
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        tokenizer.add_tokens([AddedToken(tag, special=True) for tag in tags])
        assert tokenizer.get_vocab_size() <= 512
        tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def tags_of(name: str) -> list[str]:
    """What a vocabulary of the family would have as tokens."""
    return [
        tag
        for tag in sorted(FORMATS.get(name).markers())
        if re.fullmatch(r"<[^<>\s]+>|\[[A-Z_]+\]|\]<\]\w+\[>\[", tag)
    ]


async def ask(hub: Hub, first_seed: int, choice: ToolChoice, thinking_budget: int = 0) -> ChoiceResult:
    """The first answer that has ended."""
    chat = ChatInput(
        messages=(Message("user", (Text("Now."),)),),
        tools=TOOLS,
        tool_choice=choice,
        parallel_tool_calls=False,
    )
    for seed in range(first_seed, first_seed + DRAWS):
        sampling = SamplingParams(temperature=1.0, seed=seed, max_tokens=ROOM)
        request = GenerateRequest(input=chat, sampling=sampling, thinking_budget=thinking_budget)
        answer = (await fold(hub.generate(request))).choices[0]
        if answer.finish_reason != "length":
            return answer
    pytest.fail("no answer has ended")


def check(answer: ChoiceResult, names: tuple[str, ...]) -> None:
    assert answer.finish_reason == "tool_calls"
    assert answer.text == ""
    [call] = answer.tool_calls
    assert call.name in names
    [tool] = [tool for tool in TOOLS if tool.name == call.name]
    jsonschema.validate(json.loads(call.arguments), tool.parameters)


@pytest.mark.parametrize(
    ("name", "special"),
    [
        pytest.param(name, special, marks=[] if (name, special) == QUICK else pytest.mark.slow)
        for name in DESCRIBED
        for special in (False, True)
    ],
)
async def test_random_weights_write_a_valid_call(name: str, special: bool, tmp_path: Path) -> None:
    folder = save(tmp_path / "tiny", tags_of(name) if special else [])
    thinker = name if FORMATS.get(name).reasoning is not None else "plain"
    model = ModelConfig(model=str(folder), tool_call_parser=name, reasoning_parser=thinker)
    hub = build_service(Config(model=model, engine=EngineConfig(engine_process=False)))
    await hub.start()
    try:
        await hub.ready()
        check(await ask(hub, 0, ToolChoice("required")), ("forecast", "clock"))
        check(await ask(hub, 100, ToolChoice("named", "forecast")), ("forecast",))
        # The thought is closed by force, in the format's own words, and the call follows.
        check(await ask(hub, 200, ToolChoice("named", "clock"), thinking_budget=9), ("clock",))
    finally:
        await hub.aclose()
