"""Models whose chat templates have no place for tools: what their prompts hold, and what is said of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.fakes.scripted import Answer, scripted_service

from vllm_mlx.config import ModelConfig
from vllm_mlx.core.messages import Message, Text
from vllm_mlx.core.requests import ChatInput, GenerateRequest
from vllm_mlx.core.results import ChoiceResult, fold
from vllm_mlx.core.sampling import SamplingParams
from vllm_mlx.core.tools import ToolSpec

pytestmark = [pytest.mark.anyio, pytest.mark.requirement(11)]

WITHOUT_TOOLS = "{% for m in messages %}{{ m.role + ': ' + m.content + '\n' }}{% endfor %}"
CALL = '<tool_call>\n{"name": "look", "arguments": {"at": "sky"}}\n</tool_call>'
SCRIPT = [Answer(CALL, when=["You can call these functions", '"name": "look"', "<tool_call>"]), Answer("No.")]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def ask(folder: Path, parser: str) -> ChoiceResult:
    """A question to a model with a tool on offer."""
    hub = scripted_service(folder, SCRIPT, model=ModelConfig(model=str(folder), tool_call_parser=parser))
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "chat_template.jinja").unlink(missing_ok=True)
    (folder / "tokenizer_config.json").write_text(json.dumps(settings | {"chat_template": WITHOUT_TOOLS}))
    await hub.start()
    try:
        await hub.ready()
        chat = ChatInput(messages=(Message("user", (Text("Look."),)),), tools=(ToolSpec("look"),))
        asked = GenerateRequest(input=chat, sampling=SamplingParams(max_tokens=200, temperature=0.0))
        return (await fold(hub.generate(asked))).choices[0]
    finally:
        await hub.aclose()


async def test_a_parser_that_is_named_lets_the_model_learn_of_tools(tmp_path: Path) -> None:
    answer = await ask(tmp_path / "m", "hermes")
    assert [(call.name, call.arguments) for call in answer.tool_calls] == [("look", '{"at": "sky"}')]


async def test_a_model_that_never_learns_of_tools_is_told_of_at_its_load(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert (await ask(tmp_path / "m", "auto")).text == "No."
    [told] = [record.getMessage() for record in caplog.records if "shows no tools" in record.getMessage()]
    assert "--tool-call-parser generic" in told
