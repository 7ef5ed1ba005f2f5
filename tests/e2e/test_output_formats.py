"""A format chosen by flags, through the whole path of the real app."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from tests.e2e.server import Server, eventually, serving
from tests.fakes.wire import as_folded, folded_chat, frames

SCRIPT = [
    {
        "when": "two steps, please",
        "text": (
            "[THINK]Two steps.[/THINK]On it.\n<tool_call>\n<function=edit>\n"
            "<parameter=path>\na.py\n</parameter>\n<parameter=lines>\n[1, 2]\n</parameter>\n"
            "<parameter=force>\nTrue\n</parameter>\n</function>\n</tool_call>\n"
            "<tool_call>\n<function=nobody>\n</function>\n</tool_call>"
        ),
    },
    {
        "when": "a long one",
        "text": "<tool_call>\n<function=edit>\n<parameter=path>\nsome/long/path/to/a/file.py",
    },
]
EDIT: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "edit",
        "parameters": {
            "type": "object",
            "properties": {
                "path": {"type": "string"},
                "lines": {"type": "array", "items": {"type": "integer"}},
                "force": {"type": "boolean"},
            },
        },
    },
}


@pytest.fixture(scope="module")
def flagged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("flagged")
    script = folder / "script.json"
    script.write_text(json.dumps(SCRIPT), encoding="utf-8")
    words = (str(script), "--tool-call-parser", "qwen3_xml", "--reasoning-parser", "mistral", "--port", "0")
    with serving("tests.fakes.serve", *words, log=folder / "log") as server:
        yield server


def body(prompt: str, **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": prompt}], "tools": [EDIT], **more}


@pytest.mark.requirement(11, 65, 68, 78)
def test_flags_choose_the_formats_and_arguments_get_their_types(flagged: Server) -> None:
    message = flagged.post("/v1/chat/completions", **body("two steps, please")).json()["choices"][0][
        "message"
    ]
    assert (message["reasoning_content"], message["content"]) == ("Two steps.", "On it.")
    calls = [(c["function"]["name"], json.loads(c["function"]["arguments"])) for c in message["tool_calls"]]
    assert calls == [("edit", {"path": "a.py", "lines": [1, 2], "force": True}), ("nobody", {})]
    whole = as_folded(flagged.post("/v1/chat/completions", **body("two steps, please")).json())
    parts = folded_chat(
        frames(flagged.post("/v1/chat/completions", **body("two steps, please", stream=True)).text)
    )
    for choice in (*whole, *parts):
        for index in range(2):
            choice["calls"][index].pop("id")
    assert parts == whole


@pytest.mark.requirement(65)
def test_a_call_that_max_tokens_cuts_off_keeps_what_was_written(flagged: Server) -> None:
    choice = flagged.post("/v1/chat/completions", **body("a long one", max_tokens=60)).json()["choices"][0]
    assert choice["finish_reason"] == "length"
    (call,) = choice["message"]["tool_calls"]
    assert call["function"]["arguments"].startswith('{"path": "some/')
    assert not call["function"]["arguments"].endswith('"')


@pytest.mark.requirement(11)
def test_the_status_says_what_was_chosen_and_by_what(flagged: Server, scripted: Server) -> None:
    status = flagged.get("/v1/status").json()
    assert status["tool_call_parser"] == {"name": "qwen3_coder", "chosen_by": "flag"}
    assert status["reasoning_parser"] == {"name": "mistral", "chosen_by": "flag"}
    assert scripted.get("/v1/status").json()["tool_call_parser"] == {
        "name": "hermes",
        "chosen_by": "template",
    }


@pytest.mark.requirement(65)
def test_the_status_counts_calls_by_what_became_of_them(flagged: Server) -> None:
    def counts() -> dict[str, int]:
        counted: dict[str, int] = flagged.get("/v1/status").json()["tool_calls"]
        return counted

    before = counts()
    flagged.post("/v1/chat/completions", **body("two steps, please"))
    flagged.post("/v1/chat/completions", **body("a long one", max_tokens=60))
    expected = {"valid": 1, "unknown_tool": 1, "cut_off": 1}
    eventually(lambda: all(counts()[outcome] - before[outcome] >= n for outcome, n in expected.items()))
    assert counts()["unchecked"] == 0
    assert counts()["invalid_arguments"] == 0
