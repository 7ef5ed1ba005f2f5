"""What Claude Code 2.1.197 sent for one task with two tool calls, replayed.

The recording is our own, made with `claude -p` against the scripted server. Anthropic's texts (system prompt,
descriptions of tools and fields) and all ids are replaced by ours; names, order and marks are as sent.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.e2e.server import LIMIT_S, in_thread
from tests.fakes.scripted import Answer, scripted_service
from tests.fakes.wire import named_events

pytestmark = pytest.mark.requirement(39, 42)

PREFLIGHT, FIRST, SECOND = json.loads(
    (Path(__file__).parent / "recordings" / "claude_code.json").read_text(encoding="utf-8")
)
CALLS = "".join(
    f'\n<tool_call>\n{{"name": "Bash", "arguments": {{"command": "echo {word}"}}}}\n</tool_call>'
    for word in ("harbour-one", "harbour-two")
)
ANSWERS = [
    Answer("<think>\nBoth are read.\n</think>\n\nDone.", when="harbour-two"),
    Answer(f"<think>\nTwo commands.\n</think>\n\nI run two.{CALLS}", when="Read notes.txt"),
]


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """A server that has seen nothing yet, so that its cache is empty."""
    with in_thread(scripted_service(tmp_path / "scripted", ANSWERS)) as url:
        yield url


def send(url: str, exchange: dict[str, Any], body: Any = None, *, path: str | None = None) -> httpx.Response:
    given = exchange.get("body") if body is None else body
    return httpx.request(
        exchange["method"],
        url + (path or exchange["path"]),
        headers=exchange["headers"],
        content=None if given is None else json.dumps(given),
        timeout=LIMIT_S,
    )


def answer(url: str, exchange: dict[str, Any], body: Any = None) -> tuple[list[Any], dict[str, int]]:
    """The blocks that a streamed answer opens, and the prompt's tokens as its first event counts them."""
    response = send(url, exchange, body)
    assert response.status_code == 200, response.text
    events = named_events(response.text)
    opened = [event["content_block"] for event in events if event["type"] == "content_block_start"]
    return opened, events[0]["message"]["usage"]


def test_the_task_is_done(url: str) -> None:
    assert send(url, PREFLIGHT).status_code < 500  # it asks whether anybody is there; any answer will do
    blocks, first = answer(url, FIRST)
    assert [block["type"] for block in blocks] == ["thinking", "text", "tool_use", "tool_use"]
    assert {block["name"] for block in blocks[2:]} == {"Bash"}
    assert first["cache_read_input_tokens"] == 0
    blocks, second = answer(url, SECOND)
    assert [block["type"] for block in blocks] == ["thinking", "text"]
    prompt = sum(first[name] for name in first if name.endswith("input_tokens"))
    assert second["cache_read_input_tokens"] > 0.9 * prompt
    assert second["cache_creation_input_tokens"] > 0


def test_another_accounting_line_does_not_end_the_shared_prefix(url: str) -> None:
    _, first = answer(url, FIRST)
    body = copy.deepcopy(SECOND["body"])
    assert "x-anthropic-billing-header" in body["system"][0]["text"]
    body["system"][0]["text"] = "x-anthropic-billing-header: cc_version=2.2.0.0; cc_entrypoint=cli; cch=123;"
    _, again = answer(url, SECOND, body)
    _, same = answer(url, SECOND)
    assert again["cache_read_input_tokens"] > 0.9 * first["cache_creation_input_tokens"]
    assert same["cache_creation_input_tokens"] == 0  # all of it was there already


def test_its_late_system_prompt_reaches_the_model(url: str) -> None:
    late = next(turn for turn in FIRST["body"]["messages"] if turn["role"] == "system")
    body = copy.deepcopy(FIRST["body"])
    counted = [send(url, FIRST, counting(body), path="/v1/messages/count_tokens?beta=true")]
    body["messages"].remove(late)
    counted.append(send(url, FIRST, counting(body), path="/v1/messages/count_tokens?beta=true"))
    with_it, without = (response.json()["input_tokens"] for response in counted)
    assert with_it - without == len(f"\n\n<system>\n{late['content']}\n</system>")


def counting(body: dict[str, Any]) -> dict[str, Any]:
    fields = ("model", "messages", "system", "tools", "thinking", "output_config", "context_management")
    return {name: body[name] for name in fields}
