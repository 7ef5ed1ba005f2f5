"""Nine tasks with tools in two formats, through every dialect, streamed and whole, thinking and not.

The script answers a result only as the tool gives it for the right arguments, so an argument that is lost or
changed on the way ends the task.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import anthropic
import openai
import pytest
from tests.e2e.server import in_thread
from tests.e2e.talks import TALKS, Call, Result, Schema
from tests.fakes.scripted import Answer, scripted_service
from tests.limits import LIMIT_S

from vllm_mlx.config import ModelConfig
from vllm_mlx.parsing.registry import FORMATS
from vllm_mlx.parsing.write import write_calls

FAMILIES = ("hermes", "qwen3_coder")
"""One writes arguments as JSON, the other as plain text."""
THOUGHT = "I look at what I have."
FAULT = "no such place: Atlantis"


def schema(**properties: Any) -> Schema:
    return {"type": "object", "properties": properties, "required": list(properties)}


TEXT = {"type": "string"}
WHOLE = {"type": "integer"}
TOOLS = {
    "weather": schema(city=TEXT),
    "clock": schema(zone=TEXT),
    "add": schema(a=WHOLE, b=WHOLE),
    "order": schema(
        items={"type": "array", "items": schema(name=TEXT, count=WHOLE)},
        speed={"type": "string", "enum": ["slow", "fast"]},
        to=schema(street=TEXT, number=WHOLE, gift={"type": "boolean"}, note={"type": ["string", "null"]}),
    ),
}
ORDER = {
    "items": [{"name": "7", "count": 2}, {"name": "Brötchen", "count": 3}],
    "speed": "fast",
    "to": {"street": 'Am "Hafen"\n2', "number": 4, "gift": True, "note": None},
}


def run(call: Call) -> Result:
    """The tools themselves."""
    given = call.arguments
    if given.get("city") == "Atlantis":
        return Result(call, FAULT, failed=True)
    told = {
        "weather": lambda: f"{given['city']} is sunny",
        "clock": lambda: f"{given['zone']} has noon",
        "add": lambda: f"the sum is {given['a'] + given['b']}",
        "order": lambda: (
            f"{sum(item['count'] for item in given['items'])} parcels to {given['to']['number']}"
        ),
    }
    return Result(call, told[call.name]())


@dataclass(frozen=True, slots=True)
class Turn:
    """What the model says to a prompt that holds all of `when`."""

    when: tuple[str, ...]
    text: str = ""
    calls: tuple[tuple[str, dict[str, Any]], ...] = ()
    thought: str = THOUGHT


@dataclass(frozen=True, slots=True)
class Task:
    """A question, the tools that go with it, and the turns to its answer."""

    prompt: str
    tools: tuple[str, ...]
    turns: tuple[Turn, ...]


def task(prompt: str, tools: str, *turns: Turn) -> Task:
    return Task(prompt, tuple(tools.split()), turns)


def turn(when: str | tuple[str, ...], text: str = "", *calls: tuple[str, dict[str, Any]]) -> Turn:
    return Turn((when,) if isinstance(when, str) else when, text, calls)


OSLO, BERN = ("weather", {"city": "Oslo"}), ("weather", {"city": "Bern"})
LOST = ("weather", {"city": "Atlantis"})
TASKS = {
    "a single call": task("Task one.", "weather", turn("Task one.", "", OSLO)),
    "no call needed": task("Task two.", "weather", turn("Task two.", "I know that: 4.")),
    "one tool of four": task(
        "Task three.", " ".join(TOOLS), turn("Task three.", "", ("clock", {"zone": "CET"}))
    ),
    "two calls at a time": task(
        "Task four.",
        "weather clock",
        turn("Task four.", "", OSLO, BERN),
        turn(("Oslo is sunny", "Bern is sunny"), "Both are sunny."),
    ),
    "a call and its result": task(
        "Task five.",
        "clock",
        turn("Task five.", "", ("clock", {"zone": "Zürich"})),
        turn("Zürich has noon", "Noon."),
    ),
    "a chain of calls": task(
        "Task six.",
        "add",
        turn("Task six.", "", ("add", {"a": 20, "b": 1})),
        turn("the sum is 21", "", ("add", {"a": 21, "b": 21})),
        turn("the sum is 42", "", ("add", {"a": 42, "b": -2})),
        turn("the sum is 40", "It is 40."),
    ),
    "nested arguments": task(
        "Task seven.", "order", turn("Task seven.", "", ("order", ORDER)), turn("5 parcels to 4", "Sent.")
    ),
    "a text before the call": task(
        "Task eight.",
        "weather",
        turn("Task eight.", "Let me look.", ("weather", {"city": "Rome"})),
        turn("Rome is sunny", "Sunny."),
    ),
    "a tool that fails": task(
        "Task nine.",
        "weather",
        turn("Task nine.", "", LOST),
        turn(FAULT, "I try another.", ("weather", {"city": "Thera"})),
        turn("Thera is sunny", "Atlantis is lost; Thera is sunny."),
    ),
}


def script(family: str) -> list[Answer]:
    """Later turns first, for their prompts hold the earlier ones; a closed thought tells not to think."""
    syntax = FORMATS.get(family).calls[0]
    answers = []
    for each in TASKS.values():
        for said in reversed(each.turns):
            calls = [write_calls(syntax, said.calls)] if said.calls else []
            written = "\n".join([*([said.text] if said.text else []), *calls])
            answers += [
                Answer(written, when=(*said.when, "</think>")),
                Answer(f"<think>\n{said.thought}\n</think>\n\n{written}", when=said.when),
            ]
    return answers


@pytest.fixture(scope="module", params=FAMILIES)
def url(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("suite") / "model"
    settings = ModelConfig(model=str(folder), tool_call_parser=request.param)
    with in_thread(scripted_service(folder, script(request.param), model=settings)) as address:
        yield address


@pytest.fixture(scope="module")
def clients(url: str) -> Iterator[dict[str, Any]]:
    """The official client of each dialect."""
    settings: Any = {"api_key": "not-needed", "max_retries": 0, "timeout": LIMIT_S}
    with (
        openai.OpenAI(base_url=url + "/v1", **settings) as sdk,
        anthropic.Anthropic(base_url=url, **settings) as claude,
    ):
        yield {"chat": sdk, "responses": sdk, "messages": claude}


@pytest.mark.requirement(33, 34, 38, 39, 67, 68, 76, 78, 115)
@pytest.mark.parametrize("thinking", [False, True], ids=["quiet", "thinking"])
@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("dialect", TALKS)
@pytest.mark.parametrize("name", TASKS)
def test_a_task_with_tools_is_done(
    clients: dict[str, Any], name: str, dialect: str, streamed: bool, thinking: bool
) -> None:
    given = TASKS[name]
    tools = {tool: TOOLS[tool] for tool in given.tools}
    talk = TALKS[dialect](clients[dialect], tools, streamed=streamed, thinking=thinking)
    said = talk.ask(given.prompt)
    for place, wanted in enumerate(given.turns, start=1):
        assert [(call.name, call.arguments) for call in said.calls] == list(wanted.calls)
        assert (said.text, said.thought) == (wanted.text, wanted.thought if thinking else "")
        assert said.waits == bool(wanted.calls)
        assert len({call.id for call in said.calls}) == len(said.calls)
        if place < len(given.turns):
            said = talk.tell([run(call) for call in said.calls])
